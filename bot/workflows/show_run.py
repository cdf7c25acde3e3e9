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
from bot.post import post
from bot.workflows.follow import place
from bot.workflows.share import share


def show_soon(parts: Parts, run_id: str) -> None:
    """Draw the run's message, which no step waits for; the end of a run is shown by `show`."""
    parts.drawings.soon(_progress(run_id), partial(_draw, parts, run_id))


async def show(parts: Parts, run_id: str) -> None:
    """Draw the run's message from what is true now."""
    async with parts.drawing(_progress(run_id)):
        await _draw(parts, run_id)


async def _draw(parts: Parts, run_id: str) -> None:
    known = await parts.store.runs.get(run_id)
    if where := await _place(parts, known):
        channel, thread = where
        await post(parts, _progress(run_id), channel, progress(known, parts.words), thread=thread)


async def show_approval(parts: Parts, run_id: str, step_id: str) -> dict[str, Any] | None:
    """Draw what waits for people: what exactly would be done or is asked, by whom, who has said what, until when."""
    async with parts.drawing(f"{run_id}/{step_id}/approval"):
        known = await parts.store.runs.get(run_id)
        asked = await parts.store.runs.approval(run_id, step_id)
        where = await _place(parts, known)
        if where is None or asked is None:
            return None
        channel, thread = where
        stored = known.step(step_id)
        answers = ACTIONS.get(stored.uses).waits_for is WaitsFor.ANSWER
        card = (question_card if answers else approval_card)(known, stored, asked, parts.words)
        posted = await post(parts, f"{run_id}/{step_id}/approval", channel, card, thread=thread)
    diff = whole_diff(stored)
    if diff and not answers:
        name, title = f"{run_id}-{step_id}.diff", f"{run_id} · {step_id}"
        comment, below = parts.words.part("approval", "whole_diff"), thread or posted["ts"]
        await share(parts, f"{run_id}/{step_id}/diff", posted["channel"], [(name, title, diff)], comment, thread=below)
    return posted


async def show_result(parts: Parts, known: Run, each: Step, stored: StepRun) -> None:
    """Put what a reading step has found below the run's message, long output as a file."""
    title = parts.words.of(each.title) if each.title else each.uses
    found = result(stored, title, parts.words)
    if found is None:
        return
    run_id, step_id = known.id, each.id
    message, file = found
    progress_post = await parts.store.posts.get(_progress(run_id))
    if progress_post is None or progress_post.ts is None:
        await show(parts, run_id)
        progress_post = await parts.store.posts.get(_progress(run_id))
    if progress_post is None or progress_post.ts is None:
        return
    _, thread = await _place(parts, known) or (None, None)
    key, channel, thread = f"{run_id}/{step_id}/result", progress_post.channel, thread or progress_post.ts
    if file is None:
        await post(parts, key, channel, message, thread=thread)
    else:
        name = f"{run_id}-{step_id}.txt"
        await share(parts, key, channel, [(name, title, file)], message.text, thread=thread)


def _progress(run_id: str) -> str:
    return f"{run_id}/progress"


async def _place(parts: Parts, known: Run) -> tuple[str, str | None] | None:
    """Where the run is told, as a channel and a thread in it: where it was asked for, or where its incident is told."""
    if known.channel is None and known.incident_id:
        return await place(parts, await parts.store.incidents.get(known.incident_id))
    return (known.channel, None) if known.channel else None
