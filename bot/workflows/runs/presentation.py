"""A run in Slack (one message, edited in place, and a card per approval) and on the timeline."""

from __future__ import annotations

from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.people import Person
from bot.domain.run import LEFT, OUTCOME, Approval, ApprovalState, Effect, Run, RunState, StepRun
from bot.domain.runbook import Step
from bot.domain.timeline import Kind
from bot.messages import results
from bot.messages.run import line, progress
from bot.slack_messages import upload_once, upsert_message
from bot.store.incidents import TimelineEntry
from bot.workflows.incidents.messages import destination

Facts = dict[str, Any]


def schedule_run_message(deps: Deps, run_id: str) -> None:
    """Update the run's message in the background; `update_run_message` shows its end."""
    deps.message_refresher.schedule(_run_message_key(run_id), partial(_update_run_message, deps, run_id))


async def update_run_message(deps: Deps, run_id: str) -> None:
    """Update the run's message to its current state."""
    async with deps.message_lock(_run_message_key(run_id)):
        await _update_run_message(deps, run_id)


async def _update_run_message(deps: Deps, run_id: str) -> None:
    run = await deps.store.runs.get(run_id)
    if target := await run_destination(deps, run):
        channel, thread = target
        await upsert_message(deps, _run_message_key(run_id), channel, progress(run, deps.words), thread=thread)


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
    _, thread = await run_destination(deps, run) or (None, None)
    key, channel, thread = f"{run_id}/{step_id}/result", run_message.channel, thread or run_message.ts
    if file is None:
        await upsert_message(deps, key, channel, message, thread=thread)
    else:
        name = f"{run_id}-{step_id}.txt"
        await upload_once(deps, key, channel, [(name, title, file)], message.text, thread=thread)


def _run_message_key(run_id: str) -> str:
    return f"{run_id}/progress"


async def run_destination(deps: Deps, run: Run) -> tuple[str, str | None] | None:
    """Return the channel (and thread) of the run's message: where it was requested, or its incident's."""
    if run.channel is None and run.incident_id:
        return await destination(deps, await deps.store.incidents.get(run.incident_id))
    return (run.channel, None) if run.channel else None


def _entry(deps: Deps, run: Run, what: str, kind: Kind, facts: Facts, by: Person | None = None) -> TimelineEntry | None:
    """Return an event by the requester or `by`; None for a run without an incident."""
    if run.incident_id is None:
        return None
    all_facts = {"run": run.id, "runbook": run.runbook} | facts
    return TimelineEntry(run.incident_id, kind, all_facts, by or run.by, deps.clock.now(), f"{run.id}/{what}")


def started(deps: Deps, run: Run) -> TimelineEntry | None:
    facts = {"inputs": dict(run.inputs), "environment": run.environment, "dry_run": run.dry_run}
    return _entry(deps, run, "start", Kind.RUN_STARTED, facts)


def ended(deps: Deps, run: Run, state: RunState) -> TimelineEntry | None:
    return _entry(deps, run, "end", Kind.RUN_ENDED, {"state": state.value})


def approved(deps: Deps, run: Run, approval: Approval) -> TimelineEntry | None:
    decisions = approval.decisions
    glass = next((decision for decision in decisions if decision.verdict is ApprovalState.BROKEN_GLASS), None)
    facts = {
        "action": run.step(approval.step_id).uses,
        "digest": approval.digest,
        "people": [decision.person for decision in decisions],
        "glass": glass is not None,
        "reason": glass.reason if glass else None,
        "answer": decisions[-1].reason if decisions and not glass else None,
    }
    return _entry(deps, run, f"{approval.step_id}/approval", Kind.RUN_APPROVED, facts)


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
    return _entry(deps, run, f"{step_run.id}/undo", Kind.RUN_UNDONE, _change_facts(deps, step_run), by)


def _change_facts(deps: Deps, step_run: StepRun) -> Facts:
    return {
        "action": step_run.uses,
        "digest": step_run.digest,
        "effects": [line(effect, deps.words) for effect in step_run.effects],
        "verdict": step_run.verdict.value if step_run.verdict else None,
    }
