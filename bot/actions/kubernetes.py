"""`kubernetes.*`: workloads, pods, logs and events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from bot.actions.context import Context
from bot.actions.gitops import with_places
from bot.actions.registry import action, undo
from bot.actions.workloads import (
    Target,
    find,
    find_to_change,
    names,
    namespace_of,
    other_names,
    owners,
    require_creatable,
    require_room,
    require_running,
    selectors,
    workloads_of,
)
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.times import Duration, at_most
from bot.integrations.kubernetes.pods import Pod, Usage
from bot.integrations.kubernetes.status import Obstacle, Rollout
from bot.integrations.kubernetes.workloads import Owner, split_reference
from bot.names import Name, WorkloadName

DEPLOYMENT = "deployment/{environment}/{namespace}/{deployment}"
REVERTED_WITHIN = timedelta(seconds=20)  # an autoscaler decides every 15 s, a self-healing GitOps tool sooner
LONGEST_FOLLOWED, FOLLOW_EVERY = timedelta(minutes=10), timedelta(seconds=5)
LONGEST_LINE = 4000  # characters of a log's line
LINES_SHOWN, LINE_WIDTH = 8, 160  # of a log that is followed, in the run's message
HIDDEN_COLUMNS = ("containers", "uid", "default_container", "is_ready")  # of pods, in a table
T = TypeVar("T")
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE|CREDENTIAL|DATABASE_URL", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scaled:
    """`after` is what came of it: `put_back_by`, an owner of this kind, has set another number than was `asked`."""

    deployment: str
    namespace: str
    before: int
    after: int
    autoscaler: str | None = None
    asked: int | None = None
    put_back_by: str | None = None
    put_back_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    deployment: str
    namespace: str
    before: dict[str, str | None]
    after: dict[str, str | None]
    put_back_by: str | None = None
    put_back_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    deployment: str
    namespace: str
    container: str
    before: dict[str, str | None]
    after: dict[str, str | None]
    put_back_by: str | None = None
    put_back_kind: str | None = None


@dataclass(frozen=True, slots=True)
class RolledOut:
    """`replicas` of `wanted` are available; `why` says what stands in the way."""

    deployment: str
    namespace: str
    replicas: int
    revision: int
    done: bool
    wanted: int | None = None
    why: list[str] = field(default_factory=list)


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
    put_back_by: str | None = None
    put_back_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of facts, to be read by people."""

    namespace: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Log lines by pod (`pod/container` where it has several), and why there are none of the others."""

    namespace: str
    lines: dict[str, list[str]]
    count: int
    silent: dict[str, str] = field(default_factory=dict)


@action("kubernetes.scale", risk=Risk.CHANGE, target=DEPLOYMENT, example="/ops scale xr-engine 10")
async def scale(
    ctx: Context, deployment: WorkloadName, replicas: Annotated[int, Field(ge=0)], namespace: Name | None = None
) -> Scaled:
    """Set the number of replicas of a workload; says before what else decides it, such as an autoscaler.

    To zero it is as destructive as `kubernetes.shut_down`.
    """
    if replicas > (most := ctx.team.policy.limits.replicas):
        raise BadInput("too_many_replicas", replicas=replicas, most=most)
    target = await find_to_change(ctx, deployment, namespace)
    at, workloads = (target.reference, target.namespace), ctx.kubernetes.workloads
    current, others = await workloads.replicas(*at), await owners(ctx, target)
    autoscaler = next((other.name for other in others if other.scales), None)
    before = _before(ctx, current, replicas)
    if ctx.dry_run and replicas > current:
        await require_creatable(ctx, target)
        await require_room(ctx, target, replicas, current)
    if current != replicas:
        change = {"deployment": at[0], "namespace": at[1], "replicas": replicas}
        said = await with_places(ctx, [_said(other, replicas) for other in others], "kubernetes.scale", change)
        await workloads.scale(*at, replicas, current, said)
    if ctx.dry_run or before == replicas:
        return Scaled(*at, before, replicas, autoscaler, replicas)
    await _roll_out(ctx, target, paused_too=True)
    reverting = [other for other in others if _may_revert(other, replicas)]
    after = await _what_came(ctx, lambda: workloads.replicas(*at), replicas, reverting)
    return Scaled(*at, before, after, autoscaler, replicas, *_put_back(after != replicas, reverting))


@undo(scale)
async def restore_replicas(ctx: Context, done: Scaled) -> Scaled:
    """Restore the number of replicas, unless it was changed since."""
    current = await ctx.kubernetes.workloads.replicas(done.deployment, done.namespace)
    if current == done.before:
        return Scaled(done.deployment, done.namespace, current, current)
    if current != done.asked:
        _require_unchanged(current, done.after, done.deployment)
    await ctx.kubernetes.workloads.scale(done.deployment, done.namespace, done.before, current)
    return Scaled(done.deployment, done.namespace, current, done.before)


@action(
    "kubernetes.set_node_selector",
    risk=Risk.CHANGE,
    target=DEPLOYMENT,
    example="/ops set_node_selector xr-engine node-type=gpu-high-memory",
)
async def set_node_selector(
    ctx: Context, deployment: WorkloadName, selector: dict[str, str], namespace: Name | None = None
) -> Selected:
    """Move the pods to nodes with these labels."""
    target = await find_to_change(ctx, deployment, namespace)
    at, workloads = (target.reference, target.namespace), ctx.kubernetes.workloads

    async def read() -> dict[str, str | None]:
        current = await workloads.node_selector(*at)
        return {name: current.get(name) for name in selector}

    now, after, others = await read(), dict[str, str | None](selector), await _other_writers(ctx, target)
    before = _before(ctx, now, after)
    await _require_changeable(ctx, target)
    if now != after:
        change = {"deployment": at[0], "namespace": at[1], "selector": after}
        said = await with_places(ctx, _all_said(others), "kubernetes.set_node_selector", change)
        await workloads.set_node_selector(*at, after, said, await _cautions(ctx, target))
    if ctx.dry_run or before == after:
        return Selected(*at, before, after)
    await _roll_out(ctx, target)
    came = await _what_came(ctx, read, after, others)
    return Selected(*at, before, came, *_put_back(came != after, others))


@undo(set_node_selector)
async def restore_node_selector(ctx: Context, done: Selected) -> Selected:
    """Restore the node selector, unless it was changed since."""
    current = await ctx.kubernetes.workloads.node_selector(done.deployment, done.namespace)
    now = {name: current.get(name) for name in done.after}
    if now != done.before:
        _require_unchanged(now, done.after, done.deployment)
        await ctx.kubernetes.workloads.set_node_selector(done.deployment, done.namespace, done.before)
    return Selected(done.deployment, done.namespace, done.after, done.before)


@action(
    "kubernetes.set_env",
    risk=Risk.CHANGE,
    target=DEPLOYMENT,
    example="/ops env xr-engine LOG_LEVEL=debug",
)
async def set_env(
    ctx: Context, deployment: WorkloadName, variables: dict[str, str], namespace: Name | None = None
) -> Environment:
    """Set environment variables; names of secrets are refused."""
    refuse_secrets(variables)
    target = await find_to_change(ctx, deployment, namespace)
    at, workloads = (target.reference, target.namespace), ctx.kubernetes.workloads
    container, _ = await workloads.env(*at)

    async def read() -> dict[str, str | None]:
        _, current = await workloads.env(*at)
        return {name: current.get(name) for name in variables}

    now, after, others = await read(), dict[str, str | None](variables), await _other_writers(ctx, target)
    before = _before(ctx, now, after)
    await _require_changeable(ctx, target)
    if now != after:
        change = {"deployment": at[0], "namespace": at[1], "container": container, "variables": after}
        said = await with_places(ctx, _all_said(others), "kubernetes.set_env", change)
        await workloads.set_env(*at, container, after, said, await _cautions(ctx, target))
    if ctx.dry_run or before == after:
        return Environment(*at, container, before, after)
    await _roll_out(ctx, target)
    came = await _what_came(ctx, read, after, others)
    return Environment(*at, container, before, came, *_put_back(came != after, others))


@undo(set_env)
async def restore_env(ctx: Context, done: Environment) -> Environment:
    """Restore the values, unless they were changed since."""
    _, current = await ctx.kubernetes.workloads.env(done.deployment, done.namespace)
    now = {name: current.get(name) for name in done.after}
    if now != done.before:
        _require_unchanged(now, done.after, done.deployment)
        await ctx.kubernetes.workloads.set_env(done.deployment, done.namespace, done.container, done.before)
    return Environment(done.deployment, done.namespace, done.container, done.after, done.before)


@action("kubernetes.restart", risk=Risk.CHANGE, target=DEPLOYMENT, example="/ops restart xr-engine")
async def restart(ctx: Context, deployment: WorkloadName, namespace: Name | None = None) -> Restarted:
    """Restart the pods one by one and wait for it."""
    target = await find_to_change(ctx, deployment, namespace)
    ref, ns = target.reference, target.namespace
    await _require_changeable(ctx, target)
    at = datetime.fromisoformat(ctx.planned["at"]) if "at" in ctx.planned else ctx.clock.now()
    others = [owner for owner in await _other_writers(ctx, target) if owner.kind != "helm"] if ctx.dry_run else []
    await ctx.kubernetes.workloads.restart(ref, ns, at, _all_said(others), await _cautions(ctx, target))
    if ctx.dry_run:
        rolled_out = await _rolled_out(ctx, target)
    else:
        rolled_out = await _told(ctx, target, await _roll_out(ctx, target), [])
    return Restarted(ref, ns, rolled_out.replicas, rolled_out.revision, rolled_out.done, at)


@action("kubernetes.rollout_status", risk=Risk.READ, example="/ops rollout_status xr-engine")
async def rollout_status(
    ctx: Context, deployment: WorkloadName, namespace: Name | None = None, wait: bool = False
) -> RolledOut:
    """Show the progress of a rollout and what stands in its way; with `wait`, wait until it is done."""
    target = await find(ctx, deployment, namespace)
    if wait and not ctx.dry_run:
        return await _told(ctx, target, await _roll_out(ctx, target), [])
    return await _rolled_out(ctx, target)


@action(
    "kubernetes.rollout_undo",
    risk=Risk.DISRUPTIVE,
    target=DEPLOYMENT,
    example="/ops rollout undo xr-engine",
)
async def rollout_undo(
    ctx: Context, deployment: WorkloadName, revision: int | None = None, namespace: Name | None = None
) -> Restored:
    """Roll a workload back to the previous revision, or to a given one."""
    target = await find_to_change(ctx, deployment, namespace)
    at, workloads = (target.reference, target.namespace), ctx.kubernetes.workloads
    await _require_changeable(ctx, target)
    current, known = await workloads.revision(*at), await workloads.revisions(*at)
    before = int(ctx.planned.get("before", current))
    earlier = [number for number in known if number < before]
    to = revision if revision is not None else ctx.planned.get("after", earlier[-1] if earlier else None)
    if to is None:
        raise WrongState("no_earlier_revision", deployment=target.reference)
    others = await _other_writers(ctx, target)
    if current != before + 1 or to in known:  # else an earlier attempt did it: the revision has got the next number
        change = {"deployment": at[0], "namespace": at[1]}
        said = await with_places(ctx, _all_said(others), "kubernetes.rollout_undo", change)
        await workloads.rollout_undo(*at, to, said, await _cautions(ctx, target))
    if ctx.dry_run:
        return Restored(*at, before, to)
    await _roll_out(ctx, target)
    came = await _what_came(ctx, lambda: workloads.revision(*at), before + 1, others)
    return Restored(*at, before, to, *_put_back(came > before + 1, others))


@undo(rollout_undo)
async def roll_forward(ctx: Context, done: Restored) -> Restored:
    """Put the revision back that was there before. Kubernetes numbers it anew: where it is gone, this is done."""
    workloads = ctx.kubernetes.workloads
    if done.before in await workloads.revisions(done.deployment, done.namespace):
        await workloads.rollout_undo(done.deployment, done.namespace, done.before)
        if not ctx.dry_run:
            await workloads.wait_until_rolled_out(done.deployment, done.namespace)
    return Restored(done.deployment, done.namespace, done.after, done.before)


@action("kubernetes.pods", risk=Risk.READ, example="/ops pods xr-engine")
async def pods(ctx: Context, service: WorkloadName, namespace: Name | None = None) -> Table:
    """List the pods of a service."""
    ns = namespace_of(ctx, service, namespace)
    rows = [asdict(pod) for pod in await pods_of(ctx, service, ns)]
    return Table(ns, [{name: row[name] for name in row if name not in HIDDEN_COLUMNS} for row in rows])


@action("kubernetes.top_pods", risk=Risk.READ, example="/ops top_pods xr-engine cpu")
async def top_pods(
    ctx: Context,
    service: WorkloadName | None = None,
    by: Literal["cpu", "memory"] = "cpu",
    namespace: Name | None = None,
    most: Annotated[int, Field(ge=1, le=50)] = 10,
) -> Table:
    """Show which pods use the most CPU or memory: of a service, or of the whole namespace.

    Those that run and were not measured yet are last.
    """
    ns = namespace_of(ctx, service or ctx.team.default_service or "", namespace)
    usages, pods = await asyncio.gather(
        ctx.kubernetes.pods.top(ns), pods_of(ctx, service, ns) if service else ctx.kubernetes.pods.list(ns)
    )
    known, running = {pod.name for pod in pods}, {pod.name for pod in pods if pod.phase in ("Running", "NotReady")}
    own = {usage.name: usage for usage in usages if service is None or usage.name in known}
    measured = [usage for usage in own.values() if getattr(usage, by) is not None]
    measured.sort(key=lambda usage: getattr(usage, by), reverse=True)
    others = [own.get(name, Usage(name, None, None)) for name in sorted(running - {usage.name for usage in measured})]
    return Table(ns, [asdict(usage) for usage in [*measured[:most], *others[:most]]])


@action("kubernetes.top_nodes", risk=Risk.READ, example="/ops top nodes")
async def top_nodes(ctx: Context) -> Table:
    """Show the CPU and memory usage of the nodes."""
    return Table("-", [asdict(usage) for usage in await ctx.kubernetes.pods.top_nodes()])


@action("kubernetes.logs", risk=Risk.READ, example="/ops logs xr-engine since=1h tail=200 pattern=error")
async def logs(
    ctx: Context,
    service: WorkloadName,
    since: Duration = timedelta(hours=1),
    tail: Annotated[int, Field(ge=1, le=5000)] = 200,
    pattern: str | None = None,
    container: Name | None = None,
    previous: bool = False,
    namespace: Name | None = None,
    follow: Annotated[Duration, at_most(LONGEST_FOLLOWED)] = timedelta(0),
) -> Lines:
    """Show the newest log lines of all pods of a service, with secrets removed; says which pods have none, and why.

    With `follow` the newest lines are shown anew every few seconds for that long, ten minutes at most.
    """
    ns, wanted = namespace_of(ctx, service, namespace), (pattern or "").lower()

    async def read() -> Lines:
        followed = ctx.clock.now() - ctx.began
        pods = await pods_of(ctx, service, ns)
        found = await ctx.kubernetes.pods.logs(
            pods,
            ns,
            since=None if previous else (since + followed).total_seconds(),
            tail=tail,
            container=container,
            previous=previous,
        )
        names = sorted({name for pod in pods for name in pod.containers})
        if container and container not in names and not found.texts and all(found.silent.values()):
            facts = {"known": names, "nearest": nearest(container, names)}
            raise NotFound("no_such_container", name=container, service=service, **facts)
        lines = {
            pod: [line for line in shown_lines(ctx, text.splitlines()) if wanted in line.lower()][-tail:]
            for pod, text in found.texts.items()
        }
        return Lines(ns, lines, sum(map(len, lines.values())), found.silent)

    newest = await read()
    while not ctx.dry_run and (left := ctx.began + follow - ctx.clock.now()) > timedelta(0):
        await ctx.tell(name=service, available=None, wanted=None, lines=_last(newest), left=left.total_seconds())
        await ctx.clock.sleep(min(left, FOLLOW_EVERY).total_seconds())
        newest = await read()
    return newest


@action("kubernetes.events", risk=Risk.READ, example="/ops events xr-engine")
async def events(ctx: Context, service: WorkloadName, namespace: Name | None = None) -> Table:
    """Show the events of a service's workloads and pods, the newest last."""
    ns, own = namespace_of(ctx, service, namespace), names(ctx, service)
    others, found = await asyncio.gather(other_names(ctx, own, ns), ctx.kubernetes.pods.events(ns))
    newest = [event for event in found if _belongs(event.about, own, others)][-30:]
    rows = [{**asdict(event), "at": event.at.isoformat() if event.at else None} for event in newest]
    return Table(ns, [{**row, "message": ctx.deps.redaction.text(row["message"])} for row in rows])


