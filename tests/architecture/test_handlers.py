"""What a message or a form offers has a handler, and every handler is offered somewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.domain.diagnosis import Diagnosis, Outcome, Suspect
from bot.domain.incident import Declaration, Incident, Severity, Status
from bot.domain.people import Person
from bot.domain.run import Approval, ApprovalState, Effect, Run, RunState, StepRun, StepState
from bot.domain.runbook import Input
from bot.domain.stakeholders import Draft
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages import forms
from bot.messages.approval import ApprovalView, approval_card, home_blocks, refusal
from bot.messages.incident import card, reminder, timeline_message, update_draft
from bot.messages.next_step import next_step
from bot.messages.run import progress
from bot.messages.stakeholders import request
from bot.messages.translations import Translations, load_translations
from bot.messages.why import Why, causes_message, evidence_sheet
from bot.team import load_team
from handlers.slack.buttons import BUTTONS
from handlers.slack.commands import COMMANDS
from handlers.slack.forms import FORMS
from tests.architecture.tree import ROOT

AT = datetime(2026, 1, 1, tzinfo=UTC)


def _incident() -> Incident:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    incident, _ = Incident.declare(
        "INC-2026-0001", Declaration("Slow", Severity.SEV2, by=Person("U1", "Ana"), at=moment)
    )
    return incident


def test_every_button_of_the_card_has_a_handler_and_every_handler_a_button() -> None:
    words = load_translations()["en"]
    alert = dict.fromkeys(("runbook", "link", "dashboard"), "https://example.com")
    shown = {
        element["action_id"]
        for status in Status
        for in_own_channel in (True, False)
        for shown_message in (
            _card(status, words, alert, in_own_channel=in_own_channel),
            reminder(_incident(), "?", words).to_dict(),
            timeline_message(
                TimelineEvent(Kind.STILL_FIRING, AT, Person("U1"), {"firing": 1}), _incident(), words
            ).to_dict(),
        )
        for block in shown_message["blocks"]
        for element in block.get("elements", [])
        if element["type"] == "button"
    }
    others = {
        "open_report",
        "complete_report",
        "run_due",
        "start_drill",
        "start_drill_1",
        "start_drill_2",
        "declare_predicted",
        "snooze_predicted",
        "run_predicted",
    }  # with tests of their own
    assert shown | _shown_by_runs() | _shown_with_causes() | _shown_with_drafts() | others == set(BUTTONS)


def _card(status: Status, words: Translations, alert: dict[str, str], *, in_own_channel: bool) -> dict[str, Any]:
    return card(replace(_incident(), status=status), words, in_own_channel=in_own_channel, alert=alert).to_dict()


def _shown_with_causes() -> set[str]:
    """The buttons of the message about causes, and of the sheet with their evidence."""
    words = load_translations()["en"]
    suspects = [Suspect("bad_version", "web", 0.9)]
    why = Why(Diagnosis(datetime(2026, 1, 1, tzinfo=UTC), "web", Outcome.CLAIM, suspects))
    blocks = [*causes_message(why, words, "INC-2026-0001").blocks, *(evidence_sheet(why, words, "I").blocks or ())]
    return {
        element["action_id"]
        for block in blocks
        for element in block.to_dict().get("elements", [])
        if element["type"] == "button"
    }


def _shown_with_drafts() -> set[str]:
    """The buttons of the drafts of updates and of notices for stakeholders."""
    words, moment, incident = load_translations()["en"], datetime(2026, 1, 1, tzinfo=UTC), _incident()
    drafts = [
        update_draft(incident, "All is well.", "1/1", timedelta(minutes=30), words),
        request(incident, Draft(incident.id, 1, moment, "All is well."), moment, "#updates", words),
    ]
    return {
        element["action_id"]
        for message in drafts
        for block in message.to_dict()["blocks"]
        for element in block.get("elements", [])
        if element["type"] == "button"
    }


def _shown_by_runs() -> set[str]:
    """The buttons of a run's message, of an approval's card and of a question's."""
    words, moment = load_translations()["en"], datetime(2026, 1, 1, tzinfo=UTC)
    book: dict[str, Any] = {"name": "dim", "title": {"en": "Dim"}, "steps": [{"id": "a", "uses": "lamp.dim"}]}
    in_git = Effect("lamp.set", {"owners": [{"kind": "argocd", "name": "lamps", "place": {"file": "lamp.yaml"}}]})
    done = StepRun("a", "lamp.dim", StepState.DONE, effects=(in_git,), began_at=moment)
    step = replace(done, parameters={"question": "?"})
    run = Run("R-1", "dim", book, {}, "production", Person("U1"), moment, steps=(step,))
    asked = Approval("R-1", "a", "d", 1, "responder", moment, moment)
    view = ApprovalView(run, step, asked, _incident(), ["U2"], risk="disruptive", undoable=True)
    expired = replace(view, approval=replace(asked, state=ApprovalState.EXPIRED))
    stopped = replace(run, state=RunState.FAILED, steps=(replace(done, state=StepState.FAILED),))
    more = replace(stopped, definition={**book, "steps": [*book["steps"], {"id": "b", "uses": "lamp.dim"}]})
    offered = next_step(_incident(), None, [{"name": "dim", "en": "Dim"}], words)
    assert offered
    messages = [progress(replace(run, state=state), words) for state in RunState]
    messages.append(progress(stopped, words))
    messages += [approval_card(replace(view, is_question=is_question), words) for is_question in (True, False)]
    messages.append(approval_card(replace(view, break_glass=True), words))
    messages += [refusal(replace(expired, run=more), words, goes_on_at=None, continued=None)]
    blocks = [block for one in [*messages, offered] for block in one.to_dict()["blocks"]]
    blocks += [block.to_dict() for block in home_blocks(view, words)]
    return {each["action_id"] for block in blocks for each in block.get("elements", []) if each["type"] == "button"}


def test_every_form_has_a_handler_and_every_handler_a_form() -> None:
    words, team, incident = load_translations()["en"], load_team(ROOT / "teams/tamv/team.yaml"), _incident()
    views = [
        forms.declare(words, team, severity=Severity.SEV3, service=None),
        forms.update(words, incident.id),
        forms.notice(words, "All is well.", about="INC-2026-0001|1||"),
        forms.report(words, team, incident, about="INC-2026-0001|3"),
        forms.followup(words, team, incident.id, due=date(2026, 1, 15)),
        forms.dismiss(words, incident.id, 1),
        forms.resolve(words, incident.id, 1),
        forms.break_glass(words, "R-1|a|d"),
        forms.answer(words, "R-1|a|d", "How many?", Input(type="integer"), [], None),
    ]
    assert {view.callback_id for view in views} == set(FORMS)


def test_every_example_reads_in_english() -> None:
    """The examples of the code are in Spanish; each that has words has a translation."""
    spanish = re.compile(r"[áéíóúñ¿]|\b(?:el|la|los|no|lento|antes|que|por)\b", re.IGNORECASE)
    words = load_translations()["en"]
    examples = [verb.example for command in COMMANDS.values() for verb in command.verbs.values()]
    examples += [action.signature.example for action in ACTIONS.all()]
    assert not [example for example in examples if spanish.search(words.example(example))]
