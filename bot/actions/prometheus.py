"""`prometheus.*`: read metrics, watch them, wait for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.actions.boards import Board, board, board_of_pods, query_board
from bot.actions.canary import OVERTIME, SAMPLE, Canary
from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.canary import Beside, Comparison
from bot.domain.errors import BadInput, WrongState
from bot.domain.forecast import cries_wolf, is_snoozed, scores
from bot.domain.policy import Risk
from bot.domain.snapshot import MetricDefinition, MetricResult, Verdict
from bot.domain.times import Duration
from bot.names import Tag


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric as people read it: the title by language, value (None: unknown), unit, threshold and verdict."""

    query: str
    title: dict[str, str]
    value: float | None
    unit: str
    threshold: float | None
    direction: str
    verdict: str


@dataclass(frozen=True, slots=True)
class BoardMetrics:
    """The metrics of a board: value by query name (None: unknown), and whether all are within their thresholds."""

    board: str
    service: str | None
    at: datetime
    values: dict[str, float | None]
    holds: bool
    figures: list[Figure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of a canary's pods and of the others: means (None: no samples), verdict, samples of the canary."""

    query: str
    title: dict[str, str]
    unit: str
    canary: float | None
    others: float | None
    verdict: str
    samples: int


@dataclass(frozen=True, slots=True)
class Watched:
    """How long and how often the metrics were checked, and their last values; `beside`: those of a canary's pods."""

    seconds: float
    looks: int
    values: dict[str, float | None]
    figures: list[Figure] = field(default_factory=list)
    beside: list[Compared] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ForecastScores:
    """What came of the predictions since a time: a row for each metric, and how many of those scored came true."""

    since: datetime
    rows: list[ForecastScore]
    came: int
    scored: int


@dataclass(frozen=True, slots=True)
class ForecastScore:
    """How many predictions of one metric came, did not, were averted, are unknown, still wait.

    `quiet`: it is not told now, because it was wrong too often or somebody has snoozed it.
    """

    service: str
    query: str
    came: int
    did_not: int
    averted: int
    unknown: int
    waiting: int
    quiet: bool


@action("prometheus.query", risk=Risk.READ, example="/ops prometheus.query latency_p95 service=xr-engine")
async def query(ctx: Context, query: str, service: str | None = None) -> BoardMetrics:
    """Show the value of a query of the catalogue."""
    return await _read_board(ctx, query, service)


@action("prometheus.forecasts", risk=Risk.READ, example="/ops forecasts within=30d")
async def forecasts(ctx: Context, within: Duration = timedelta(days=30)) -> ForecastScores:
    """Show how many of the forecasts came true, metric by metric."""
    since, store, rows = ctx.clock.now() - within, ctx.deps.store.forecasts, []
    for score in scores(await store.since(since)):
        recent = await store.recent(score.service, score.query)
        quiet = cries_wolf([one.outcome for one in recent]) or is_snoozed(recent, ctx.clock.now())
        rows.append(ForecastScore(**asdict(score), quiet=quiet))
    return ForecastScores(since, rows, sum(row.came for row in rows), sum(row.came + row.did_not for row in rows))


@action("prometheus.snapshot", risk=Risk.READ, example="/ops prometheus.snapshot render service=xr-engine")
async def snapshot(ctx: Context, board: str | None = None, service: str | None = None) -> BoardMetrics:
    """Show the metrics of a board."""
    return await _read_board(ctx, board, service)


@action("prometheus.watch", risk=Risk.READ, example="/ops prometheus.watch 15m service=xr-engine canary=v4.2.0")
async def watch(
    ctx: Context,
    duration: Duration,
    board: str | None = None,
    service: str | None = None,
    every: Duration = timedelta(seconds=30),
    canary: Tag | None = None,
) -> Watched:
    """Check that metrics stay within their thresholds for a time; reports which one did not, when, and by how much.

    With the tag of a canary, its pods are compared with the others, too: a version that is worse is not hidden by the
    pods that are well.
    """
    started, looks = ctx.began, 0
    compared: Sequence[Comparison] = ()
    beside = _canary(ctx, board, service, canary, duration) if canary else None
    while True:
        metrics = await _read_board(ctx, board, service)
        looks += 1
        if ctx.dry_run:
            break
        passed = ctx.clock.now() - started
        if not metrics.holds:
            raise WrongState("figures_broke", after=round(passed.total_seconds()), **_breach_facts(ctx, metrics))
        enough = True
        if beside:
            board_spec, pods = beside
            compared = await pods.compare(ctx, board_spec)
            _require_not_worse(pods, compared, passed)
            enough = await _enough_seen(ctx, pods, board_spec, compared, passed - duration)
        remaining = duration - (ctx.clock.now() - started)
        if remaining <= timedelta() and enough:
            break
        await ctx.clock.sleep((min(every, remaining) if remaining > timedelta() else every).total_seconds())
    seconds = (ctx.clock.now() - started).total_seconds()
    return Watched(seconds, looks, metrics.values, metrics.figures, [_compared(one) for one in compared])


def _canary(ctx: Context, what: str | None, service: str | None, tag: str, duration: timedelta) -> tuple[Board, Canary]:
    """Return what is compared. Raises BadInput for a board without a metric that has a threshold and goes by pod."""
    board_spec = board(ctx.team, what, service)
    if board_spec.service is None or not board_of_pods(ctx.team, board_spec):
        raise BadInput("nothing_by_pod", board=board_spec.name)
    looks = math.ceil((duration + OVERTIME).total_seconds() / SAMPLE)
    return board_spec, Canary(board_spec.service, tag, ctx.began, looks)


def _require_not_worse(canary: Canary, compared: Sequence[Comparison], passed: timedelta) -> None:
    worse = [
        {"query": one.metric.query, "canary": _amount(one.new, one.metric), "others": _amount(one.others, one.metric)}
        for one in compared
        if one.verdict is Beside.WORSE
    ]
    if worse:
        after = round(passed.total_seconds())
        raise WrongState("canary_worse", service=canary.service, tag=canary.tag, after=after, worse=worse)


async def _enough_seen(
    ctx: Context, canary: Canary, board_spec: Board, compared: Sequence[Comparison], over: timedelta
) -> bool:
    """Return whether the canary has been seen enough to be judged. Raises WrongState if it takes too long."""
    if over < timedelta():
        return False
    if not compared:  # all pods run it
        return True
    requests, needed = await canary.requests(ctx, board_spec)
    judged = all(one.verdict is not Beside.UNKNOWN for one in compared)
    if judged and (requests is None or requests >= needed):
        return True
    if over >= OVERTIME:
        facts = {"service": canary.service, "tag": canary.tag, "requests": requests, "needed": needed}
        raise WrongState("canary_too_quiet", samples=min(one.samples for one in compared), **facts)
    return False


@action("prometheus.wait_until", risk=Risk.READ, example="/ops wait_until 10m service=xr-engine")
async def wait_until(
    ctx: Context,
    within: Duration,
    board: str | None = None,
    service: str | None = None,
    holding: Duration = timedelta(0),
    every: Duration = timedelta(seconds=15),
) -> Watched:
    """Wait until metrics are back within their thresholds and stay there for a time; fails at the deadline."""
    started, looks = ctx.began, 0
    since: datetime | None = None
    while True:
        metrics, now = await _read_board(ctx, board, service), ctx.clock.now()
        looks += 1
        since = (since or now) if metrics.holds else None
        if ctx.dry_run or (since and now - since >= holding):
            return Watched((now - started).total_seconds(), looks, metrics.values, metrics.figures)
        if now - started >= within:
            raise WrongState(
                "figures_not_back", after=round((now - started).total_seconds()), **_breach_facts(ctx, metrics)
            )
        await ctx.clock.sleep(every.total_seconds())


async def _read_board(ctx: Context, what: str | None, service: str | None) -> BoardMetrics:
    board_spec = board(ctx.team, what, service)
    result = await query_board(ctx.prometheus, board_spec, ctx.clock.now())
    values = {metric.query: metric.value for metric in result.figures} | {
        missing.measure.query: None for missing in result.missing
    }
    holds = not result.missing and all(_is_within_threshold(metric) for metric in result.figures)
    figures = [_figure(metric, metric.value, metric.verdict) for metric in result.figures]
    figures += [_figure(missing.measure, None, Verdict.UNKNOWN) for missing in result.missing]
    return BoardMetrics(board_spec.name, board_spec.service, result.at, values, holds, figures)


def _figure(metric: MetricResult | MetricDefinition, value: float | None, verdict: Verdict) -> Figure:
    title, unit, threshold = dict(metric.title), metric.unit, metric.threshold
    return Figure(metric.query, title, value, unit, threshold, metric.direction.value, verdict.value)


def _compared(one: Comparison) -> Compared:
    metric = one.metric
    return Compared(metric.query, dict(metric.title), metric.unit, one.new, one.others, one.verdict.value, one.samples)


def _is_within_threshold(metric: MetricResult) -> bool:
    return metric.threshold is None or metric.verdict is Verdict.OK


def _breach_facts(ctx: Context, metrics: BoardMetrics) -> dict[str, Any]:
    """Return the metrics that are unknown or beyond their thresholds, as `name value (threshold)`."""
    queries = ctx.team.queries
    broken = []
    for name, value in metrics.values.items():
        threshold = queries[name].threshold if name in queries else None
        unit = _unit(queries[name].unit) if name in queries else ""
        shown = "?" if value is None else f"{value:.4g}{unit}"
        if value is None or threshold is None or (value > threshold) == (queries[name].direction == "above"):
            broken.append(f"{name} {shown}" + (f" ({threshold:g}{unit})" if threshold is not None else ""))
    return {"broken": broken}


def _amount(value: float | None, metric: MetricDefinition) -> str:
    return "?" if value is None else f"{value:.3g}{_unit(metric.unit)}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit not in ("", "count") else ""