def shown_lines(ctx: Context, lines: Sequence[str]) -> list[str]:
    """Return lines of a log as people see and the store keeps them: without secrets, and none endless."""
    clean = ctx.deps.redaction.lines(lines)
    return [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in clean]


def _last(lines: Lines) -> list[str]:
    """Return the newest lines of all pods, in the order of their times, short enough for a message."""
    stamped = sorted((line, pod) for pod, found in lines.lines.items() for line in found[-LINES_SHOWN:])
    return [f"{pod[-5:]} {line}"[:LINE_WIDTH].replace("```", "’’’") for line, pod in stamped[-LINES_SHOWN:]]


def refuse_secrets(variables: Mapping[str, str]) -> None:
    """Raise BadInput for a variable whose name suggests a secret: its value would be shown, stored and approved."""
    if secret := next((name for name in variables if _SECRET.search(name)), None):
        raise BadInput("secret_in_env", name=secret)


def _before(ctx: Context, now: T, after: T) -> T:
    """Return the state before the first attempt: the current one, or the planned one if an earlier attempt
    changed it.
    """
    return ctx.planned.get("before", now) if now == after else now


def _require_unchanged(now: object, after: object, name: str) -> None:
    if now != after:
        raise WrongState("changed_since", name=name)


async def _require_changeable(ctx: Context, target: Target) -> None:
    """Refuse at plan time what would come to nothing: a paused workload, pods that the cluster refuses."""
    if ctx.dry_run:
        await require_running(ctx, target)
        await require_creatable(ctx, target)


