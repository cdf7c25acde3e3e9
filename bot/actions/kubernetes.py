"""`kubernetes.*`: deployments, pods, logs and events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, WrongState
from bot.domain.policy import Risk
from bot.team import Duration

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
DEPLOYMENT = "deployment/{environment}/{namespace}/{deployment}"
T = TypeVar("T")
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE|CREDENTIAL|DATABASE_URL", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scaled:
    deployment: str
    namespace: str
    before: int
    after: int
    autoscaler: str | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    deployment: str
    namespace: str
    before: dict[str, str | None]
    after: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Environment:
    deployment: str
    namespace: str
    container: str
    before: dict[str, str | None]
    after: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class RolledOut:
    deployment: str
    namespace: str
    replicas: int
    revision: int
    done: bool


@dataclass(frozen=True, slots=True)
class Restarted:
    """`at` is the annotation of the pods: repeating the restart with the same time has no effect."""

    deployment: str
    namespace: str
    replicas: int
    revision: int
    done: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Restored:
    deployment: str
    namespace: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of facts, to be read by people."""

    namespace: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Log lines by pod."""

    namespace: str
    lines: dict[str, list[str]]
    count: int


@action("kubernetes.scale", risk=Risk.CHANGE, target=DEPLOYMENT, example="/ops scale xr-engine 10")
async def scale(
    ctx: Context, deployment: Name, replicas: Annotated[int, Field(ge=0)], namespace: Name | None = None
) -> Scaled:
    """Set the number of replicas of a deployment; warns if an autoscaler controls it."""
    ns = _allowed_namespace(ctx, deployment, namespace)
    if replicas > (most := ctx.team.policy.limits.replicas):
        raise BadInput("too_many_replicas", replicas=replicas, most=most)
    current = await ctx.kubernetes.deployments.replicas(deployment, ns)
    autoscaler = await ctx.kubernetes.deployments.scaled_by(deployment, ns)
    before = _before(ctx, current, replicas)
    if current != replicas:
        await ctx.kubernetes.deployments.scale(deployment, ns, replicas, current)
    if before != replicas and not ctx.dry_run:
        await ctx.kubernetes.deployments.wait_until_rolled_out(deployment, ns)
    return Scaled(deployment, ns, before, replicas, autoscaler)


@undo(scale)
async def restore_replicas(ctx: Context, done: Scaled) -> Scaled:
    """Restore the number of replicas, unless it was changed since."""
    current = await ctx.kubernetes.deployments.replicas(done.deployment, done.namespace)
    if current == done.before:
        return Scaled(done.deployment, done.namespace, current, current)
    _require_unchanged(current, done.after, done.deployment)
    await ctx.kubernetes.deployments.scale(done.deployment, done.namespace, done.before, current)
    return Scaled(done.deployment, done.namespace, current, done.before)


@action("kubernetes.set_node_selector", risk=Risk.CHANGE, target=DEPLOYMENT)
async def set_node_selector(
    ctx: Context, deployment: Name, selector: dict[str, str], namespace: Name | None = None
) -> Selected:
    """Move the pods to nodes with these labels."""
    ns = _allowed_namespace(ctx, deployment, namespace)
    current = await ctx.kubernetes.deployments.node_selector(deployment, ns)
    now: dict[str, str | None] = {name: current.get(name) for name in selector}
    after: dict[str, str | None] = dict(selector)
    before = _before(ctx, now, after)
    if now != after:
        await ctx.kubernetes.deployments.set_node_selector(deployment, ns, after)
    if before != after and not ctx.dry_run:
        await ctx.kubernetes.deployments.wait_until_rolled_out(deployment, ns)
    return Selected(deployment, ns, before, after)


@undo(set_node_selector)
async def restore_node_selector(ctx: Context, done: Selected) -> Selected:
    """Restore the node selector, unless it was changed since."""
    current = await ctx.kubernetes.deployments.node_selector(done.deployment, done.namespace)
    now = {name: current.get(name) for name in done.after}
    if now != done.before:
        _require_unchanged(now, done.after, done.deployment)
        await ctx.kubernetes.deployments.set_node_selector(done.deployment, done.namespace, done.before)
    return Selected(done.deployment, done.namespace, done.after, done.before)


@action("kubernetes.set_env", risk=Risk.CHANGE, target=DEPLOYMENT)
async def set_env(
    ctx: Context, deployment: Name, variables: dict[str, str], namespace: Name | None = None
) -> Environment:
    """Set environment variables; names of secrets are refused."""
    ns = _allowed_namespace(ctx, deployment, namespace)
    refuse_secrets(variables)
    container, current = await ctx.kubernetes.deployments.env(deployment, ns)
    now = {name: current.get(name) for name in variables}
    after: dict[str, str | None] = dict(variables)
    before = _before(ctx, now, after)
    if now != after:
        await ctx.kubernetes.deployments.set_env(deployment, ns, container, after)
    if before != after and not ctx.dry_run:
        await ctx.kubernetes.deployments.wait_until_rolled_out(deployment, ns)
    return Environment(deployment, ns, container, before, after)


@undo(set_env)
async def restore_env(ctx: Context, done: Environment) -> Environment:
    """Restore the values, unless they were changed since."""
    _, current = await ctx.kubernetes.deployments.env(done.deployment, done.namespace)
    now = {name: current.get(name) for name in done.after}
    if now != done.before:
        _require_unchanged(now, done.after, done.deployment)
        await ctx.kubernetes.deployments.set_env(done.deployment, done.namespace, done.container, done.before)
    return Environment(done.deployment, done.namespace, done.container, done.after, done.before)


@action("kubernetes.restart", risk=Risk.CHANGE, target=DEPLOYMENT, example="/ops restart xr-engine")
async def restart(ctx: Context, deployment: Name, namespace: Name | None = None) -> Restarted:
    """Restart the pods one by one and wait for it."""
    ns = _allowed_namespace(ctx, deployment, namespace)
    at = datetime.fromisoformat(ctx.planned["at"]) if "at" in ctx.planned else ctx.clock.now()
    await ctx.kubernetes.deployments.restart(deployment, ns, at)
    rolled_out = await _rolled_out(ctx, deployment, ns)
    return Restarted(deployment, ns, rolled_out.replicas, rolled_out.revision, rolled_out.done, at)


@action("kubernetes.rollout_status", risk=Risk.READ, example="/ops rollout_status xr-engine")
async def rollout_status(
    ctx: Context, deployment: Name, namespace: Name | None = None, wait: bool = False
) -> RolledOut:
    """Show the progress of a rollout; with `wait`, wait until it is done."""
    ns = ctx.namespace(deployment, namespace)
    if wait and not ctx.dry_run:
        return await _rolled_out(ctx, deployment, ns)
    rollout = await ctx.kubernetes.deployments.rollout(deployment, ns)
    return RolledOut(deployment, ns, rollout.available, rollout.revision, rollout.done)


@action("kubernetes.rollout_undo", risk=Risk.DISRUPTIVE, target=DEPLOYMENT)
async def rollout_undo(
    ctx: Context, deployment: Name, revision: int | None = None, namespace: Name | None = None
) -> Restored:
    """Roll a deployment back to the previous revision, or to a given one."""
    ns = _allowed_namespace(ctx, deployment, namespace)
    current = (await ctx.kubernetes.deployments.rollout(deployment, ns)).revision
    earlier = [number for number in await ctx.kubernetes.deployments.revisions(deployment, ns) if number < current]
    to = revision if revision is not None else (earlier[-1] if earlier else None)
    if to is None:
        raise WrongState("no_earlier_revision", deployment=deployment)
    await ctx.kubernetes.deployments.rollout_undo(deployment, ns, to)
    if not ctx.dry_run:
        await ctx.kubernetes.deployments.wait_until_rolled_out(deployment, ns)
    return Restored(deployment, ns, current, to)


@action("kubernetes.pods", risk=Risk.READ, example="/ops pods xr-engine")
async def pods(ctx: Context, service: Name, namespace: Name | None = None) -> Table:
    """List the pods of a service."""
    ns = ctx.namespace(service, namespace)
    return Table(ns, [asdict(pod) for pod in await ctx.kubernetes.pods.list(ns, f"app={service}")])


@action("kubernetes.top_pods", risk=Risk.READ, example="/ops top_pods xr-engine cpu")
async def top_pods(
    ctx: Context,
    service: Name | None = None,
    by: Literal["cpu", "memory"] = "cpu",
    namespace: Name | None = None,
    most: Annotated[int, Field(ge=1, le=50)] = 10,
) -> Table:
    """Show which pods use the most CPU or memory."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    used = sorted(await ctx.kubernetes.pods.top(ns), key=lambda usage: getattr(usage, by), reverse=True)
    return Table(ns, [asdict(usage) for usage in used[:most]])


