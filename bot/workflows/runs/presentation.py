"""A run in Slack (one message, edited in place, and a card per approval) and on the timeline."""

from __future__ import annotations

from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.people import BOT, Person
from bot.domain.run import (
    DECIDED_FROM,
    LEFT,
    OUTCOME,
    REVERTED,
    TREATS,
    Approval,
    ApprovalState,
    Effect,
    Run,
    RunState,
    StepRun,
    is_undo,
)
from bot.domain.runbook import Step
from bot.domain.timeline import TERMINAL, Kind
from bot.messages import results
from bot.messages.message import Message
from bot.messages.run import line, progress
from bot.slack_messages import Place, below, upload_once, upsert_message
from bot.store.incidents import TimelineEntry
from bot.workflows.engine.durable import durable_step
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT, destination_so_far

Facts = dict[str, Any]
TELL = "tell_run"  # the workflow `tell_run`
TELL_TIMEOUT = MESSAGE_TIMEOUT


def schedule_run_message(deps: Deps, run_id: str) -> None:
    """Update the run's message in the background; `update_run_message` shows its end."""
    deps.message_refresher.schedule(_run_message_key(run_id), partial(_update_run_message, deps, run_id))


async def update_run_message(deps: Deps, run_id: str) -> None:
    """Update the run's message to its current state."""
    async with deps.message_lock(_run_message_key(run_id)):
        await _update_run_message(deps, run_id)


async def _update_run_message(deps: Deps, run_id: str) -> None:
    run = await deps.store.runs.get(run_id)
    if place := await run_destination(deps, run):
        await upsert_message(deps, _run_message_key(run_id), place, progress(run, deps.words))


async def post_result(deps: Deps, run: Run, step: Step, step_run: StepRun) -> None:
    """Post a reading step's result below the run's message, long output as a file."""
    title = deps.words.pick(step.title) if step.title else step.uses
    result = results.message(step_run, title, deps.words)
    if result is None:
        return
    run_id, step_id = run.id, step.id
    message, file = result
    run_message = await deps.store.slack_messages.get(_run_message_key(run_id))
    if run_message is None or run_message.ts is None:
        await update_run_message(deps, run_id)
        run_message = await deps.store.slack_messages.get(_run_message_key(run_id))
    if run_message is None or run_message.ts is None:
        return
    place = await run_destination(deps, run)
    if place is None:
        return
    key = f"{run_id}/{step_id}/result"
    thread = await below(deps, place, {"channel": run_message.channel, "ts": run_message.ts})
    if file is None:
        await upsert_message(deps, key, thread, message)
    else:
        name = f"{run_id}-{step_id}.txt"
        await upload_once(deps, key, thread, [(name, title, file)], message.text)


async def tell_run(deps: Deps, run_id: str, key: str, part: str, facts: Facts) -> None:
    """Post the block `part` of the announcements once where the run is shown; `by` in `facts` is a Person as JSON."""
    await durable_step(f"tell {part}", partial(_tell, deps, run_id, key, part, facts), TELL_TIMEOUT)


async def _tell(deps: Deps, run_id: str, key: str, part: str, facts: Facts) -> None:
    run = await deps.store.runs.get(run_id)
    place = await run_destination(deps, run) or Place(deps.incident_channel, incident_id=run.incident_id)
    shown = {**facts, "run": run, "by": Person.from_json(facts["by"])}
    if found := run.step(facts["step"]).facts.get(REVERTED) if "step" in facts else None:
        shown |= {
            "owner": found["owner"],
            "effects": [line(Effect.from_json(raw), deps.words) for raw in found["effects"]],
        }
    message = Message.of(deps.words.render_block("everybody", part, **shown))
    await upsert_message(deps, f"{run_id}/{key}", place, message)


def _run_message_key(run_id: str) -> str:
    return f"{run_id}/progress"


async def run_destination(deps: Deps, run: Run) -> Place | None:
    """Return the place of the run's message: where it was requested, or its incident's."""
    if run.channel is None and run.incident_id:
        return await destination_so_far(deps, await deps.store.incidents.get(run.incident_id))
    requester = run.by.id if run.by.in_slack else None
    return Place(run.channel, incident_id=run.incident_id, person=requester) if run.channel else None


def _entry(deps: Deps, run: Run, what: str, kind: Kind, facts: Facts, by: Person | None = None) -> TimelineEntry | None:
    """Return an event by the requester or `by`; None for a run without an incident."""
    if run.incident_id is None:
        return None
    by = by or run.by
    all_facts = {"run": run.id, "runbook": run.runbook} | facts
    if by.terminal:
        all_facts[TERMINAL] = by.terminal
    return TimelineEntry(run.incident_id, kind, all_facts, by, deps.clock.now(), f"{run.id}/{what}")