async def _other_writers(ctx: Context, target: Target) -> list[Owner]:
    """Return who else writes the workload's template; an autoscaler does not."""
    return [owner for owner in await owners(ctx, target) if not owner.scales]


async def _cautions(ctx: Context, target: Target) -> list[dict[str, Any]]:
    """Return at plan time what replacing the pods does besides, such as an outage."""
    return await ctx.kubernetes.workloads.cautions(target.reference, target.namespace) if ctx.dry_run else []


def _said(owner: Owner, replicas: int) -> dict[str, Any]:
    """Return what is said about an owner before a change of the replicas, with the number that it will put back."""
    said = owner.to_json()
    if owner.least is None or owner.most is None or not replicas:
        return said  # a HorizontalPodAutoscaler leaves a workload alone that was scaled to zero
    allowed = min(max(replicas, owner.least), owner.most)
    return said | ({"back": allowed} if allowed != replicas else {})


def _may_revert(owner: Owner, replicas: int) -> bool:
    """Return whether an owner may soon set another number: KEDA also starts what was scaled to zero."""
    if not owner.scales:
        return _puts_back(owner)
    return "back" in _said(owner, replicas) or (owner.kind == "keda" and not replicas)


def _puts_back(owner: Owner) -> bool:
    """Return False for an Argo CD that syncs only when somebody asks or commits."""
    return owner.heals is not False


