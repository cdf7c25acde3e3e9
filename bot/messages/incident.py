"""Messages about an incident: headline, card, topic, timeline, list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slack_sdk.models.blocks import Block, ButtonElement

from bot.domain.incident import Incident, Milestone, Role, Status
from bot.domain.snapshot import MetricResult
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.amounts import amount
from bot.messages.confirm import confirm
from bot.messages.message import SECTION_LIMIT, TEXT_LIMIT, Message, actions, button, context, fit, header, section
from bot.messages.translations import Translations
from bot.team import TeamFile

TOPIC_LIMIT = 250
LOOK_AGAIN_MINUTES = 10  # after an incident is resolved
SECTIONS_A_PAGE = 3  # Slack takes about 12,000 characters in all blocks of a message


def card(
    incident: Incident,
    words: Translations,
    *,
    update: TimelineEvent | None = None,
    in_own_channel: bool,
    firing: int = 0,
    alert: Mapping[str, Any] | None = None,
    out: Sequence[MetricResult] | None = None,
    measured_at: datetime | None = None,
) -> Message:
    """Render the incident's current state: the headline, or the card `in_own_channel`.

    `update` is the newest update, `alert` the facts of the declaration, if alerts caused it, and `out` the metrics
    that were out of bounds at `measured_at` (None: not measured).
    """
    milestones = [(m, incident.milestones[m]) for m in Milestone if m in incident.milestones]
    rendered = words.render(
        "card",
        incident=incident,
        update=update,
        firing=firing,
        in_own_channel=in_own_channel,
        alert=defaultdict(lambda: None, alert or {}),
        out=[out_of_bounds_text(metric, words) for metric in out or ()],
        measured_at=measured_at,
        roles=[(role, incident.roles[role]) for role in Role if role in incident.roles],
        milestones=milestones[:1] if in_own_channel else milestones,  # the channel itself tells the others
    )
    blocks: list[Block] = [header(_title(incident, words, firing))]
    blocks.append(section(rendered["state"]))
    blocks += [section(rendered[part]) for part in ("alert", "metrics") if rendered[part]]
    if in_own_channel and alert and incident.status.is_open:
        blocks += actions(_link_buttons(incident, words, alert))
    if rendered["update"]:
        blocks.append(section(rendered["update"]))
    blocks.append(context(rendered["milestones"]))
    blocks += actions(_buttons(incident, words, in_own_channel, Endings(firing, out)))
    return Message(fit(rendered["text"], TEXT_LIMIT), blocks)


def topic(incident: Incident, words: Translations) -> str:
    """Return the channel's topic, at most 250 characters: nothing that changes soon, as each change is a message."""
    return fit(words.render_block("card", "topic", incident=incident), TOPIC_LIMIT)


def links(incident: Incident, team: TeamFile, grafana: str | None) -> list[tuple[str, str]]:
    """Return the bookmarks of the incident's channel: title and URL."""
    service = team.services.get(incident.service or "")
    result = [(dashboard.title, dashboard.url) for dashboard in service.dashboards] if service else []
    return result or ([("Grafana", grafana)] if grafana else [])


def timeline_message(event: TimelineEvent, incident: Incident, words: Translations) -> Message:
    """Return an event of the timeline as a message in the channel."""
    text = fit(timeline_line(event, incident, words), 3000)
    blocks: list[Block] = [section(text)]
    if event.kind is Kind.STILL_FIRING:
        reopen = button(words.label("buttons.reopen"), "reopen", incident.id, style="primary")
        blocks += actions([reopen, button(words.label("buttons.declare_new"), "declare_new", incident.id)])
    return Message(text, blocks)


def reminder(incident: Incident, text: str, words: Translations) -> Message:
    """Remind the channel of an update that is due, with the button that posts it and the one that asks later."""
    post = button(words.label("buttons.post_update"), "post_update", incident.id, style="primary")
    return Message(text, [section(text), *actions([post, _snooze(incident, words)])])


