"""`flow.next_window`, `flow.window`: what is only done at a time of the day that was announced before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from pydantic import AwareDatetime

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.daily import DailyWindow
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.team import Duration


@dataclass(frozen=True, slots=True)
class Window:
    """When it opens and when it closes."""

    begins: datetime
    ends: datetime


@action("flow.next_window", risk=Risk.READ, example="/ops flow.next_window 02:00 04:00 notice=24h")
async def next_window(ctx: Context, opens: time, closes: time, notice: Duration = timedelta(hours=24)) -> Window:
    """When the next maintenance window is (UTC) that leaves so much time to tell people before.

    es: Cuándo es la próxima ventana de mantenimiento (UTC) que deja ese tiempo para avisar antes.
    """
    return Window(*DailyWindow(opens, closes).next(ctx.clock.now() + notice))


@action("flow.window", risk=Risk.READ)
async def window(ctx: Context, begins: AwareDatetime, ends: AwareDatetime) -> Window:
    """Go on only inside a maintenance window: waits until it opens, stops when it is over.

    es: Sigue solo dentro de una ventana de mantenimiento: espera a que abra y para cuando se acaba.
    """
    if not ctx.dry_run and (left := (begins - ctx.clock.now()).total_seconds()) > 0:
        await ctx.clock.sleep(left)
    if ctx.clock.now() >= ends:
        raise WrongState("window_over", ends=ends.isoformat(timespec="minutes"))
    return Window(begins, ends)