@action("kubernetes.top_nodes", risk=Risk.READ)
async def top_nodes(ctx: Context) -> Table:
    """Show the CPU and memory usage of the nodes."""
    return Table("-", [asdict(usage) for usage in await ctx.kubernetes.pods.top_nodes()])


@action("kubernetes.logs", risk=Risk.READ, example="/ops logs xr-engine since=1h tail=200 pattern=error")
async def logs(
    ctx: Context,
    service: Name,
    since: Duration = timedelta(hours=1),
    tail: Annotated[int, Field(ge=1, le=5000)] = 200,
    pattern: str | None = None,
    container: Name | None = None,
    previous: bool = False,
    namespace: Name | None = None,
) -> Lines:
    """Show the newest log lines of all pods of a service, with secrets removed."""
    ns = ctx.namespace(service, namespace)
    names = [pod.name for pod in await ctx.kubernetes.pods.list(ns, f"app={service}")]
    by_pod = await ctx.kubernetes.pods.logs(
        names, ns, since=since.total_seconds(), tail=tail, container=container, previous=previous
    )
    pattern_lower = (pattern or "").lower()
    lines = {
        pod: [line for line in ctx.deps.redaction.lines(text.splitlines()) if pattern_lower in line.lower()][-tail:]
        for pod, text in by_pod.items()
    }
    return Lines(ns, lines, sum(map(len, lines.values())))


