"""Forms (Slack's modals)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from slack_sdk.models.blocks import (
    Block,
    DatePickerElement,
    InputBlock,
    NumberInputElement,
    Option,
    PlainTextInputElement,
    PlainTextObject,
    StaticMultiSelectElement,
    StaticSelectElement,
)
from slack_sdk.models.blocks.block_elements import InputInteractiveElement
from slack_sdk.models.views import View

from bot.domain.incident import NOTICE_LIMIT, TEXT_LIMIT, TITLE_LIMIT, Incident, Severity
from bot.domain.runbook import Input
from bot.messages.message import fit, section
from bot.messages.translations import Translations
from bot.team import TeamFile

NO_SERVICE = "-"


def declare(words: Translations, team: TeamFile, *, severity: Severity, service: str | None, title: str = "") -> View:
    """Return the form `declare`: title, severity, service."""
    severities = [
        _option(level.value, f"{level} · {words.pick(policy.title)}")
        for level, policy in sorted(team.severities.items())
    ]
    services = [
        _option(NO_SERVICE, words.label("forms.declare.no_service")),
        *(_option(name, name) for name in team.services),
    ]
    chosen = service if service in team.services else NO_SERVICE
    return _form(
        words,
        "declare",
        [
            _input(words, "declare.name", "title", _text(title, TITLE_LIMIT), hint="declare.name_hint"),
            _input(words, "declare.severity", "severity", _select(severities, team.nearest_severity(severity).value)),
            _input(words, "declare.service", "service", _select(services, chosen)),
        ],
        submit="declare",
    )


def update(words: Translations, incident_id: str, text: str = "") -> View:
    """Return the form `update`: a status update."""
    field = _input(words, "update.text", "text", _text(text, TEXT_LIMIT, multiline=True), hint="update.text_hint")
    return _form(words, "update", [field], submit="send", about=incident_id)


def notice(words: Translations, text: str, *, about: str) -> View:
    """Return the form `notice`: what stakeholders are told."""
    field = _input(words, "notice.text", "text", _text(text, NOTICE_LIMIT, multiline=True), hint="notice.text_hint")
    return _form(words, "notice", [field], submit="publish_notice", about=about)


def report(words: Translations, team: TeamFile, incident: Incident, *, about: str) -> View:
    """Return the form `report` for what only people know, all optional: impact, cause, lessons.

    `about` says of which incident, and of which state of it, the values are that it shows.
    """
    impact, cause = incident.impact, incident.cause
    services = [_option(name, name) for name in team.services]
    number = NumberInputElement(
        action_id="value",
        is_decimal_allowed=False,
        min_value="0",
        initial_value=str(impact.users) if impact.users is not None else None,
    )
    chosen = [option for option in services if option.value in impact.services]
    multi_select = StaticMultiSelectElement(action_id="value", options=services, initial_options=chosen or None)
    return _form(
        words,
        "report",
        [
            _input(words, "report.users", "users", number, optional=True),
            _input(words, "report.services", "services", multi_select, optional=True),
            _input(words, "report.revenue", "revenue", _text(impact.revenue, 200), optional=True),
            _input(
                words, "report.summary", "summary", _text(impact.summary, TEXT_LIMIT, multiline=True), optional=True
            ),
            _input(words, "report.primary", "primary", _text(cause.primary, TEXT_LIMIT, multiline=True), optional=True),
            _input(
                words,
                "report.contributing",
                "contributing",
                _text("\n".join(cause.contributing), TEXT_LIMIT, multiline=True),
                hint="report.contributing_hint",
                optional=True,
            ),
            _input(words, "report.detection", "detection", _text(cause.detection, 500), optional=True),
            _input(
                words,
                "report.lessons",
                "lessons",
                _text("\n".join(cause.lessons), TEXT_LIMIT, multiline=True),
                hint="report.lessons_hint",
                optional=True,
            ),
        ],
        submit="save",
        about=about,
    )


def followup(words: Translations, team: TeamFile, incident_id: str, *, due: date, title: str = "") -> View:
    """Return the form `followup`: title, owner, due date, labels."""
    owners = [_option(name, name) for name in team.teams]
    labels = _text("", 200)
    return _form(
        words,
        "followup",
        [
            _input(words, "followup.name", "title", _text(title, TITLE_LIMIT)),
            _input(words, "followup.owner", "owner", _select(owners, team.followups.owner)),
            _input(words, "followup.due", "due", DatePickerElement(action_id="value", initial_date=due.isoformat())),
            _input(words, "followup.labels", "labels", labels, hint="followup.labels_hint", optional=True),
        ],
        submit="save",
        about=incident_id,
    )


def break_glass(words: Translations, about: str) -> View:
    """Return the form `break_glass`: the reason for not waiting. `about` is `run|step|digest`."""
    field = _input(
        words, "break_glass.reason", "reason", _text("", 500, multiline=True), hint="break_glass.reason_hint"
    )
    return _form(words, "break_glass", [field], submit="go_on", about=about)


def dismiss(words: Translations, incident_id: str, firing: int) -> View:
    """Return the form `dismiss`: why it is a false alarm, with what still fires."""
    field = _input(words, "dismiss.reason", "reason", _text("", 500), hint="dismiss.reason_hint")
    warning = [section(words.label("forms.dismiss.firing", firing=firing))] if firing else []
    return _form(words, "dismiss", [*warning, field], submit="dismiss", about=incident_id)


def resolve(words: Translations, incident_id: str, firing: int) -> View:
    """Return the form `resolve`: more fires than was said when it was asked."""
    text = section(words.label("forms.resolve.text", incident=incident_id, firing=firing))
    return _form(words, "resolve", [text], submit="resolve", about=incident_id)


def answer(
    words: Translations, about: str, question: str, spec: Input, services: Sequence[str], default: str | None
) -> View:
    """Return the form `answer` for a question of a run. `about` is `run|step|digest`."""
    choices = {"choice": spec.options, "service": list(services), "boolean": ["true", "false"]}.get(spec.type)
    element = (
        _select([_option(choice, choice) for choice in choices], default or "") if choices else _text(default, 500)
    )
    field = InputBlock(label=PlainTextObject(text=fit(question, 2000)), element=element, block_id="answer")
    return _form(words, "answer", [field], submit="send", about=about)


def _form(words: Translations, name: str, blocks: Sequence[Block], *, submit: str, about: str = "") -> View:
    return View(
        type="modal",
        callback_id=name,
        title=PlainTextObject(text=fit(words.label(f"forms.{name}.title"), 24)),
        submit=PlainTextObject(text=fit(words.label(f"buttons.{submit}"), 24)),
        close=PlainTextObject(text=words.label("buttons.cancel")),
        private_metadata=about,
        blocks=blocks,
    )


def _input(
    words: Translations,
    label: str,
    block_id: str,
    element: InputInteractiveElement,
    *,
    hint: str | None = None,
    optional: bool = False,
) -> InputBlock:
    return InputBlock(
        label=PlainTextObject(text=words.label(f"forms.{label}")),
        element=element,
        block_id=block_id,
        hint=PlainTextObject(text=words.label(f"forms.{hint}")) if hint else None,
        optional=optional,
    )


def _text(value: str | None, limit: int, *, multiline: bool = False) -> PlainTextInputElement:
    return PlainTextInputElement(
        action_id="value", initial_value=(value or "")[:limit] or None, max_length=limit, multiline=multiline
    )


def _select(options: list[Option], chosen: str) -> StaticSelectElement:
    initial = next((option for option in options if option.value == chosen), None)
    return StaticSelectElement(action_id="value", options=options[:100], initial_option=initial)


def _option(value: str, text: str) -> Option:
    return Option(value=value, text=PlainTextObject(text=fit(text, 75), emoji=False))