def _put_back(is_back: bool, others: Sequence[Owner]) -> tuple[str | None, str | None]:
    """Return name and kind of who has put a change back, if it is back."""
    return (others[0].name, others[0].kind) if is_back and others else (None, None)


def _all_said(others: Sequence[Owner]) -> list[dict[str, Any]]:
    return [other.to_json() for other in others]


async def _what_came(ctx: Context, read: Callable[[], Awaitable[T]], wanted: T, others: Sequence[Owner]) -> T:
    """Return what is there after a change: with other owners, once they have had the time to put it back."""
    others, until = [one for one in others if _puts_back(one)], ctx.clock.now() + REVERTED_WITHIN
    while others and (now := await read()) == wanted and ctx.clock.now() < until:
        await ctx.clock.sleep(1.0)
    return now if others else wanted


async def _roll_out(ctx: Context, target: Target, *, paused_too: bool = False) -> Rollout:
    """Wait for the rollout, and show what it waits for."""

    async def tell(rollout: Rollout, obstacles: Sequence[Obstacle]) -> None:
        why = [str(obstacle) for obstacle in obstacles[:3]]
        await ctx.tell(name=target.reference, available=rollout.available, wanted=rollout.wanted, why=why)

    wait = ctx.kubernetes.workloads.wait_until_rolled_out
    return await wait(target.reference, target.namespace, tell, paused_too=paused_too)


