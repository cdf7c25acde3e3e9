"""`litmus.run`: break something on purpose with Litmus, watched by the team's own figures."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bot.actions.boards import Board, board, query_board
from bot.actions.context import Context
from bot.actions.kubernetes_objects import ManifestPath, manifests
from bot.actions.registry import action, undo
from bot.actions.workloads import find_to_change, selectors
from bot.domain.calendar import Plan, upcoming
from bot.domain.chaos import (
    ENGINE,
    ChaosResult,
    Experiment,
    Outcome,
    engine,
    probe_name,
    probes,
    read_engine,
    read_result,
)
from bot.domain.errors import BadInput, BotError, NotConfigured, NotFound, WrongState
from bot.domain.policy import Risk
from bot.domain.snapshot import Direction, MetricDefinition, Verdict
from bot.domain.times import Duration
from bot.integrations.kubernetes.chaos import ENDED
from bot.integrations.kubernetes.objects import Manifest
from bot.integrations.kubernetes.workloads import split_reference
from bot.names import Name
from bot.team import Chaos, maintenance_of, policy_of

AT_LEAST_SECONDS = 30.0  # of real time until a result is given up, however fast the bot's clock runs
LOOK_SECONDS = 2.0  # of the bot's clock, between two looks at the result and at open incidents
LONGEST_NAME = 40  # of an engine, without the suffix that its key adds: Litmus derives names from it


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe of one of the team's figures saw; `held` is None if it was not asked.

    `limit` is what it must keep to, `max 500 ms`.
    """

    query: str
    title: dict[str, str]
    held: bool | None
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Experimented:
    """An experiment and what it showed; `outcome` is `awaited` in a dry run.

    `pods` matched its label beforehand, `targets` were hit. `success` is the share of the probes that held, in percent.
    `source` is the digest of the engine that is approved.
    """

    engine: str
    experiment: str
    namespace: str
    label: str
    pods: list[str]
    affected: int
    seconds: float
    outcome: str
    success: float | None = None
    probes: list[Probed] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    source: str = ""


@action(
    "litmus.run",
    risk=Risk.DISRUPTIVE,
    target="deployment/{environment}/{namespace}/{service}",
    example="/ops litmus.run chaos/pod-delete.yaml service=xr-engine",
)
async def run(
    ctx: Context,
    manifest: ManifestPath,
    service: Name,
    board: str | None = None,
    wait: Duration = timedelta(minutes=5),
    namespace: str | None = None,
) -> Experimented:
    """Break something on purpose with a Litmus experiment of the repository, and say whether the service held.

    The board's figures with a threshold watch it as probes: the first one that breaks ends it. Cancelling the run and
    any incident that opens stop it at once. `wait` is how long Litmus has for its verdict when the time is over.
    """
    limits, engine_manifest = _limits(ctx), _engine_manifest(ctx, manifest)
    ns = ctx.namespace(service, namespace)
    experiment = read_engine(manifest, engine_manifest.body)
    _require_within(limits, experiment, ns)
    watched = _board(ctx, board, service)
    name = f"{engine_manifest.name[:LONGEST_NAME].rstrip('-.')}-{hashlib.sha256(ctx.key.encode()).hexdigest()[:8]}"
    made = probes(watched.queries, limits.prometheus)
    result = ChaosResult(Outcome.AWAITED)
    async with contextlib.nullcontext() if ctx.dry_run else _stopped_with_the_run(ctx, name, ns):
        target = await find_to_change(ctx, service, ns)
        kind, _ = split_reference(target.reference)
        body = engine(engine_manifest.body, name, ns, kind.name if kind else "deployment", made)
        source = hashlib.sha256(json.dumps(body["spec"], sort_keys=True).encode()).hexdigest()[:16]
        if ctx.planned.get("source", source) != source:
            raise WrongState("changed_since", name=manifest)
        trial = _Trial(name, service, ns, experiment, watched)
        pods = await _begin(ctx, trial, body)
        if not ctx.dry_run:
            result = await _followed(ctx, trial, wait)
    seen = _probed(watched, result)
    if not ctx.dry_run:
        _require_held(name, experiment, result, seen)
    return Experimented(
        name, experiment.name, ns, experiment.label, pods, experiment.affected(len(pods)),
        experiment.lasts.total_seconds(), result.outcome.value, result.success, seen, list(result.targets), source,
    )  # fmt: skip


