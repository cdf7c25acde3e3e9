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
    known = await parts.store.runs.get(run_id)
    if where := await _run_destination(parts, known):
        channel, thread = where
        await upsert_message(parts, _run_message_key(run_id), channel, progress(known, parts.words), thread=thread)


async def update_approval_card(parts: Parts, run_id: str, step_id: str) -> dict[str, Any] | None:
    """Draw what waits for people: what exactly would be done or is asked, by whom, who has said what, until when."""
    async with parts.message_lock(f"{run_id}/{step_id}/approval"):
        known = await parts.store.runs.get(run_id)
        asked = await parts.store.runs.approval(run_id, step_id)
        where = await _run_destination(parts, known)
        if where is None or asked is None:
            return None
        channel, thread = where
        stored = known.step(step_id)
        answers = ACTIONS.get(stored.uses).waits_for is WaitsFor.ANSWER
        card = (question_card if answers else approval_card)(known, stored, asked, parts.words)
        posted = await upsert_message(parts, f"{run_id}/{step_id}/approval", channel, card, thread=thread)
    diff = whole_diff(stored)
    if diff and not answers:
        name, title = f"{run_id}-{step_id}.diff", f"{run_id} · {step_id}"
        comment, below = parts.words.render_block("approval", "whole_diff"), thread or posted["ts"]
        await upload_once(
            parts, f"{run_id}/{step_id}/diff", posted["channel"], [(name, title, diff)], comment, thread=below
        )
    return posted


async def post_result(parts: Parts, known: Run, each: Step, stored: StepRun) -> None:
    """Put what a reading step has found below the run's message, long output as a file."""
    title = parts.words.pick(each.title) if each.title else each.uses
    found = result(stored, title, parts.words)
    if found is None:
        return
    run_id, step_id = known.id, each.id
    message, file = found
    progress_post = await parts.store.slack_messages.get(_run_message_key(run_id))
    if progress_post is None or progress_post.ts is None:
        await update_run_message(parts, run_id)
        progress_post = await parts.store.slack_messages.get(_run_message_key(run_id))
    if progress_post is None or progress_post.ts is None:
        return
    _, thread = await _run_destination(parts, known) or (None, None)
    key, channel, thread = f"{run_id}/{step_id}/result", progress_post.channel, thread or progress_post.ts
    if file is None:
        await upsert_message(parts, key, channel, message, thread=thread)
    else:
        name = f"{run_id}-{step_id}.txt"
        await upload_once(parts, key, channel, [(name, title, file)], message.text, thread=thread)


def _run_message_key(run_id: str) -> str:
    return f"{run_id}/progress"


async def _run_destination(parts: Parts, known: Run) -> tuple[str, str | None] | None:
    """Where the run is told, as a channel and a thread in it: where it was asked for, or where its incident is told."""
    if known.channel is None and known.incident_id:
        return await destination(parts, await parts.store.incidents.get(known.incident_id))
    return (known.channel, None) if known.channel else None
