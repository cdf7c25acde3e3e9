"""Notices for stakeholders: the draft that somebody is asked to publish, and what is published."""

from __future__ import annotations

from datetime import datetime

from slack_sdk.models.views import View

from bot.domain.incident import Incident, Milestone, Severity, Status
from bot.domain.stakeholders import Draft
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages import forms
from bot.messages.message import Message, actions, button, context, section
from bot.messages.translations import Translations
from bot.team import TeamFile

_ANSWERS = {
    Kind.STAKEHOLDERS_TOLD: "published",
    Kind.NOTICE_SNOOZED: "snoozed",
    Kind.ROLE_ASSIGNED: "passed_on",
}


def suggestion(incident: Incident, team: TeamFile, words: Translations) -> str:
    """Return what a notice could say now, in the team's words: nothing internal, no cause, no promise of a repair."""
    name = words.pick(team.public_name(incident.service))
    what = name or words.label("notices.part", organisation=team.organisation)
    if incident.status is Status.DISMISSED:
        says = "false_alarm"
    elif not incident.status.is_open:
        says = "over"
    elif incident.status is Status.MITIGATED:
        says = "better"
    else:
        says = incident.severity.value if incident.severity in (Severity.SEV1, Severity.SEV2) else "others"
    text = words.label(f"notices.{says}", what=what)
    return words.label("notices.drill", text=text) if incident.drill else text


def request(incident: Incident, draft: Draft, due: datetime, channel: str, words: Translations) -> Message:
    """Ask a person to publish a draft, to change it, or to be asked again."""
    head = words.render_block("stakeholders", "request", incident=incident, due=due, channel=channel, draft=draft)
    rows = actions(
        [
            button(words.label("buttons.publish_notice"), "publish_notice", draft.to_value(), style="primary"),
            button(words.label("buttons.edit_notice"), "edit_notice", draft.to_value()),
            button(words.label("buttons.snooze_notice"), "snooze_notice", incident.id),
        ]
    )
    quoted = words.render_block("stakeholders", "draft", draft=draft)
    return Message(head, [context(head), section(quoted), *rows])


def answered(incident: Incident, newer: TimelineEvent, words: Translations) -> Message:
    """Return what takes a draft's place: what became of it."""
    part = _ANSWERS.get(newer.kind, "outdated")
    until = datetime.fromisoformat(newer.facts["until"]) if newer.kind is Kind.NOTICE_SNOOZED else None
    return Message.of(words.render_block("stakeholders", part, incident=incident, event=newer, until=until))


def notice(incident: Incident, event: TimelineEvent, words: Translations) -> Message:
    """Return what stakeholders read."""
    promised = event.facts["next"]
    rendered = {
        part: words.render_block(
            "stakeholders",
            part,
            incident=incident,
            event=event,
            icon=words.label(f"icons.{'resolved' if event.facts['ends'] else incident.severity.value}"),
            since=incident.milestones[Milestone.DETECTED],
            next=datetime.fromisoformat(promised) if promised else None,
        )
        for part in ("notice", "times")
    }
    return Message(rendered["notice"], [section(rendered["notice"]), context(rendered["times"])])


def form(draft: Draft, words: Translations) -> View:
    """Return the form `notice`, with the draft's text to change."""
    return forms.notice(words, draft.text, about=draft.to_value(text=""))
