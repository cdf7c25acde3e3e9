"""Messages about an approval or a question: the card, the direct message, the refusal, the sheet with the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slack_sdk.models.blocks import Block, ButtonElement, PlainTextObject
from slack_sdk.models.blocks.basic_components import ConfirmObject
from slack_sdk.models.views import View

from bot.domain.incident import Incident
from bot.domain.run import Approval, ApprovalState, Run, RunState, StepRun, base_step_id, is_undo
from bot.domain.runbook import Approval as ApprovalSpec
from bot.domain.runbook import Runbook, Step
from bot.messages.confirm import confirm
from bot.messages.message import Message, actions, button, context, fit, section
from bot.messages.results import gate_sentence, sentence
from bot.messages.run import line
from bot.messages.translations import Translations, escape

DIFF_LIMIT = 1500
MENTIONED = 5


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """What a message about an approval shows.

    `place` is the environment in which the target lies, None for several or none. `people` can decide now; `again`:
    they were called before; `break_glass`: it may be run without approval now.
    """

    run: Run
    step: StepRun
    approval: Approval
    incident: Incident | None
    people: Sequence[str]
    risk: str
    undoable: bool
    place: str | None = None
    break_glass: bool = False
    is_question: bool = False
    again: bool = False

    @property
    def spec(self) -> Step:
        return next(s for s in Runbook.model_validate(self.run.definition).steps if s.id == base_step_id(self.step.id))

    def title(self, words: Translations) -> str:
        title = _title(self.spec, words, self.run)
        return words.label("undo_of", title=title) if is_undo(self.step.id) else title


def approval_card(view: ApprovalView, words: Translations, *, buttons: bool = True) -> Message:
    """Show what would be changed, who can decide, since when it waits, until when, and what happens then."""
    rendered = _render(view, words)
    if view.approval.state is not ApprovalState.WAITING or not buttons:
        return Message.of(fit(rendered["ended"], 3000))
    return Message(fit(rendered["text"], 3000), [section(rendered["who"]), *_body(view, words, rendered)])


def direct_message(view: ApprovalView, words: Translations, user: str, *, waiting: bool) -> Message:
    """Ask a person for the approval; one line once they need not decide any more."""
    rendered = _render(view, words, user=user)
    if not waiting:
        return Message.of(rendered["direct_ended"])
    return Message(fit(rendered["text"], 3000), [section(rendered["direct"]), *_body(view, words, rendered)])


def refusal(view: ApprovalView, words: Translations, *, goes_on_at: datetime | None, continued: Run | None) -> Message:
    """Ask what is to follow an approval that expired or was rejected; one line once it is decided."""
    run, step = view.run, view.step
    next_step = _next_step(view)
    rendered = words.render(
        "refusal",
        **_facts(view, words),
        next_title=_title(next_step, words, run) if next_step else None,
        goes_on_at=goes_on_at,
        continued=continued,
        who_decided=next((d for d in view.approval.decisions if d.verdict is ApprovalState.SKIPPED), None),
    )
    if continued or not view.approval.state.refused or run.state in (RunState.SUCCEEDED, RunState.UNDONE):
        return Message.of(rendered["ended"])
    value = f"{run.id}|{step.id}"
    buttons: list[ButtonElement] = []
    if next_step:
        buttons.append(button(words.label("buttons.go_on_without"), "go_on_without", value, style="primary"))
    buttons.append(button(words.label("buttons.ask_again"), "ask_again", value, style=None if next_step else "primary"))
    if not run.state.ended:
        stop = confirm(words, "cancel_run", danger=True)
        buttons.append(button(words.label("buttons.stop_here"), "cancel_run", run.id, style="danger", confirm=stop))
    return Message(fit(rendered["text"], 3000), [section(rendered["what"]), *actions(buttons)])


def change_sheet(view: ApprovalView, words: Translations) -> View:
    """Show the whole change in a modal, as somebody sees it who decides in the App Home."""
    rendered = _render(view, words)
    blocks: list[Block] = [section(rendered["change"]), *_diff_blocks(view.step, 2900)]
    blocks += [section(text) for text in (rendered["why"],) if text]
    blocks.append(context(rendered["until"]))
    return View(
        type="modal",
        title=PlainTextObject(text=fit(words.label("forms.change.title"), 24)),
        close=PlainTextObject(text=words.label("buttons.back")),
        blocks=blocks,
    )


def home_blocks(view: ApprovalView, words: Translations) -> list[Block]:
    """Show an approval in the App Home, with its buttons."""
    rendered = _render(view, words)
    return [section(rendered["home"]), *_buttons(view, words, with_change=True)]


def whole_diff(step: StepRun) -> bytes | None:
    """Return the diff of all effects as a file if the card shows only part of it."""
    diff = _diff(step)
    return diff.encode() if len(diff) > DIFF_LIMIT else None


def _body(view: ApprovalView, words: Translations, rendered: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = [section(rendered["change"]), *_diff_blocks(view.step, DIFF_LIMIT)]
    blocks += [section(rendered[part]) for part in ("why", "decisions") if rendered[part]]
    blocks.append(context(rendered["until"], rendered["about"]))
    return [*blocks, *_buttons(view, words)]


def _buttons(view: ApprovalView, words: Translations, *, with_change: bool = False) -> list[Block]:
    run, step = view.run, view.step
    value = f"{run.id}|{step.id}|{view.approval.digest}"
    if view.is_question:
        first = button(words.label("buttons.answer"), "answer", value, style="primary")
    else:
        first = button(
            words.label("buttons.approve"), "approve", value, style="primary", confirm=_confirm_approval(view, words)
        )
    buttons = [first, button(words.label("buttons.reject"), "reject", value, style="danger")]
    if step.in_git:
        buttons.append(button(words.label("buttons.propose_change"), "propose_change", value))
    if with_change:
        buttons.append(button(words.label("buttons.show_change"), "show_change", value))
    elif view.break_glass:
        buttons.append(button(words.label("buttons.break_glass"), "break_glass", value))
    return actions(buttons, block_id=f"{run.id}|{step.id}|{view.approval.state}"[:255])


def _confirm_approval(view: ApprovalView, words: Translations) -> ConfirmObject:
    effects = "; ".join(line(effect, words) for effect in view.step.effects) or view.title(words)
    return confirm(words, "approve", place=view.place, effects=effects)


def _render(view: ApprovalView, words: Translations, user: str | None = None) -> Mapping[str, str]:
    next_step = _next_step(view)
    return words.render(
        "question" if view.is_question else "approval",
        **_facts(view, words),
        user=user,
        next_title=_title(next_step, words, view.run) if next_step else None,
    )


def _facts(view: ApprovalView, words: Translations) -> dict[str, Any]:
    spec, shown = view.spec, view.people[:MENTIONED]
    tried = [step for step in view.run.steps if step.verdict is not None]
    specs = {step.id: step for step in Runbook.model_validate(view.run.definition).steps}
    return {
        "run": view.run,
        "by": view.run.asked_by(view.step.id),
        "step": view.step,
        "asked": view.approval,
        "incident": view.incident,
        "title": words.pick(Runbook.model_validate(view.run.definition).title),
        "step_title": view.title(words),
        "effects": [line(effect, words) for effect in view.step.effects],
        "people": shown,
        "more": len(view.people) - len(shown),
        "again": view.again,
        "place": view.place,
        "risk": view.risk,
        "undoable": view.undoable,
        "doubts": _doubts(view, words),
        "tried": tried[-1] if tried else None,
        "tried_title": _title(specs[tried[-1].id], words, view.run) if tried else None,
        "approved_by": [d for d in view.approval.decisions if d.verdict is ApprovalState.APPROVED],
        "on_expiry": (spec.approval or ApprovalSpec()).on_expiry,
    }


def _doubts(view: ApprovalView, words: Translations) -> list[str]:
    """Return what speaks against the version that the run or its step brings."""
    of_run = [sentence(step, words) for step in view.run.steps if (step.result or {}).get("doubts")]
    of_step = gate_sentence(view.step.rehearsed or {}, words)
    return [*of_run, of_step] if of_step else of_run


def _title(step: Step, words: Translations, run: Run) -> str:
    if step.title:
        return words.pick(step.title)
    return step.uses if step.id != "it" else words.pick(Runbook.model_validate(run.definition).title)


def _next_step(view: ApprovalView) -> Step | None:
    """Return the step that follows if this one is left out; its own condition may still skip it."""
    if is_undo(view.step.id):
        return None
    steps = Runbook.model_validate(view.run.definition).steps
    ids = [step.id for step in steps]
    return next(iter(steps[ids.index(view.step.id) + 1 :]), None)


def _diff_blocks(step: StepRun, limit: int) -> list[Block]:
    diff = _diff(step)
    return [section(f"```{escape(fit(diff, limit)).replace('```', '’’’')}```")] if diff else []


def _diff(step: StepRun) -> str:
    return "\n".join(effect.diff for effect in step.effects if effect.diff)