def started(deps: Deps, run: Run) -> TimelineEntry | None:
    facts: Facts = {"inputs": dict(run.inputs), "environment": run.environment, "dry_run": run.dry_run}
    if first := next((step for step in run.steps if step.treats), None):
        facts["first"] = {"step": first.id, "action": first.uses, TREATS: first.facts[TREATS]}
    return _entry(deps, run, "start", Kind.RUN_STARTED, facts)


def ended(deps: Deps, run: Run, state: RunState) -> TimelineEntry | None:
    facts = {"state": state.value, "cancelled": run.cancel_by is not None}
    return _entry(deps, run, "end", Kind.RUN_ENDED, facts, run.cancel_by or BOT)


def approved(deps: Deps, run: Run, approval: Approval) -> TimelineEntry | None:
    decisions = approval.decisions
    terminals = dict(run.step(approval.step_id).facts.get(DECIDED_FROM, {}).get(approval.step_id, {}))
    terminals |= {decision.person: decision.terminal for decision in decisions if decision.terminal}
    glass = next((decision for decision in decisions if decision.verdict is ApprovalState.BROKEN_GLASS), None)
    facts = {
        "action": run.step(approval.step_id).uses,
        "digest": approval.digest,
        "people": [decision.person for decision in decisions],
        "glass": glass is not None,
        "reason": glass.reason if glass else None,
        "answer": decisions[-1].reason if decisions and not glass else None,
        "undo": is_undo(approval.step_id),
    }
    if terminals:
        facts["terminals"] = terminals
    last = decisions[-1].person
    owner = deps.team.person(slack=last)
    by = Person(last, owner.name if owner else "", terminal=terminals.get(last, ""))
    what = f"{approval.step_id}/approval"
    if is_undo(approval.step_id):  # a step may be undone again after an undo that nobody approved
        what = f"{what}/{approval.digest}"
    return _entry(deps, run, what, Kind.RUN_APPROVED, facts, by)


def changed(deps: Deps, run: Run, step_run: StepRun, measured: Facts | None) -> TimelineEntry | None:
    """Tell a change: what was done, whether it helped, and the metrics before and after it (`Measuring.told`)."""
    facts = _change_facts(deps, step_run)
    if measured:
        facts["measured"] = measured
    if outcome := step_run.facts.get(OUTCOME):
        facts["outcome"] = outcome
        if left := step_run.facts.get(LEFT):
            facts["left"] = [line(Effect.from_json(raw), deps.words) for raw in left]
    return _entry(deps, run, f"{step_run.id}/change", Kind.RUN_CHANGED, facts)


def undone(deps: Deps, run: Run, step_run: StepRun, by: Person | None) -> TimelineEntry | None:
    """Return the event of an undone step: what is back as it was, by who asked for it or by the bot itself."""
    return _entry(deps, run, f"{step_run.id}/undo", Kind.RUN_UNDONE, _change_facts(deps, step_run), by or BOT)


def reverted(deps: Deps, run: Run, step_run: StepRun) -> TimelineEntry | None:
    """Return the event of a change that something else has put back."""
    found = step_run.facts[REVERTED]
    gone = [line(Effect.from_json(raw), deps.words) for raw in found["effects"]]
    facts = {"action": step_run.uses, "digest": step_run.digest, "owner": found["owner"], "effects": gone}
    return _entry(deps, run, f"{step_run.id}/reverted", Kind.CHANGE_REVERTED, facts, BOT)


def proposed(deps: Deps, run: Run, step_run: StepRun, by: Person, facts: Facts) -> TimelineEntry | None:
    """Return the event of a change that was opened as a pull request (`number`, `url`, `file`)."""
    all_facts = {"action": step_run.uses, "digest": step_run.digest, **facts}
    return _entry(deps, run, f"{step_run.id}/{step_run.digest}/proposed", Kind.CHANGE_PROPOSED, all_facts, by)


def _change_facts(deps: Deps, step_run: StepRun) -> Facts:
    return {
        "action": step_run.uses,
        "digest": step_run.digest,
        "began": step_run.began_at.isoformat() if step_run.began_at else None,
        "effects": [line(effect.done, deps.words) for effect in step_run.effects],
        "owners": [owner for effect in step_run.effects for owner in effect.facts.get("owners") or ()],
        "verdict": step_run.verdict.value if step_run.verdict else None,
    }
