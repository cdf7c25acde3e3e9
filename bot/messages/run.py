"""Messages about a run, its approvals and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jinja2 import TemplateNotFound
from slack_sdk.models.blocks import Block

from bot.domain.errors import BotError
from bot.domain.people import Person
from bot.domain.run import (
    FOLLOW_UP,
    LEFT,
    OUTCOME,
    RETRYING,
    REVERTED,
    STOPPING,
    UNCHANGED,
    UNDO,
    ChangeOutcome,
    Effect,
    Run,
    RunState,
    StepRun,
    StepState,
    on_failure_key,
    run_id,
)
from bot.domain.runbook import Runbook
from bot.messages.amounts import amount
from bot.messages.confirm import confirm
from bot.messages.message import Message, actions, button, context, fit, section
from bot.messages.results import lines as result_lines
from bot.messages.results import sentence
from bot.messages.translations import Translations, escape
from bot.messages.why import cause_text

WHY_LIMIT = 1500
_SIGNS = {
    StepState.PENDING: "▫️",
    StepState.SKIPPED: "⏭️",
    StepState.REHEARSED: "🔎",
    StepState.WAITING: "✋",
    StepState.PERFORMING: "⏳",
    StepState.VERIFYING: "📈",
    StepState.DONE: "✅",
    StepState.FAILED: "❌",
    StepState.UNDONE: "↩️",
    StepState.CANCELLED: "🚫",
}


_NOT_PLANNABLE = "❔"


def progress(run: Run, words: Translations) -> Message:
    """Show a run: one line per step, and buttons for what can be done now."""
    if run.forgotten:
        return Message.of(words.render_block("run", "forgotten", run=run))
    runbook = Runbook.model_validate(run.definition)
    rendered = words.render("run", run=run, title=words.pick(runbook.title))
    blocks: list[Block] = [section(rendered["title"])]
    if first := _first(run, runbook, words):
        blocks.append(section(first))
    texts = _few_lines(run, runbook, words)
    for start in range(0, len(texts), 8):
        blocks.append(section("\n".join(texts[start : start + 8])))
    if run.state is RunState.FAILED and isinstance(runbook.on_failure, Runbook) and not run.dry_run:
        fallback_title = words.pick(runbook.on_failure.title)
        follow_ups = [step.facts[FOLLOW_UP] for step in run.steps if FOLLOW_UP in step.facts]
        refused = next((follow_up for follow_up in follow_ups if follow_up), None)
        if refused:
            why = _why(refused["error"], refused["facts"], words)
            text = words.render_block("run", "does_not_go_on", title=fallback_title, why=why)
        else:
            text = words.render_block("run", "goes_on_with", title=fallback_title, run=run_id(on_failure_key(run.id)))
        blocks.append(section(text))
    blocks.append(context(rendered["about"]))
    buttons = []
    if run.state is RunState.RUNNING:
        stop = confirm(words, "cancel_run", danger=True)
        buttons.append(button(words.label("buttons.cancel_run"), "cancel_run", run.id, style="danger", confirm=stop))
    if run.can_continue:
        buttons.append(button(words.label("buttons.continue_run"), "continue_run", run.id))
    if step := next((step for step in run.steps if step.in_git), None):
        value = f"{run.id}|{step.id}|{step.digest}"
        buttons.append(button(words.label("buttons.propose_change"), "propose_change", value))
    if changes := _undoable(run, runbook):
        effects = "; ".join(line(effect, words) for step in reversed(changes) for effect in step.effects)
        undo = confirm(words, "undo_run", count=len(changes), effects=effects)
        buttons.append(button(words.label("buttons.undo_run"), "undo_run", run.id, confirm=undo))
    return Message(fit(rendered["text"], 3000), [*blocks, *actions(buttons)])


def _first(run: Run, runbook: Runbook, words: Translations) -> str:
    """Return which of the steps in any order goes first, and why; empty if none was put first."""
    for step_spec, step in zip(runbook.steps, run.steps, strict=True):
        if treats := step.treats:
            title = words.pick(step_spec.title) if step_spec.title else step.uses
            cause = cause_text(treats.suspect, words)
            return words.render_block("run", "first", title=title, cause=cause, treats=treats)
    return ""


def _undoable(run: Run, runbook: Runbook) -> list[StepRun]:
    """Return the steps that undoing the ended run would take back."""
    if run.dry_run or run.state not in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED):
        return []
    pairs = zip(runbook.steps, run.steps, strict=True)
    return [step for step_spec, step in pairs if step.may_have_changed and not step_spec.keep]


def lines(run: Run, words: Translations) -> list[str]:
    """Return one line per step: its state, what it would change or has changed, and the verdict."""
    runbook = Runbook.model_validate(run.definition)
    texts = []
    depends = False  # on changes of earlier steps, which a dry run does not make
    for step_spec, step in zip(runbook.steps, run.steps, strict=True):
        not_plannable = depends and step.state is StepState.FAILED
        texts.append(
            words.render_block(
                "run",
                "step",
                sign=_NOT_PLANNABLE if not_plannable else _SIGNS[step.state],
                title=words.pick(step_spec.title) if step_spec.title else step.uses,
                step=step,
                told=_step_text(step, words, not_plannable=not_plannable),
                keeps=step_spec.keep and step.may_have_changed,
            )
        )
        depends |= run.dry_run and bool(step.effects)
    return texts


def _few_lines(run: Run, runbook: Runbook, words: Translations) -> list[str]:
    """Return the lines of the message. Steps that looked one after the other share one, as what they saw is in the
    thread; those that a run that succeeded did not need have none. A dry run tells of each step.
    """
    all_lines = lines(run, words)
    if run.dry_run:
        return all_lines
    texts: list[str] = []
    looked: list[tuple[str, str]] = []

    def say_looked() -> None:
        if len(looked) > 1:
            titles = [title for title, _ in looked]
            texts.append(words.render_block("run", "looked", sign=_SIGNS[StepState.DONE], titles=titles))
        else:
            texts.extend(text for _, text in looked)
        looked.clear()

    for step_spec, step, text in zip(runbook.steps, run.steps, all_lines, strict=True):
        if step.state is StepState.SKIPPED and run.state is RunState.SUCCEEDED:
            continue
        if step.state is StepState.DONE and not step.effects and step.verdict is None and result_lines(step, words):
            looked.append((words.pick(step_spec.title) if step_spec.title else step.uses, text))
            continue
        say_looked()
        texts.append(text)
    say_looked()
    return texts


def line(effect: Effect, words: Translations) -> str:
    """Return one effect in words: `replicas 3 → 10`."""
    try:
        return words.render_block("effects", effect.key.replace(".", "_"), **effect.facts)
    except (KeyError, TemplateNotFound):
        facts = ", ".join(f"{name}={value}" for name, value in effect.facts.items())
        return escape(f"{effect.key} ({facts})")


def runs(run_list: Sequence[Run], words: Translations) -> Message:
    """List runs."""
    if not run_list:
        return Message.of(words.render_block("run", "none"))
    lines = [words.render_block("run", "line", run=run) for run in run_list[:40]]
    return Message(lines[0], [section("\n".join(lines))])


def _step_text(step: StepRun, words: Translations, *, not_plannable: bool) -> str:
    """What it would do or has done, what came of it, and what it waits for."""
    facts = step.facts
    if waits := facts.get("waits_for"):
        until = datetime.fromtimestamp(waits["until"], UTC) if waits["until"] else None
        return words.render_block("run", "busy", **{**waits, "until": until})
    effects = " · ".join(line(effect, words) for effect in step.effects[:3])
    if refused := facts.get("not_undone"):
        why = _why(refused["error"], refused["facts"], words)
        unsure = refused["facts"].get(OUTCOME) == ChangeOutcome.UNKNOWN
        stays = came_of_it(step, effects, words) or (effects if step.state is StepState.DONE else "")
        not_undone = words.render_block("run", "not_undone", why=why, check=effects if unsure else None)
        return " · ".join(filter(None, (stays, not_undone)))
    undoing = facts.get(UNDO)
    if undoing and step.state is not StepState.UNDONE and not undoing.get("began_at"):
        by = Person.from_json(undoing["by"]) if undoing["by"] else None
        return words.render_block("run", "undo_waits", by=by)
    if step.error:
        why = _why(step.error, facts, words)
        failed = words.render_block("run", "unforeseen" if not_plannable else "failed", why=why)
        return f"{failed} {came_of_it(step, effects, words)}".strip()
    if (retrying := facts.get(RETRYING)) and step.state in (StepState.PENDING, StepState.PERFORMING):
        why, until = _why(retrying["error"], retrying["facts"], words), datetime.fromisoformat(retrying["until"])
        return words.render_block("run", "retrying", why=why, until=until)
    if facts.get(STOPPING):
        return f"{effects} · {words.render_block('run', 'stopping')}"
    if facts.get(UNCHANGED):
        return words.render_block("run", "unchanged")
    verdict = words.label(f"verdicts.{step.verdict.value}") if step.verdict else ""
    text = " → ".join(filter(None, (effects, sentence(step, words), f"*{verdict}*" if verdict else "")))
    if undoing and step.state is StepState.UNDONE and undoing["by"]:
        return words.render_block("run", "undone_by", told=text, by=Person.from_json(undoing["by"]))
    if found := facts.get(REVERTED):
        text = f"{text} · {words.render_block('run', 'reverted', owner=found['owner'])}"
    if step.state is StepState.PERFORMING and (sees := facts.get("sees")):
        text = " · ".join(
            filter(
                None,
                (text, words.render_block("run", "sees", pick=words.pick, amount=partial(amount, words=words), **sees)),
            )
        )
    if not facts.get("interrupted"):
        return text
    left = facts["left"]
    lines = None if left is None else [line(Effect.from_json(raw), words) for raw in left]
    return f"{text} · {words.render_block('run', 'interrupted', left=lines)}"


def came_of_it(step: StepRun, effects: str, words: Translations) -> str:
    """Say what came of the change of a step that was stopped; empty if nothing had to be found out."""
    outcome = step.facts.get(OUTCOME)
    if step.state is StepState.UNDONE:
        outcome = StepState.UNDONE.value
    if outcome is None:
        return ""
    left = [line(Effect.from_json(raw), words) for raw in step.facts.get(LEFT) or ()]
    return words.render_block("run", "outcome", outcome=outcome, effects=effects, left=left)


def _why(error: str, facts: Mapping[str, Any], words: Translations) -> str:
    return fit(words.error(BotError(error, **facts)), WHY_LIMIT)