@undo(run, risk=Risk.CHANGE)
async def stop(ctx: Context, done: Experimented) -> Experimented:
    """Stop the experiment if it still goes on; what it broke comes back as Litmus and Kubernetes do it."""
    state = await ctx.kubernetes.chaos.state(done.engine, done.namespace)
    if state is not None and state not in ENDED:
        await ctx.kubernetes.chaos.stop(done.engine, done.namespace)
    return done


@dataclass(frozen=True, slots=True)
class _Trial:
    """An experiment on a service: the engine's name, and the board that watches."""

    name: str
    service: str
    namespace: str
    experiment: Experiment
    watched: Board


async def _begin(ctx: Context, trial: _Trial, body: Mapping[str, Any]) -> list[str]:
    """Begin the experiment, and return the pods that it may hit. One that an earlier attempt has begun goes on."""
    chaos = ctx.kubernetes.chaos
    if not ctx.dry_run and await chaos.state(trial.name, trial.namespace) is not None:
        return list(ctx.planned.get("pods", ()))
    await _require_calm(ctx)
    await chaos.require(trial.experiment.name, trial.experiment.account, trial.namespace)
    pods = await _pods(ctx, trial)
    await _require_holding(ctx, trial.watched)
    aim = {
        "experiment": trial.experiment.name,
        "label": trial.experiment.label,
        "pods": pods,
        "affected": trial.experiment.affected(len(pods)),
        "seconds": trial.experiment.lasts.total_seconds(),
        "probes": [metric.query for metric, _ in trial.watched.queries if metric.threshold is not None],
    }
    await chaos.start(trial.name, trial.namespace, body, aim)
    return pods


# What is asked before anything is done.


def _limits(ctx: Context) -> Chaos:
    if ctx.team.chaos is None:
        raise NotConfigured("chaos_off")
    return ctx.team.chaos


def _engine_manifest(ctx: Context, path: str) -> Manifest:
    first, *more = manifests(ctx, path, [ENGINE])
    if more:
        raise BadInput("manifest_wrong", path=path, why=more[0].name)
    return first


def _require_within(limits: Chaos, experiment: Experiment, namespace: str) -> None:
    """Raise BadInput for a namespace or a duration that the team's file does not allow."""
    if namespace not in limits.namespaces:
        raise BadInput("chaos_not_there", namespace=namespace, known=limits.namespaces)
    if experiment.lasts > limits.longest:
        longest = limits.longest.total_seconds()
        raise BadInput("chaos_too_long", seconds=experiment.lasts.total_seconds(), longest=longest)


def _board(ctx: Context, name: str | None, service: str) -> Board:
    """Return the board that watches. Raises BadInput for one without a threshold: nothing would be measured."""
    watched = board(ctx.team, name, service)
    if all(metric.threshold is None for metric, _ in watched.queries):
        raise BadInput("chaos_unwatched", board=watched.name)
    return watched


async def _require_calm(ctx: Context) -> None:
    """Raise WrongState while an incident is open, changes are frozen, or a freeze or maintenance window goes on."""
    if incident := await _open_incident(ctx):
        raise WrongState("chaos_during_incident", **incident)
    if frozen := await ctx.deps.store.kill_switch.frozen():
        raise WrongState("frozen", reason=frozen.reason)
    now = ctx.clock.now()
    if window := policy_of(ctx.team).window(now):
        raise WrongState("chaos_in_window", title=window.title, ends=window.ends.isoformat(timespec="minutes"))
    plan = Plan(ctx.team.zone, ctx.team.schedules.at, maintenance=maintenance_of(ctx.team))
    for due in upcoming(plan, now, timedelta()):
        title = ctx.deps.words.pick(due.title)
        raise WrongState("chaos_in_window", title=title, ends=str(due.facts["ends"])[:16])


async def _open_incident(ctx: Context) -> Mapping[str, str] | None:
    """Return the worst incident that is open in earnest: what is broken on purpose would hide it."""
    open_incidents = await ctx.deps.store.incidents.list_open()
    found = next((incident for incident in open_incidents if not incident.drill), None)
    return {"incident": found.id, "title": found.title} if found else None


