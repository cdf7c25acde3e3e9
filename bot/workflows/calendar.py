"""The calendar: looks every few minutes what is due, and tells each thing once in the incident channel.

What was told is in the store, saved together with the workflow that tells it. So a restart, a kill or days of being
down neither repeat nor lose anything; whatever became due several times meanwhile is told once.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.backups import backup_checks
from bot.deps import Deps
from bot.domain.backup import Check
from bot.domain.calendar import (
    Due,
    DueKind,
    Exercise,
    Plan,
    Recurring,
    due,
    upcoming,
)
from bot.domain.drill import PREFIX
from bot.domain.errors import Unavailable
from bot.domain.rotation import Rotation
from bot.domain.run import Approval, ApprovalState
from bot.domain.statistics import Targets, compute
from bot.messages.calendar import LongWait, Week, digest, due_message
from bot.slack_messages import Place, upsert_message
from bot.team import maintenance_of
from bot.workflows.engine.durable import durable_step
from bot.workflows.forecasts import metric_titles, scores_since

log = logging.getLogger(__name__)

CHECK_INTERVAL = timedelta(minutes=10)
FIRST_DAY = timedelta(days=1)  # whoever tries the bot is not greeted with what was due long before it
TELL_TIMEOUT = timedelta(days=7)
WEEK = timedelta(days=7)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LONG_WAITS = 3


async def calendar_loop(deps: Deps, may_run: asyncio.Event) -> None:
    """Look at the calendar every CHECK_INTERVAL while this process runs workflows."""
    while True:
        await may_run.wait()
        try:
            await check_calendar(deps)
        except Unavailable as problem:
            log.warning("the calendar is looked at later: %s", problem)
        except Exception:
            log.exception("looking at the calendar failed; next attempt in %s", CHECK_INTERVAL)
        await asyncio.sleep(CHECK_INTERVAL.total_seconds() / deps.clock.speed)


async def check_calendar(deps: Deps) -> list[str]:
    """Enqueue what is due and was not told yet. Returns its keys. Raises Unavailable without the database."""
    now, store = deps.clock.now(), deps.store
    began = await store.calendar.began(now)
    if now < began + FIRST_DAY:
        return []
    found = due(await _plan(deps), now, began + FIRST_DAY)
    told = await store.calendar.told([thing.key for thing in found]) if found else set()
    new = [thing for thing in found if thing.key not in told]
    return [thing.key for thing in new if await store.calendar.tell_once(thing.key, now, [thing.to_json()])]


async def tell_due(deps: Deps, raw: dict[str, Any]) -> None:
    """Tell one due thing in the incident channel."""
    await durable_step("tell", partial(_tell, deps, Due.from_json(raw)), TELL_TIMEOUT)


async def _tell(deps: Deps, thing: Due) -> None:
    if thing.kind is DueKind.DIGEST:
        message = digest(await week_before(deps, thing.at), deps.words)
    else:
        message = due_message(thing, deps.words)
    await upsert_message(deps, f"calendar/{thing.key}", Place(deps.incident_channel), message)


async def rotations(deps: Deps) -> list[Rotation] | None:
    """Return the rotations of all secrets, with unknown ages where Vault does not say; None without Vault."""
    ages, secrets = deps.secret_ages, deps.team.secrets
    if ages is None or not secrets:
        return None
    written_at = await ages.cached()
    return [
        Rotation(name, environment, secret.rotate_every, written_at.get((name, environment)))
        for name, secret in secrets.items()
        for environment in secret.paths
    ]


def maintenance_within(deps: Deps, time: timedelta) -> list[Due]:
    """Return the windows of maintenance that go on or begin within this time."""
    plan = Plan(deps.team.zone, deps.team.schedules.at, maintenance=maintenance_of(deps.team))
    return upcoming(plan, deps.clock.now(), time)


async def _plan(deps: Deps) -> Plan:
    team, schedules = deps.team, deps.team.schedules
    exercises = []
    for drill in schedules.drills:
        last_held = await deps.store.runs.last_started([f"{PREFIX}{scenario}" for scenario in drill.scenarios])
        exercises.append(Exercise(drill.title, drill.months, drill.scenarios, last_held))
    known_rotations = await rotations(deps) or []
    return Plan(
        zone=team.zone,
        at=schedules.at,
        digest=WEEKDAYS.index(schedules.digest) if schedules.digest else None,
        tasks=[
            Recurring(name, task.title, task.first, task.every, task.runbook) for name, task in schedules.tasks.items()
        ],
        exercises=exercises,
        maintenance=maintenance_of(deps.team),
        rotations=[(rotation, team.secrets[rotation.secret].runbook) for rotation in known_rotations],
        backups=await backups(deps),
    )


async def backups(deps: Deps) -> list[Check]:
    """Return what the team's file asks of its backups, compared with what is; nothing without AWS."""
    return await backup_checks(deps, deps.aws) if deps.aws else []


async def week_before(deps: Deps, until: datetime) -> Week:
    """Return the facts of the week that ends then."""
    store, targets, since = deps.store, deps.team.targets, until - WEEK
    scored = await scores_since(deps, since, until)
    records = [record for record in await store.incidents.records(since) if record.start < until.timestamp()]
    statistics = compute(
        records, Targets(targets.mtta, targets.mttr, targets.mtbf), since=since, until=until, previous_start=None
    )
    followups = await store.followups.not_done()
    planned = await rotations(deps)
    waits = [
        await _wait(deps, approval, until)
        for approval in await store.runs.approvals_since(since)
        if approval.asked_at < until
    ]
    return Week(
        since=since,
        until=until,
        statistics=statistics,
        open=[incident for incident in await store.incidents.list_open() if not incident.drill],
        overdue=[followup for followup in followups if followup.due and followup.due < until.date()],
        rotations=[rotation for rotation in planned or () if rotation.due_at and rotation.due_at <= until],
        rotations_known=all(rotation.due_at for rotation in planned or ()),
        backups=await backups(deps),
        forecasts=scored,
        titles=metric_titles(deps.team, deps.words),
        waits=sorted(waits, key=lambda wait: wait.took, reverse=True)[:LONG_WAITS],
    )


async def _wait(deps: Deps, approval: Approval, until: datetime) -> LongWait:
    run = await deps.store.runs.get(approval.run_id)
    answered = bool(approval.decisions)
    ended = approval.decisions[-1].at if answered else approval.expires_at
    if approval.state is ApprovalState.WAITING:
        ended = min(ended, until)
    return LongWait(run.id, run.runbook, ended - approval.asked_at, answered)
