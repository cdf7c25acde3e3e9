"""`prometheus.*`: figures, now and for as long as they must hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.actions.boards import board, query_board
from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.domain.snapshot import MetricResult, Verdict
from bot.team import Duration


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a board: value by query name (None: unknown), and whether all are within their thresholds."""

    board: str
    service: str | None
    at: datetime
    values: dict[str, float | None]
    holds: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """How long the figures were looked at, how often, and what they were at the end."""

    seconds: float
    looks: int
    values: dict[str, float | None]


@action("prometheus.query", risk=Risk.READ, example="/ops prometheus.query latency_p95 service=xr-engine")
async def query(ctx: Context, query: str, service: str | None = None) -> Figures:
    """The value of a query of the catalogue."""
    return await _figures(ctx, query, service)


@action("prometheus.snapshot", risk=Risk.READ, example="/ops prometheus.snapshot render service=xr-engine")
async def snapshot(ctx: Context, board: str | None = None, service: str | None = None) -> Figures:
    """The figures of a board."""
    return await _figures(ctx, board, service)


@action("prometheus.watch", risk=Risk.READ)
async def watch(
    ctx: Context,
    duration: Duration,
    board: str | None = None,
    service: str | None = None,
    every: Duration = timedelta(seconds=30),
) -> Watched:
    """Figures that must stay within their thresholds for a time; says which broke, when, by how much."""
    began, looks = ctx.began, 0
    while True:
        figures = await _figures(ctx, board, service)
        looks += 1
        if ctx.dry_run:
            break
        if not figures.holds:
            raise WrongState(
                "figures_broke", after=round((ctx.clock.now() - began).total_seconds()), **_broken(ctx, figures)
            )
        left = duration - (ctx.clock.now() - began)
        if left <= timedelta():
            break
        await ctx.clock.sleep(min(every, left).total_seconds())
    return Watched((ctx.clock.now() - began).total_seconds(), looks, figures.values)


@action("prometheus.wait_until", risk=Risk.READ)
async def wait_until(
    ctx: Context,
    within: Duration,
    board: str | None = None,
    service: str | None = None,
    holding: Duration = timedelta(0),
    every: Duration = timedelta(seconds=15),
) -> Watched:
    """Wait until the figures are back within their thresholds, and have held for a time; or give up."""
    began, looks = ctx.began, 0
    since: datetime | None = None
    while True:
        figures, now = await _figures(ctx, board, service), ctx.clock.now()
        looks += 1
        since = (since or now) if figures.holds else None
        if ctx.dry_run or (since and now - since >= holding):
            return Watched((now - began).total_seconds(), looks, figures.values)
        if now - began >= within:
            raise WrongState("figures_not_back", after=round((now - began).total_seconds()), **_broken(ctx, figures))
        await ctx.clock.sleep(every.total_seconds())


async def _figures(ctx: Context, what: str | None, service: str | None) -> Figures:
    wanted = board(ctx.team, what, service)
    taken = await query_board(ctx.prometheus, wanted, ctx.clock.now())
    values = {figure.query: figure.value for figure in taken.figures} | {
        missing.measure.query: None for missing in taken.missing
    }
    holds = not taken.missing and all(_within(figure) for figure in taken.figures)
    return Figures(wanted.name, wanted.service, taken.at, values, holds)


def _within(figure: MetricResult) -> bool:
    return figure.threshold is None or figure.verdict is Verdict.OK


def _broken(ctx: Context, figures: Figures) -> dict[str, Any]:
    """What is out of its threshold, as `name value (threshold)`."""
    queries = ctx.team.queries
    broken = []
    for name, value in figures.values.items():
        threshold = queries[name].threshold if name in queries else None
        shown = "?" if value is None else f"{value:.4g}"
        if value is None or threshold is None or (value > threshold) == (queries[name].direction == "above"):
            broken.append(f"{name} {shown}" + (f" ({threshold:g})" if threshold is not None else ""))
    return {"broken": broken}