async def _pods(ctx: Context, trial: _Trial) -> list[str]:
    """Return the pods that the experiment's label matches now.

    Raises NotFound if none does, and BadInput if one is not the service's.
    """
    service, namespace, label = trial.service, trial.namespace, trial.experiment.label
    own_selectors = await selectors(ctx, service, namespace)
    pods = ctx.kubernetes.pods
    matched = sorted(pod.name for pod in await pods.list(namespace, label))
    if not matched:
        raise NotFound("chaos_no_target", label=label, namespace=namespace, service=service, known=own_selectors)
    own = {pod.name for selector in own_selectors for pod in await pods.list(namespace, selector)}
    if others := [name for name in matched if name not in own]:
        raise BadInput("chaos_other_pods", label=label, service=service, others=others[:5])
    return matched


async def _require_holding(ctx: Context, watched: Board) -> None:
    """Raise WrongState if a figure that is to watch is out of bounds or unknown already."""
    seen = await query_board(ctx.prometheus, watched, ctx.clock.now())
    broken = [metric.query for metric in seen.figures if metric.verdict in (Verdict.BREACH, Verdict.UNKNOWN)]
    broken += [missing.measure.query for missing in seen.missing]
    if broken:
        raise WrongState("chaos_not_steady", broken=broken)


# What is seen while it goes on.


async def _followed(ctx: Context, trial: _Trial, wait: timedelta) -> ChaosResult:
    """Return the result when there is one. Stops the experiment for an incident, and when the time is up."""
    chaos, until = ctx.kubernetes.chaos, ctx.began + trial.experiment.lasts + wait
    at_least = time.monotonic() + min(wait.total_seconds(), AT_LEAST_SECONDS)
    expected = [probe_name(metric.query) for metric, _ in trial.watched.queries if metric.threshold is not None]
    facts = {"engine": trial.name, "experiment": trial.experiment.name}
    while True:
        content = await chaos.result(trial.name, trial.experiment.name, trial.namespace)
        result = read_result(content, expected)
        if result.outcome is not Outcome.AWAITED:
            return result
        if incident := await _open_incident(ctx):
            await chaos.stop(trial.name, trial.namespace)
            raise WrongState("chaos_stopped_for_incident", **facts, **incident)
        if ctx.clock.now() >= until and time.monotonic() >= at_least:
            await chaos.stop(trial.name, trial.namespace)
            raise WrongState("chaos_unknown", **facts, why="")
        await ctx.clock.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def _stopped_with_the_run(ctx: Context, name: str, namespace: str) -> AsyncIterator[None]:
    """Stop the experiment when the action is interrupted because the run was cancelled or changes were frozen.

    After a restart of the bot it goes on, and the bot goes on following it.
    """
    try:
        yield
    except asyncio.CancelledError:
        with contextlib.suppress(BotError):
            run_id = ctx.key.partition("/")[0]
            if await ctx.deps.store.runs.cancelled(run_id) or await ctx.deps.store.kill_switch.frozen():
                await ctx.kubernetes.chaos.stop(name, namespace)
        raise


def _probed(watched: Board, result: ChaosResult) -> list[Probed]:
    """Return what the probes of the board's figures saw, in the board's order."""
    held = {probe.name: probe.held for probe in result.probes}
    return [
        Probed(metric.query, dict(metric.title), held.get(probe_name(metric.query)), _limit(metric))
        for metric, _ in watched.queries
        if metric.threshold is not None
    ]


def _limit(metric: MetricDefinition) -> str:
    """Return what a metric must keep to, `max 500 ms`."""
    worst = "max" if metric.direction is Direction.ABOVE else "min"
    return f"{worst} {metric.threshold:g} {metric.unit}".strip()


def _require_held(name: str, experiment: Experiment, result: ChaosResult, seen: Sequence[Probed]) -> None:
    """Raise WrongState unless it is measured that the service held."""
    facts: dict[str, Any] = {"engine": name, "experiment": experiment.name, "why": result.why}
    match result.outcome:
        case Outcome.HELD:
            return
        case Outcome.BROKE:
            limits = {probe_name(one.query): f"{one.query} ({one.limit})" for one in seen}
            broken = [limits.get(probe.name, probe.name) for probe in result.probes if probe.held is False]
            raise WrongState("chaos_broke", broken=broken, **facts)
        case Outcome.STOPPED:
            raise WrongState("chaos_stopped", **facts)
        case Outcome.ERROR:
            raise WrongState("chaos_failed", **facts)
        case _:
            raise WrongState("chaos_unknown", **facts)
