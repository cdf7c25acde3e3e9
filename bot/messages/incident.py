"""Messages about an incident: headline, card, topic, timeline, list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slack_sdk.models.blocks import Block, ButtonElement

from bot.domain.incident import Incident, Milestone, Role, Status
from bot.domain.timeline import TimelineEvent
from bot.messages.message import SECTION_LIMIT, TEXT_LIMIT, Message, actions, button, context, fit, header, section
from bot.messages.translations import Translations
from bot.team import TeamFile

TOPIC_LIMIT = 250
SECTIONS_A_PAGE = 3  # Slack takes about 12,000 characters in all blocks of a message


def card(
    incident: Incident,
    words: Translations,
    *,
    update: TimelineEvent | None = None,
    in_own_channel: bool,
    firing: int = 0,
    alert: Mapping[str, Any] | None = None,
) -> Message:
    """Render the incident's current state: the headline, or the card `in_own_channel`.

    `update` is the newest update, `alert` the facts of the declaration, if alerts caused it.
    """
    rendered = words.render(
        "card",
        incident=incident,
        update=update,
        firing=firing,
        in_own_channel=in_own_channel,
        alert=defaultdict(lambda: None, alert or {}),
        roles=[(role, incident.roles[role]) for role in Role if role in incident.roles],
        milestones=[(m, incident.milestones[m]) for m in Milestone if m in incident.milestones],
    )
    blocks: list[Block] = [header(f"{words.label('icons.' + _icon(incident))} {incident.severity} · {incident.title}")]
    blocks.append(section(rendered["state"]))
    if rendered["alert"]:
        blocks.append(section(rendered["alert"]))
    if in_own_channel and alert:
        blocks += actions(_link_buttons(incident, words, alert))
    if rendered["update"]:
        blocks.append(section(rendered["update"]))
    blocks.append(context(rendered["milestones"]))
    blocks += actions(_buttons(incident, words, in_own_channel))
    return Message(fit(rendered["text"], TEXT_LIMIT), blocks)


def topic(incident: Incident, words: Translations, *, commander: str | None = None) -> str:
    """Return the channel's topic, at most 250 characters; names the commander, as topics have no mentions."""
    icon = words.label("icons." + _icon(incident))
    text = words.render_block("card", "topic", incident=incident, icon=icon, commander=commander)
    return fit(text, TOPIC_LIMIT)


def links(incident: Incident, team: TeamFile, grafana: str | None) -> list[tuple[str, str]]:
    """Return the bookmarks of the incident's channel: title and URL."""
    service = team.services.get(incident.service or "")
    result = [(dashboard.title, dashboard.url) for dashboard in service.dashboards] if service else []
    return result or ([("Grafana", grafana)] if grafana else [])


def timeline_message(event: TimelineEvent, incident: Incident, words: Translations) -> Message:
    """Return an event of the timeline as a message in the channel."""
    text = fit(timeline_line(event, incident, words), 3000)
    return Message(text, [section(text)])


def timeline_line(event: TimelineEvent, incident: Incident, words: Translations) -> str:
    """Return an event of the timeline as one sentence of mrkdwn."""
    return words.render_block(
        "timeline", event.kind.value, event=event, facts=defaultdict(lambda: None, event.facts), incident=incident
    )


def timeline(incident: Incident, events: Sequence[TimelineEvent], words: Translations, limit: int = 2800) -> Message:
    """List the newest events that fit into one message, oldest first, and the number of older ones."""
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
    rendered = words.render("timeline_list", incident=incident, older=len(events) - len(lines))
    body = "\n".join(lines)
    blocks: list[Block] = [section(rendered["title"]), section(body)]
    if rendered["older"]:
        blocks.append(context(rendered["older"]))
    return Message(rendered["title"], blocks)


def listing(incidents: Sequence[Incident], words: Translations, *, page: int = 1) -> Message:
    """List open incidents: the true number, one page of them, whole, and how to see the others."""
    rendered = words.render("list", incidents=incidents)
    if not incidents:
        return Message.of(rendered["none"])
    pages = list(_pages(incidents, words))
    page = min(max(page, 1), len(pages))
    blocks: list[Block] = [section(rendered["title"]), *(section(part) for part in pages[page - 1])]
    if len(pages) > 1:
        blocks.append(context(words.render_block("list", "pages", page=page, pages=len(pages))))
    return Message(rendered["title"], blocks)


def _pages(incidents: Sequence[Incident], words: Translations) -> Iterator[list[str]]:
    """Yield pages of sections that Slack accepts, without cutting an incident in two."""
    sections: list[str] = []
    for incident in incidents:
        icon = words.label("icons." + _icon(incident))
        line = fit(words.render_block("list", "line", incident=incident, icon=icon), 600)
        if sections and len(sections[-1]) + len(line) < SECTION_LIMIT:
            sections[-1] += f"\n{line}"
            continue
        if len(sections) == SECTIONS_A_PAGE:
            yield sections
            sections = []
        sections.append(line)
    yield sections


def _link_buttons(incident: Incident, words: Translations, alert: Mapping[str, Any]) -> list[ButtonElement]:
    """Return buttons that open what the alert refers to."""
    return [
        button(words.label(f"buttons.{name}"), f"open_{name}", incident.id, url=url)
        for name, url in (
            ("alert_runbook", alert.get("runbook")),
            ("alert_query", alert.get("link")),
            ("alert_dashboard", alert.get("dashboard")),
        )
        if isinstance(url, str) and url.startswith(("http://", "https://"))
    ]


def _icon(incident: Incident) -> str:
    ended = {Status.RESOLVED: "resolved", Status.CLOSED: "closed"}
    return ended.get(incident.status, incident.severity.value)


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
    buttons: list[ButtonElement] = []
    if incident.status is Status.DECLARED:
        buttons.append(make("acknowledge", "primary"))
    if not incident.commander:
        buttons.append(make("take_command"))
    if in_own_channel:
        buttons.append(make("post_update"))
        if incident.status is not Status.MITIGATED:
            buttons.append(make("mitigate"))
        buttons.append(make("resolve"))
        buttons.append(make("open_followup"))
    return buttons
