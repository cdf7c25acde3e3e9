"""Measuring a change: the figures before and after, whether they hold, and whether it helped."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.snapshot import board, query_board
from bot.domain.errors import BotError
from bot.domain.run import Run, StepState
from bot.domain.runbook import Step
from bot.domain.snapshot import Snapshot, Verdict, assess, compare
from bot.parts import Parts
from bot.team import PRODUCTION
from bot.workflows.engine import durable_step, sleep_until
from bot.workflows.filling import step_environment
from bot.workflows.show_run import schedule_run_message

QUERY_TIMEOUT = timedelta(minutes=2)
# A change is looked at after that long when the runbook does not say what must hold: rates need a minute or two.
DEFAULT_VERIFY_WITHIN = timedelta(minutes=2)
VERIFY_SAMPLES = 10


async def verify_step(parts: Parts, known: Run, each: Step) -> None:
    """Look at the figures until they hold, or until the time is up; then say what the change did to them.

    A change of no service (a branch, an issue), or not in production, moves no figures; nobody waits for them unless
    the runbook says so.
    """
    if parts.prometheus is None:
        return
    began = await durable_step(f"{each.id}: verify", partial(_start_verifying, parts, known, each), QUERY_TIMEOUT)
    if not began.ok or began.value is None:
        return
    since = datetime.fromisoformat(began.value)
    holding_since: datetime | None = None
    for number in range(VERIFY_SAMPLES * 4):
        looked = await durable_step(
            f"{each.id}: figures {number}", partial(_sample, parts, known, each, since, holding_since), QUERY_TIMEOUT
        )
        if not looked.ok or looked.value["ended"]:
            break
        holding_since = datetime.fromisoformat(looked.value["holding_since"]) if looked.value["holding_since"] else None
        await sleep_until(parts, datetime.fromisoformat(looked.value["again"]))
    await durable_step(f"{each.id}: verdict", partial(_record_verdict, parts, known, each, since), QUERY_TIMEOUT)


async def _start_verifying(parts: Parts, known: Run, each: Step) -> str | None:
    """When it began (ISO 8601); None when there is nothing to measure."""
    stored = (await parts.store.runs.get(known.id)).step(each.id)
    elsewhere = step_environment(parts, known, each.id, stored.parameters) != PRODUCTION
    if each.verify is None and (elsewhere or await _changed_service(parts, known, each) is None):
        return None
    await parts.store.runs.set_step(known.id, each.id, state=StepState.VERIFYING)
    schedule_run_message(parts, known.id)
    return parts.clock.now().isoformat()


async def _sample(
    parts: Parts, known: Run, each: Step, since: datetime, holding_since: datetime | None
) -> dict[str, Any]:
    now = parts.clock.now()
    asked = each.verify
    within = asked.within if asked else DEFAULT_VERIFY_WITHIN
    over = now - since >= within or await parts.store.runs.cancelled(known.id)
    again = min(now + within / VERIFY_SAMPLES, since + within)
    if asked is None:
        return {"ended": over, "again": (since + within).isoformat(), "holding_since": None}
    holds = _within_thresholds(await _query_metrics(parts, known, each, now))
    holding_since = (holding_since or now) if holds else None
    long_enough = holding_since is not None and now - holding_since >= asked.for_
    if over or long_enough:
        await parts.store.runs.set_step(known.id, each.id, verified=bool(holds and long_enough))
    return {
        "ended": over or long_enough,
        "again": again.isoformat(),
        "holding_since": holding_since.isoformat() if holding_since else None,
    }


def _within_thresholds(seen: Snapshot) -> bool:
    """A figure without a threshold is for looking at; one that could not be had is not known to be well."""
    well = (Verdict.OK, Verdict.NO_THRESHOLD)
    return not seen.missing and all(figure.verdict in well for figure in seen.figures)


async def _record_verdict(parts: Parts, known: Run, each: Step, since: datetime) -> None:
    """Compare the figures of before the change with those of now, and keep both as evidence."""
    now = parts.clock.now()
    before = await _query_metrics(parts, known, each, since)
    after = await _query_metrics(parts, known, each, now)
    for when, snapshot in (("before", before), ("after", after)):
        await parts.store.snapshots.add(
            f"{known.id}/{each.id}/{when}", known.incident_id, snapshot.at, snapshot.to_json()
        )
    await parts.store.runs.set_step(known.id, each.id, verdict=assess(compare(before, after)))


async def _query_metrics(parts: Parts, known: Run, each: Step, at: datetime) -> Snapshot:
    if parts.prometheus is None:
        raise BotError("prometheus_off")
    service = await _changed_service(parts, known, each) or parts.team.default_service
    wanted = board(parts.team, each.verify.board if each.verify else None, service)
    return await query_board(parts.prometheus, wanted, at)


async def _changed_service(parts: Parts, known: Run, each: Step) -> str | None:
    """The service that the step changes, by its parameters."""
    stored = (await parts.store.runs.get(known.id)).step(each.id).parameters or {}
    named = (str(stored[name]) for name in ("service", "deployment", "release") if stored.get(name))
    return next((one for one in named if one in parts.team.services), None)
