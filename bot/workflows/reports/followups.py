"""Create GitHub issues of follow-ups, once each, and remind their owners until they are done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from bot.codeowners import assignee, default_owner, is_path
from bot.deps import Deps
from bot.domain.errors import BotError, Refused, Unavailable
from bot.domain.followup import FiledIssue, FollowUp, FollowUpState
from bot.domain.incident import Incident
from bot.integrations.github.github import IssueDraft
from bot.messages.followups import filing_failed, issue_body, reminder
from bot.messages.message import Message
from bot.slack_messages import Place, upsert_message
from bot.team import FollowUpPolicy
from bot.workflows.engine.durable import Outcome, durable_step
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT, destination_so_far

FILING_ALARM_AFTER = 60.0  # seconds


async def file_followup(deps: Deps, followup_id: str, soon: float = FILING_ALARM_AFTER) -> None:
    """Create the issue of a follow-up, retried forever. After `soon` seconds the channel is told that it waits."""
    await durable_step("owner", partial(_find_owner, deps, followup_id), timedelta(seconds=soon))
    filed = await durable_step("issue", partial(_file, deps, followup_id), timedelta(seconds=soon))
    if _is_retriable(filed):
        await durable_step(
            "say that it waits", partial(_report_failure, deps, followup_id, filed, waiting=True), MESSAGE_TIMEOUT
        )
        filed = await durable_step("issue again", partial(_file, deps, followup_id))
    if not filed.ok or filed.value.get("refused"):
        await durable_step(
            "say that it failed", partial(_report_failure, deps, followup_id, filed, waiting=False), MESSAGE_TIMEOUT
        )


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder of a follow-up. `number` counts them, so that each is sent once."""

    followup: FollowUp
    number: int
    overdue: bool

    @property
    def key(self) -> str:
        return f"{self.followup.id}/reminder/{self.number}"


def due_reminders(followups: Iterable[FollowUp], now: datetime, policy: FollowUpPolicy) -> list[Reminder]:
    """Return the reminders due at `now` (UTC): every `remind_every` since it was opened, and the day after its due
    date.

    Of several missed reminders only the newest is returned.
    """
    due = []
    for followup in followups:
        if followup.state is FollowUpState.DONE:
            continue
        overdue = followup.due is not None and now.date() > followup.due
        number = int((now - followup.opened_at) / policy.remind_every) + overdue
        if number > 0:
            due.append(Reminder(followup, number, overdue))
    return due


async def remind_followups(deps: Deps, incident_id: str) -> list[dict[str, Any]]:
    """Send due reminders, each once. Returns those without an issue, as `{"followup": id, "number": n}`.

    The caller starts `file_followup` again for each of these, with the id `<followup>/file/<n>`. Raises Unavailable and
    Refused.
    """
    incident = await deps.store.incidents.get(incident_id)
    followups = await deps.store.followups.list_by_incident(incident_id)
    unfiled = []
    for due in due_reminders(followups, deps.clock.now(), deps.team.followups):
        message = reminder(due.followup, incident, deps.team, deps.words, today=deps.clock.now().date())
        await _post(deps, due.key, incident, message)
        if due.followup.state is FollowUpState.OPEN:
            unfiled.append({"followup": due.followup.id, "number": due.number})
    return unfiled


def quarter(day: date) -> tuple[str, date]:
    """Return the name of a day's quarter (`2026-Q4`), and its last day."""
    number = (day.month + 2) // 3
    next_quarter = date(day.year + number // 4, number % 4 * 3 + 1, 1)
    return f"{day.year}-Q{number}", next_quarter - timedelta(days=1)


async def _find_owner(deps: Deps, followup_id: str) -> str:
    """Return the owner: the given one, or from the repository's CODEOWNERS, or from the team file."""
    followup = await _get(deps, followup_id)
    if followup.owner and not is_path(followup.owner):
        return followup.owner
    incident = await deps.store.incidents.get(followup.incident_id)
    codeowners = deps.team.codeowners
    if deps.github is not None:
        # Without an answer use the team file's copy: any owner now is better than the right one tomorrow.
        with contextlib.suppress(Unavailable, Refused):
            codeowners = await deps.github.codeowners() or codeowners
    owner = default_owner(deps.team, codeowners, path=followup.owner, labels=followup.labels, service=incident.service)
    await deps.store.followups.set_owner(followup_id, owner)
    return owner


async def _file(deps: Deps, followup_id: str) -> dict[str, Any]:
    followup = await _get(deps, followup_id)
    if followup.state is not FollowUpState.OPEN:
        return {"number": followup.number}
    if deps.github is None:
        return {"refused": "github_off", "facts": {}}
    incident = await deps.store.incidents.get(followup.incident_id)
    target = assignee(followup.owner or deps.team.followups.owner, deps.team)
    try:
        issue = await deps.github.create_issue(
            followup.id,
            IssueDraft(
                followup.title,
                issue_body(followup, incident, deps.team, deps.words, target, link=await _link(deps, incident)),
                labels=followup.labels,
                milestone=quarter(followup.due) if followup.due else None,
                assignees=(target.login,) if target.login else (),
            ),
            since=followup.opened_at,
        )
    except Refused as problem:
        return {"refused": problem.key, "facts": {name: str(value) for name, value in problem.facts.items()}}
    assigned = target.login if target.login in issue.assignees else None
    filed = FiledIssue(issue.number, issue.url, assigned, not_assignable=target.login if assigned is None else None)
    key = f"{followup.id}/filed/{issue.number}"
    await deps.store.followups.mark_filed(followup.id, filed, at=deps.clock.now(), idempotency_key=key)
    return {"number": issue.number}


async def _get(deps: Deps, followup_id: str) -> FollowUp:
    followup = await deps.store.followups.get(followup_id)
    if followup is None:
        raise BotError("no_such_followup", followup=followup_id)
    return followup


async def _link(deps: Deps, incident: Incident) -> str | None:
    for name in ("report", "card", "headline"):
        message = await deps.store.slack_messages.get(f"{incident.id}/{name}")
        if message and message.ts:
            return deps.slack.permalink(message.channel, message.ts)
    return None


async def _report_failure(deps: Deps, followup_id: str, outcome: Outcome, *, waiting: bool) -> None:
    followup = await _get(deps, followup_id)
    incident = await deps.store.incidents.get(followup.incident_id)
    error, facts = outcome.error, outcome.facts
    if outcome.ok:
        error, facts = outcome.value["refused"], outcome.value["facts"]
    why = deps.words.error(BotError(error or "unknown", **facts))
    message = filing_failed(followup, why, deps.words, waiting=waiting)
    await _post(deps, f"{followup.id}/unfiled{'' if waiting else '/refused'}", incident, message)


def _is_retriable(outcome: Outcome) -> bool:
    """Return True if a failed step may succeed later: it raised Unavailable, not an internal error."""
    return not outcome.ok and outcome.error not in ("unexpected", "no_such_followup")


async def _post(deps: Deps, key: str, incident: Incident, message: Message) -> None:
    place = await destination_so_far(deps, incident) or Place(deps.incident_channel, incident_id=incident.id)
    await upsert_message(deps, key, place, message)
