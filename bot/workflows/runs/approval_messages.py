"""Messages about an approval: the card in the channel, a direct message to everybody who can decide, the refusal.

The card is posted again at half time, as an edit notifies nobody; the older one is deleted. Each message has its own
key, so that it is sent once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.deps import Deps
from bot.domain.errors import NotFound, Refused
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.run import (
    APPROVAL_ROUNDS,
    Approval,
    ApprovalState,
    Run,
    StepRun,
    WaitsFor,
    continued_key,
    is_undo,
    run_id,
)
from bot.messages.approval import ApprovalView, approval_card, direct_message, refusal, whole_diff
from bot.slack_messages import Place, below, delete_message, upload_once, upsert_message
from bot.team import policy_of
from bot.workflows.runs.emergency import break_glass_offered
from bot.workflows.runs.presentation import run_destination
from bot.workflows.runs.step import step_place

log = logging.getLogger(__name__)

MAX_DIRECT_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """An approval with its run, step and incident; `people` can decide it now."""

    run: Run
    step: StepRun
    approval: Approval
    incident: Incident | None
    people: Sequence[str]
    place: str | None
    break_glass: bool

    def view(self, *, again: bool = False) -> ApprovalView:
        """Return what its messages show."""
        action = ACTIONS.get(self.step.uses)
        return ApprovalView(
            self.run,
            self.step,
            self.approval,
            self.incident,
            self.people,
            risk=action.risk_of(self.step.effects, undoing=is_undo(self.step.id)).value,
            undoable=action.undo is not None and not is_undo(self.step.id),
            place=self.place,
            break_glass=self.break_glass and action.waits_for is not WaitsFor.ANSWER,
            is_question=action.waits_for is WaitsFor.ANSWER,
            again=again,
        )


def approvers(deps: Deps, run: Run, approval: Approval, *, may_ask_too: bool = False) -> list[str]:
    """Return the Slack ids of those who can decide now, on call first: without the requester, unless it is a question.

    Those who have decided are left out.
    """
    decided = {decision.person for decision in approval.decisions}
    able = policy_of(deps.team).roles.get(approval.role, frozenset()) - decided
    asked_by = run.asked_by(approval.step_id)
    able = able | {asked_by.id} if may_ask_too and asked_by.in_slack else able - {asked_by.id}
    names = [owner.slack for owner in deps.team.people]
    order = {id: position for position, id in enumerate(names)}
    on_call = _on_call_now(deps)
    return sorted(able, key=lambda id: (id not in on_call, order.get(id, len(order)), id))


def _on_call_now(deps: Deps) -> set[str]:
    """Return the Slack ids of who is on call, as far as it is known without asking PagerDuty."""
    result = set()
    for team in deps.team.teams.values():
        for person in deps.on_call.cached(team.pagerduty) if team.pagerduty else ():
            owner = deps.team.person(pagerduty=person.user_id) if person.user_id else None
            if owner:
                result.add(owner.slack)
    return result


async def update_approval_messages(deps: Deps, run_id: str, step_id: str) -> dict[str, Any] | None:
    """Send or update the card and the direct messages of an approval; None if there is no channel for them yet."""
    async with deps.message_lock(f"{run_id}/{step_id}/approval"):
        pending = await load_pending(deps, run_id, step_id)
        target = await run_destination(deps, pending.run) if pending else None
        if pending is None or target is None:
            return None
        sent: dict[str, Any]
        sent, _ = await asyncio.gather(_update_card(deps, pending, target), _update_direct_messages(deps, pending))
    return sent


async def load_pending(deps: Deps, run_id: str, step_id: str) -> PendingApproval | None:
    """Return an approval with all that its messages show; None if the step needs none."""
    run = await deps.store.runs.get(run_id)
    approval = await deps.store.runs.approval(run_id, step_id)
    if approval is None:
        return None
    incident = await deps.store.incidents.get(run.incident_id) if run.incident_id else None
    step = run.step(step_id)
    is_question = ACTIONS.get(step.uses).waits_for is WaitsFor.ANSWER
    people = approvers(deps, run, approval, may_ask_too=is_question)
    offered = await break_glass_offered(deps, run, approval, deps.clock.now())
    return PendingApproval(run, step, approval, incident, people, step_place(deps, run, step), offered)


async def _update_card(deps: Deps, pending: PendingApproval, place: Place) -> dict[str, Any]:
    key = f"{pending.run.id}/{pending.step.id}/approval"
    number = await _call_number(deps, pending, key)
    view = pending.view(again=number > 1)
    sent = await upsert_message(deps, _numbered(key, number), place, approval_card(view, deps.words))
    for earlier in range(1, number):
        await delete_message(deps, _numbered(key, earlier), approval_card(view, deps.words, buttons=False))
    diff = whole_diff(pending.step)
    if diff and not view.is_question:
        name, title = f"{pending.run.id}-{pending.step.id}.diff", f"{pending.run.id} · {pending.step.id}"
        comment = deps.words.render_block("approval", "whole_diff")
        thread = await below(deps, place, sent)
        file_key = f"{pending.run.id}/{pending.step.id}/diff"
        await upload_once(deps, file_key, thread, [(name, title, diff)], comment)
    return sent


async def _call_number(deps: Deps, pending: PendingApproval, key: str) -> int:
    """Return which call this is: two in each round. Once the second is sent it stays the card, whatever is decided."""
    rounds = 1 if is_undo(pending.step.id) else int(pending.step.facts.get(APPROVAL_ROUNDS, 1))
    first = 2 * rounds - 1
    waiting = pending.approval.state is ApprovalState.WAITING
    if waiting and deps.clock.now() >= pending.approval.second_call_at:
        return first + 1
    second = await deps.store.slack_messages.get(_numbered(key, first + 1))
    return first + 1 if second else first


def _numbered(key: str, number: int) -> str:
    return key if number == 1 else f"{key}/{number}"


async def _update_direct_messages(deps: Deps, pending: PendingApproval) -> None:
    """Send a direct message to everybody who can decide, and shorten those that are not needed any more."""
    prefix = f"{pending.run.id}/{pending.step.id}/approval/"
    sent = await deps.store.slack_messages.with_prefix(prefix)
    wanted = set()
    if pending.approval.state is ApprovalState.WAITING:
        number = await _call_number(deps, pending, prefix.rstrip("/"))
        wanted = {f"{prefix}{person}/{number}" for person in pending.people[:MAX_DIRECT_MESSAGES]}
    direct = {key for key in sent if key.count("/") == 4}
    await asyncio.gather(*(_direct(deps, pending, key, wanted=key in wanted) for key in {*wanted, *direct}))


async def _direct(deps: Deps, pending: PendingApproval, key: str, *, wanted: bool) -> None:
    user, number = key.split("/")[-2:]
    person: Person = await deps.slack.person(user, user, deps.locale)
    view = pending.view(again=int(number) > 1)
    message = direct_message(view, deps.words_for(person.locale), user, waiting=wanted)
    try:
        await upsert_message(deps, key, Place(user, moves=False), message)
    except Refused as problem:  # the card mentions them too
        log.warning("no direct message to %s: %s", user, problem)


async def update_refusal_message(
    deps: Deps, run_id: str, step_id: str, goes_on_at: datetime | None = None
) -> dict[str, Any] | None:
    """Post or update the message that asks what is to follow a refused approval; None without a channel.

    It is a new message, as an edit of the card would notify nobody.
    """
    async with deps.message_lock(f"{run_id}/{step_id}/refusal"):
        pending = await load_pending(deps, run_id, step_id)
        target = await run_destination(deps, pending.run) if pending else None
        if pending is None or target is None:
            return None
        continued = await _continuation(deps, pending)
        message = refusal(pending.view(), deps.words, goes_on_at=goes_on_at, continued=continued)
        number = int(pending.step.facts.get(APPROVAL_ROUNDS, 1))
        key = _numbered(f"{run_id}/{step_id}/refusal", number)
        return await upsert_message(deps, key, target, message)


async def _continuation(deps: Deps, pending: PendingApproval) -> Run | None:
    """Return the run that continues this one, at this step or after it."""
    for step_id in filter(None, (pending.step.id, pending.run.after(pending.step.id))):
        try:
            return await deps.store.runs.get(run_id(continued_key(pending.run.id, step_id)))
        except NotFound:
            continue
    return None