@action("kubernetes.events", risk=Risk.READ, example="/ops events xr-engine")
async def events(ctx: Context, service: Name, namespace: Name | None = None) -> Table:
    """Show the events of the service's namespace, the newest last."""
    ns = ctx.namespace(service, namespace)
    newest = [event for event in await ctx.kubernetes.pods.events(ns) if service in event.about][-30:]
    return Table(
        ns,
        [{**asdict(event), "at": event.at.isoformat() if event.at else None} for event in newest],
    )


def refuse_secrets(variables: Mapping[str, str]) -> None:
    """Raise BadInput for a variable whose name suggests a secret: its value would be shown, stored and approved."""
    if secret := next((name for name in variables if _SECRET.search(name)), None):
        raise BadInput("secret_in_env", name=secret)


def _allowed_namespace(ctx: Context, name: str, namespace: str | None) -> str:
    if name in ctx.team.policy.limits.protected:
        raise BadInput("protected_name", name=name)
    return ctx.namespace(name, namespace)


def _before(ctx: Context, now: T, after: T) -> T:
    """Return the state before the first attempt: the current one, or the planned one if an earlier attempt
    changed it.
    """
    return ctx.planned.get("before", now) if now == after else now


def _require_unchanged(now: object, after: object, name: str) -> None:
    if now != after:
        raise WrongState("changed_since", name=name)


async def _rolled_out(ctx: Context, deployment: str, namespace: str) -> RolledOut:
    deployments = ctx.kubernetes.deployments
    rollout = await (deployments.rollout if ctx.dry_run else deployments.wait_until_rolled_out)(deployment, namespace)
    return RolledOut(deployment, namespace, rollout.available, rollout.revision, rollout.done)


@dataclass(frozen=True, slots=True)
class Described:
    """`rows` have `part` (field, container, condition, event), `name`, `state`, `why`; the newest event is last."""

    kind: str
    name: str
    namespace: str
    rows: list[dict[str, str]]


@action(
    "kubernetes.describe", risk=Risk.READ, example="/ops kubernetes.describe deployment tamv-core service=tamv-core"
)
async def describe(
    ctx: Context,
    kind: Literal["pod", "deployment", "job", "node"],
    name: Name,
    service: str | None = None,
    namespace: str | None = None,
) -> Described:
    """Describe a pod, a deployment, a job or a node: containers, conditions, events."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    rows = [asdict(line) for line in await ctx.kubernetes.descriptions.describe(kind, name, ns)]
    return Described(kind, name, "" if kind == "node" else ns, rows)


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The services that were shut down, each with its previous replicas."""

    services: list[Scaled]


@action(
    "kubernetes.shut_down",
    risk=Risk.DESTRUCTIVE,
    target="shutdown/{environment}",
    example="/ops kubernetes.shut_down",
)
async def shut_down(ctx: Context, services: list[str] | None = None) -> ShutDown:
    """Scale services to zero, all of them if none is named; continues with the others if one fails."""
    running = [
        name
        for name, service in ctx.team.services.items()
        if service.deployment and ctx.environment in service.namespaces
    ]
    before = {entry["deployment"]: entry for entry in ctx.planned.get("services", ())}
    scalings = [scale(replace(ctx, planned=before.get(name, {})), name, 0) for name in services or running]
    if ctx.dry_run:
        return ShutDown([await scaling for scaling in scalings])  # sequentially: the plan lists them in order
    return ShutDown(await gather_all(scalings))


@undo(shut_down)
async def restore_services(ctx: Context, done: ShutDown) -> ShutDown:
    """Restore every service's replicas, unless they were changed since."""
    return ShutDown(await gather_all([restore_replicas(ctx, scaled) for scaled in done.services]))


async def gather_all(scalings: Sequence[Awaitable[Scaled]]) -> list[Scaled]:
    """Await all of them, then raise the first failure."""
    outcomes = await asyncio.gather(*scalings, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [scaled for scaled in outcomes if isinstance(scaled, Scaled)]