async def _rolled_out(ctx: Context, target: Target) -> RolledOut:
    workloads, at = ctx.kubernetes.workloads, (target.reference, target.namespace)
    rollout = await workloads.rollout(*at)
    is_clear = rollout.done and not rollout.paused
    return await _told(ctx, target, rollout, [] if is_clear else await workloads.obstacles(*at))


async def _told(ctx: Context, target: Target, rollout: Rollout, obstacles: Sequence[Obstacle]) -> RolledOut:
    at = (target.reference, target.namespace)
    revision = rollout.revision or await ctx.kubernetes.workloads.revision(*at)
    why = [*([rollout.stuck] if rollout.stuck else []), *map(str, obstacles[:10])]
    return RolledOut(*at, rollout.available, revision, rollout.done, rollout.wanted, why)


async def pods_of(ctx: Context, service: str, namespace: str) -> list[Pod]:
    """Return the pods of all workloads of a service, by the workloads' own selectors."""
    found = await asyncio.gather(
        *(ctx.kubernetes.pods.list(namespace, selector) for selector in await selectors(ctx, service, namespace))
    )
    return list({pod.name: pod for pods in found for pod in pods}.values())


async def ready_pod(ctx: Context, service: str, namespace: str) -> Pod:
    """Return a ready pod of the service. Raises WrongState."""
    ready = next((pod for pod in await pods_of(ctx, service, namespace) if pod.is_ready), None)
    if ready is None:
        raise WrongState("no_ready_pod", service=service, namespace=namespace)
    return ready


