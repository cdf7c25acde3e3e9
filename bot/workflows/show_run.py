"""A run in Slack: one message that is edited as it goes, and a card for each approval."""

from __future__ import annotations

from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.domain.run import Run, StepRun, WaitsFor
from bot.domain.runbook import Step
from bot.messages.result import result
from bot.messages.run import approval_card, progress, question_card, whole_diff
from bot.parts import Parts
from bot.post import upsert_message
from bot.workflows.follow import destination
from bot.workflows.share import upload_once


def schedule_run_message(parts: Parts, run_id: str) -> None:
    """Draw the run's message, which no step waits for; the end of a run is shown by `show`."""
    parts.message_refresher.schedule(_run_message_key(run_id), partial(_update_run_message, parts, run_id))


async def update_run_message(parts: Parts, run_id: str) -> None:
    """Draw the run's message from what is true now."""
    async with parts.message_lock(_run_message_key(run_id)):
        await _update_run_message(parts, run_id)


async def _update_run_message(parts: Parts, run_id: str) -> None:
    run = await parts.store.runs.get(run_id)
    if target := await _run_destination(parts, run):
        channel, thread = target
        await upsert_message(parts, _run_message_key(run_id), channel, progress(run, parts.words), thread=thread)


async def update_approval_card(parts: Parts, run_id: str, step_id: str) -> dict[str, Any] | None:
    """Draw what waits for people: what exactly would be done or is asked, by whom, who has said what, until when."""
    async with parts.message_lock(f"{run_id}/{step_id}/approval"):
        run = await parts.store.runs.get(run_id)
        approval = await parts.store.runs.approval(run_id, step_id)
        target = await _run_destination(parts, run)
        if target is None or approval is None:
            return None
        channel, thread = target
        step_run = run.step(step_id)
        answers = ACTIONS.get(step_run.uses).waits_for is WaitsFor.ANSWER
        card = (question_card if answers else approval_card)(run, step_run, approval, parts.words)
        posted = await upsert_message(parts, f"{run_id}/{step_id}/approval", channel, card, thread=thread)
    diff = whole_diff(step_run)
    if diff and not answers:
        name, title = f"{run_id}-{step_id}.diff", f"{run_id} · {step_id}"
        comment, below = parts.words.render_block("approval", "whole_diff"), thread or posted["ts"]
        await upload_once(
            parts, f"{run_id}/{step_id}/diff", posted["channel"], [(name, title, diff)], comment, thread=below
        )
    return posted


async def post_result(parts: Parts, run: Run, step: Step, step_run: StepRun) -> None:
    """Put what a reading step has found below the run's message, long output as a file."""
    title = parts.words.pick(step.title) if step.title else step.uses
    posted = result(step_run, title, parts.words)
    if posted is None:
        return
    run_id, step_id = run.id, step.id
    message, file = posted
    progress_post = await parts.store.slack_messages.get(_run_message_key(run_id))
    if progress_post is None or progress_post.ts is None:
        await update_run_message(parts, run_id)
        progress_post = await parts.store.slack_messages.get(_run_message_key(run_id))
    if progress_post is None or progress_post.ts is None:
        return
    _, thread = await _run_destination(parts, run) or (None, None)
    key, channel, thread = f"{run_id}/{step_id}/result", progress_post.channel, thread or progress_post.ts
    if file is None:
        await upsert_message(parts, key, channel, message, thread=thread)
    else:
        name = f"{run_id}-{step_id}.txt"
        await upload_once(parts, key, channel, [(name, title, file)], message.text, thread=thread)


def _run_message_key(run_id: str) -> str:
    return f"{run_id}/progress"


async def _run_destination(parts: Parts, run: Run) -> tuple[str, str | None] | None:
    """Where the run is told, as a channel and a thread in it: where it was asked for, or where its incident is told."""
    if run.channel is None and run.incident_id:
        return await destination(parts, await parts.store.incidents.get(run.incident_id))
    return (run.channel, None) if run.channel else None
