"""An incident's card: the headline in the team's channel, and the pinned card in the incident's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from slack_sdk.models.blocks import Block, ButtonElement

from bot.domain.incident import Incident, Milestone, Role, Status
from bot.domain.timeline import TimelineEvent
from bot.messages.message import TEXT_LIMIT, Message, actions, button, context, fit, header, section
from bot.messages.translations import Translations
from bot.team import TeamFile

TOPIC_LIMIT = 250


def card(
    incident: Incident,
    words: Translations,
    *,
    update: TimelineEvent | None = None,
    in_own_channel: bool,
    firing: int = 0,
) -> Message:
    """The incident as it is now, drawn whole. `update` is the newest status update."""
    say = words.render(
        "card",
        incident=incident,
        update=update,
        firing=firing,
        in_own_channel=in_own_channel,
        roles=[(role, incident.roles[role]) for role in Role if role in incident.roles],
        milestones=[(m, incident.milestones[m]) for m in Milestone if m in incident.milestones],
    )
    blocks: list[Block] = [header(f"{words.label('icons.' + _icon(incident))} {incident.severity} · {incident.title}")]
    blocks.append(section(say["state"]))
    if say["update"]:
        blocks.append(section(say["update"]))
    blocks.append(context(say["milestones"]))
    blocks += actions(_buttons(incident, words, in_own_channel))
    return Message(fit(say["text"], TEXT_LIMIT), blocks)


def topic(incident: Incident, words: Translations, *, commander: str | None = None) -> str:
    """The channel's topic, within Slack's 250 characters; with a name, since topics have no mentions."""
    icon = words.label("icons." + _icon(incident))
    say = words.render_block("card", "topic", incident=incident, icon=icon, commander=commander)
    return fit(say, TOPIC_LIMIT)


def links(incident: Incident, team: TeamFile, grafana: str | None) -> list[tuple[str, str]]:
    """The bookmarks of the incident's channel: title and web address."""
    service = team.services.get(incident.service or "")
    result = [(dashboard.title, dashboard.url) for dashboard in service.dashboards] if service else []
    return result or ([("Grafana", grafana)] if grafana else [])


def timeline_message(event: TimelineEvent, incident: Incident, words: Translations) -> Message:
    """One event of the timeline as a message of the channel."""
    text = fit(timeline_line(event, incident, words), 3000)
    return Message(text, [section(text)])


def timeline_line(event: TimelineEvent, incident: Incident, words: Translations) -> str:
    """One event of the timeline in a sentence of mrkdwn."""
    return words.render_block(
        "timeline", event.kind.value, event=event, facts=defaultdict(lambda: None, event.facts), incident=incident
    )


def timeline(incident: Incident, events: Sequence[TimelineEvent], words: Translations, limit: int = 2800) -> Message:
    """The newest events that fit into one message, in order; says how many older ones there are."""
    lines: list[str] = []
    length = 0
    for event in reversed(events):
        text = words.render_block(
            "timeline_list", "line", event=event, text=fit(timeline_line(event, incident, words), 400)
        )
        if length + len(text) > limit:
            break
        lines.insert(0, text)
        length += len(text) + 1
    say = words.render("timeline_list", incident=incident, older=len(events) - len(lines))
    body = "\n".join(lines)
    blocks: list[Block] = [section(say["title"]), section(body)]
    if say["older"]:
        blocks.append(context(say["older"]))
    return Message(say["title"], blocks)


def listing(incidents: Sequence[Incident], words: Translations) -> Message:
    """Open incidents, a line each."""
    say = words.render("list", incidents=incidents)
    if not incidents:
        return Message.of(say["none"])
    lines = [
        words.render_block("list", "line", incident=incident, icon=words.label("icons." + _icon(incident)))
        for incident in incidents[:40]
    ]
    return Message(say["title"], [section(say["title"]), section("\n".join(lines))])


def _icon(incident: Incident) -> str:
    done = {Status.RESOLVED: "resolved", Status.CLOSED: "closed"}
    return done.get(incident.status, incident.severity.value)


def _buttons(incident: Incident, words: Translations, in_own_channel: bool) -> list[ButtonElement]:
    def make(name: str, style: str | None = None) -> ButtonElement:
        return button(words.label(f"buttons.{name}"), name, incident.id, style=style)

    if incident.status is Status.CLOSED:
        return []
    if incident.status is Status.RESOLVED:
        return (
            [make("complete_report", "primary"), make("open_followup"), make("close_incident")]
            if in_own_channel
            else []
        )
    shown: list[ButtonElement] = []
    if incident.status is Status.DECLARED:
        shown.append(make("acknowledge", "primary"))
    if not incident.commander:
        shown.append(make("take_command"))
    if in_own_channel:
        shown.append(make("post_update"))
        if incident.status is not Status.MITIGATED:
            shown.append(make("mitigate"))
        shown.append(make("resolve"))
        shown.append(make("open_followup"))
    return shown