def _belongs(about: str, own: Sequence[str], others: Sequence[str]) -> bool:
    """Return True for `Deployment/web`, `Pod/web-5d9c-x2x7k` and `ReplicaSet/web-5d9c` of the workload `web`, unless
    another one with a longer name, such as `web-admin`, has it.
    """
    name = about.partition("/")[2]
    owners = [one for one in (*own, *others) if name == one or name.startswith(f"{one}-")]
    return bool(owners) and max(owners, key=len) in own


@dataclass(frozen=True, slots=True)
class Described:
    """`rows` have `part` (field, container, condition, pod, event), `name`, `state`, `why`; events are last."""

    kind: str
    name: str
    namespace: str
    rows: list[dict[str, str]]


@action("kubernetes.describe", risk=Risk.READ, example="/ops describe xr-engine")
async def describe(
    ctx: Context,
    kind: Literal["workload", "pod", "deployment", "statefulset", "daemonset", "rollout", "job", "node"],
    name: WorkloadName,
    service: str | None = None,
    namespace: str | None = None,
) -> Described:
    """Describe a workload, a pod, a job or a node: containers, how they ended, conditions, events."""
    ns = namespace
    if kind in ("pod", "job", "node") or service is not None or name not in ctx.team.services:
        ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    if kind in ("pod", "job", "node"):
        reference = f"{kind}/{name}"
    else:
        is_bare = kind == "workload" or name in ctx.team.services
        target = await find(ctx, name if is_bare else f"{kind}/{name}", ns)
        reference, ns = target.reference, target.namespace
    rows = [asdict(line) for line in await ctx.kubernetes.descriptions.describe(reference, str(ns))]
    return Described(kind, name, "" if kind == "node" else str(ns), rows)


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The workloads that were shut down, each with its previous replicas; `left` are those that keep running: a
    DaemonSet cannot be scaled, and the team's file protects some.
    """

    services: list[Scaled]
    left: list[str] = field(default_factory=list)


@action(
    "kubernetes.shut_down",
    risk=Risk.DESTRUCTIVE,
    target="shutdown/{environment}",
    example="/ops kubernetes.shut_down",
)
async def shut_down(ctx: Context, services: list[str] | None = None) -> ShutDown:
    """Scale services to zero, all of them if none is named; continues with the others if one fails."""
    before: dict[tuple[str, str], dict[str, Any]] = {
        (entry["deployment"], entry["namespace"]): entry for entry in ctx.planned.get("services", ())
    }
    targets, left = list(before), list(ctx.planned.get("left", ()))
    if not targets:
        targets, left = await _running(ctx, services)
    scalings = [
        scale(replace(ctx, planned=before.get((reference, namespace), {})), reference, 0, namespace)
        for reference, namespace in targets
    ]
    if ctx.dry_run:
        return ShutDown([await scaling for scaling in scalings], left)  # sequentially: the plan lists them in order
    return ShutDown(await gather_all(scalings), left)


async def _running(ctx: Context, services: Sequence[str] | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the workloads of these services with their namespaces; of all services those that can be scaled, and those
    that cannot.
    """
    every = [name for name, service in ctx.team.services.items() if ctx.environment in service.namespaces]
    if not (services or every):
        known = sorted({name for service in ctx.team.services.values() for name in service.namespaces})
        raise BadInput("no_such_environment", environment=ctx.environment, known=known)
    found: list[tuple[str, str]] = []
    missing: NotFound | None = None
    for name in services or every:
        namespace = namespace_of(ctx, name)
        try:
            found += [(reference, namespace) for reference in await workloads_of(ctx, name, namespace)]
        except NotFound as problem:
            if services:
                raise
            missing = missing or problem  # it is not running
    targets = list(dict.fromkeys(found))
    if services:
        return targets, []
    left = [reference for reference, _ in targets if not _may_be_scaled(ctx, reference)]
    targets = [(reference, namespace) for reference, namespace in targets if reference not in left]
    if missing and not targets:
        raise missing
    return targets, left


def _may_be_scaled(ctx: Context, reference: str) -> bool:
    kind, name = split_reference(reference)
    return (kind is None or kind.scales) and name not in ctx.team.policy.limits.protected


@undo(shut_down, risk=Risk.CHANGE)
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
