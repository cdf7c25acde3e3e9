"""The catch-up: one private message with what somebody who comes late needs; lines without content are left out."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from slack_sdk.models.blocks import Block

from bot.domain.catchup import CatchUp
from bot.domain.incident import Incident, Milestone
from bot.domain.run import Run, StepRun
from bot.domain.runbook import Approval, Runbook
from bot.messages.incident import out_of_bounds_text
from bot.messages.message import Message, actions, button, context, section
from bot.messages.run import line
from bot.messages.translations import Mrkdwn, Translations

TRIED = 6
DRAFTED = 2  # of what was tried, in the draft of an update


def catch_up(so_far: CatchUp, words: Translations) -> Message:
    """Return what, since when, who, what was tried and whether it helped, what waits, and what is next."""
    tried = [_tried(one.step, words) for one in so_far.tried[-TRIED:]]
    waiting = [
        {
            "title": _title(one.run, one.step, words),
            "until": one.approval.expires_at,
            "role": one.approval.role,
            "next": _next(one.run, one.step, words),
            "on_expiry": _on_expiry(one.run, one.step),
        }
        for one in so_far.waiting
    ]
    rendered = words.render(
        "catchup",
        incident=so_far.incident,
        since=so_far.incident.milestones.get(Milestone.DETECTED),
        firing=so_far.firing,
        out=[Mrkdwn(out_of_bounds_text(metric, words)) for metric in so_far.out or ()],
        measured=so_far.out is not None,
        roles=sorted(so_far.incident.roles.items()),
        tried=[Mrkdwn(text) for text in tried],
        more=len(so_far.tried) - len(tried),
        waiting=waiting,
        running=[words.pick(Runbook.model_validate(run.definition).title) for run in so_far.running],
        update=so_far.update,
    )
    lines = [
        rendered[part] for part in ("title", "what", "who", "now", "tried", "running", "waiting", "next", "update")
    ]
    blocks: list[Block] = [section("\n".join(filter(None, lines))), context(rendered["more"])]
    return Message(rendered["title"], blocks)


def progress(so_far: CatchUp, words: Translations) -> str:
    """Return a draft of an update, as plain text: what was tried and whether it helped, what waits, and how it is."""
    said = [
        words.label("progress.tried", title=_title(one.run, one.step, words), verdict=_verdict(one.step, words))
        for one in so_far.tried[-DRAFTED:]
    ]
    if not said:
        said.append(words.label("progress.looking"))
    said += [words.label("progress.waiting", title=_title(one.run, one.step, words)) for one in so_far.waiting]
    if so_far.out:
        out = ", ".join(html.unescape(out_of_bounds_text(metric, words)) for metric in so_far.out)
        said.append(words.label("progress.out", out=out))
    elif so_far.out is not None:
        said.append(words.label("progress.calm"))
    return " ".join(said)


def handover(incident: Incident, so_far: CatchUp | None, words: Translations, facts: Mapping[str, Any]) -> Message:
    """Say that the on-call person changes, with what has happened `so_far` for who comes."""
    text = words.render_block("catchup", "handover", **facts)
    blocks: list[Block] = [section(text), *(catch_up(so_far, words).blocks if so_far else ())]
    blocks += actions([button(words.label("buttons.take_over"), "take_command", incident.id, style="primary")])
    return Message(text, blocks)


def _tried(step: StepRun, words: Translations) -> str:
    effects = ", ".join(line(effect, words) for effect in step.effects[:3])
    return f"{effects} ({_verdict(step, words)})"


def _verdict(step: StepRun, words: Translations) -> str:
    return words.label(f"verdicts.{step.verdict.value}" if step.verdict else "verdicts.unknown")


def _title(run: Run, step: StepRun, words: Translations) -> str:
    spec = next(spec for spec in Runbook.model_validate(run.definition).steps if spec.id == step.id)
    return words.pick(spec.title) or step.uses


def _next(run: Run, step: StepRun, words: Translations) -> str | None:
    following = run.after(step.id)
    return _title(run, run.step(following), words) if following else None


def _on_expiry(run: Run, step: StepRun) -> str:
    spec = next(spec for spec in Runbook.model_validate(run.definition).steps if spec.id == step.id)
    return (spec.approval or Approval()).on_expiry
