"""`prometheus.*`: read metrics, watch them, wait for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.actions.boards import board, query_board
from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.domain.snapshot import MetricDefinition, MetricResult, Verdict
from bot.domain.times import Duration


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
class Watched:
    """How long and how often the metrics were checked, and their last values."""

    seconds: float
    looks: int
    values: dict[str, float | None]
    figures: list[Figure] = field(default_factory=list)


@action("prometheus.query", risk=Risk.READ, example="/ops prometheus.query latency_p95 service=xr-engine")
async def query(ctx: Context, query: str, service: str | None = None) -> BoardMetrics:
    """Show the value of a query of the catalogue."""
    return await _read_board(ctx, query, service)


@action("prometheus.snapshot", risk=Risk.READ, example="/ops prometheus.snapshot render service=xr-engine")
async def snapshot(ctx: Context, board: str | None = None, service: str | None = None) -> BoardMetrics:
    """Show the metrics of a board."""
    return await _read_board(ctx, board, service)


@action("prometheus.watch", risk=Risk.READ, example="/ops prometheus.watch 15m service=xr-engine")
async def watch(
    ctx: Context,
    duration: Duration,
    board: str | None = None,
    service: str | None = None,
    every: Duration = timedelta(seconds=30),
) -> Watched:
    """Check that metrics stay within their thresholds for a time; reports which one did not, when, and by how much."""
    started, looks = ctx.began, 0
    while True:
        metrics = await _read_board(ctx, board, service)
        looks += 1
        if ctx.dry_run:
            break
        if not metrics.holds:
            raise WrongState(
                "figures_broke", after=round((ctx.clock.now() - started).total_seconds()), **_breach_facts(ctx, metrics)
            )
        remaining = duration - (ctx.clock.now() - started)
        if remaining <= timedelta():
            break
        await ctx.clock.sleep(min(every, remaining).total_seconds())
    return Watched((ctx.clock.now() - started).total_seconds(), looks, metrics.values, metrics.figures)


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


def _is_within_threshold(metric: MetricResult) -> bool:
    return metric.threshold is None or metric.verdict is Verdict.OK


def _breach_facts(ctx: Context, metrics: BoardMetrics) -> dict[str, Any]:
    """Return the metrics that are unknown or beyond their thresholds, as `name value (threshold)`."""
    queries = ctx.team.queries
    broken = []
    for name, value in metrics.values.items():
        threshold = queries[name].threshold if name in queries else None
        unit = f" {queries[name].unit}" if name in queries and queries[name].unit not in ("", "count") else ""
        shown = "?" if value is None else f"{value:.4g}{unit}"
        if value is None or threshold is None or (value > threshold) == (queries[name].direction == "above"):
            broken.append(f"{name} {shown}" + (f" ({threshold:g}{unit})" if threshold is not None else ""))
    return {"broken": broken}