def update_draft(incident: Incident, draft: str, key: str, silent: timedelta, words: Translations) -> Message:
    """Ask the commander whether `draft` may be posted as an update; `key` makes sure that it is posted once."""
    facts = {"incident": incident, "silent": silent, "draft": draft}
    text = words.render_block("reminder", "draft_due", **facts)
    value = f"{incident.id}|{key}|{draft}"
    post = button(words.label("buttons.publish_update"), "publish_update", value, style="primary")
    edit = button(words.label("buttons.edit_update"), "edit_update", value)
    quoted = section(words.render_block("reminder", "draft", **facts))
    return Message(text, [section(text), quoted, *actions([post, edit, _snooze(incident, words)])])


def _snooze(incident: Incident, words: Translations) -> ButtonElement:
    return button(words.label("buttons.snooze"), "snooze", incident.id)


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
            ("alert_page", alert.get("page")),
            ("alert_dashboard", alert.get("dashboard")),
        )
        if isinstance(url, str) and url.startswith(("http://", "https://"))
    ]


def out_of_bounds_text(metric: MetricResult, words: Translations) -> str:
    """Return `Latencia p95 712 ms (máx. 500 ms)`."""
    limit = f"{words.label(f'snapshot.limits.{metric.direction}')} {amount(metric.threshold, metric.unit, words)}"
    name = metric.in_language(words.locale)
    return f"{name} {amount(metric.value, metric.unit, words)} ({limit})"


def _title(incident: Incident, words: Translations, firing: int) -> str:
    if firing and incident.status in (Status.RESOLVED, Status.CLOSED):
        return f"⚠️ {words.label('resolved_while_firing')} · {incident.severity} · {incident.title}"
    return f"{words.label('icons.' + _icon(incident))} {incident.severity} · {incident.title}"


def _icon(incident: Incident) -> str:
    ended = {Status.RESOLVED: "resolved", Status.CLOSED: "closed", Status.DISMISSED: "dismissed"}
    return ended.get(incident.status, incident.severity.value)


@dataclass(frozen=True, slots=True)
class Endings:
    """What the buttons that end an incident ask back with: how many alerts fire, and the metrics that are out of bounds
    (None: not measured).
    """

    firing: int = 0
    out: Sequence[MetricResult] | None = None


def end_button(
    incident: Incident, words: Translations, name: str, ending: Endings, *, style: str | None = None
) -> ButtonElement:
    """Return a button that ends something: it is asked back, with what still fires when it was drawn."""
    dialog = confirm(
        words,
        name,
        danger=name == "resolve" and bool(ending.firing or ending.out),
        incident=incident.id,
        firing=ending.firing,
        out=", ".join(out_of_bounds_text(metric, words) for metric in ending.out or ()),
        measured=ending.out is not None,
        minutes=LOOK_AGAIN_MINUTES,
    )
    value = f"{incident.id}|{ending.firing}" if name == "resolve" else incident.id
    return button(words.label(f"buttons.{name}"), name, value, style=style, confirm=dialog)


def _buttons(incident: Incident, words: Translations, in_own_channel: bool, ending: Endings) -> list[ButtonElement]:
    def make(name: str, style: str | None = None) -> ButtonElement:
        return button(words.label(f"buttons.{name}"), name, incident.id, style=style)

    if incident.status is Status.CLOSED:
        return []
    if incident.status is Status.DISMISSED:
        return [make("reopen")] if in_own_channel else []
    if incident.status is Status.RESOLVED:
        reopen = [make("reopen")] if ending.firing else []
        if not in_own_channel:
            return reopen
        return [make("open_followup"), end_button(incident, words, "close_incident", ending), *reopen]
    buttons: list[ButtonElement] = []
    if incident.status is Status.DECLARED:
        buttons.append(make("acknowledge", "primary"))
    if not incident.commander:
        buttons.append(make("take_command"))
    if in_own_channel:
        buttons.append(make("post_update"))
        if incident.status is not Status.MITIGATED:
            buttons.append(end_button(incident, words, "mitigate", ending))
        buttons.append(end_button(incident, words, "resolve", ending))
        buttons.append(make("open_followup"))
        if incident.status is Status.DECLARED:
            buttons.append(make("dismiss"))
        else:
            buttons.append(make("catch_up"))
    return buttons
