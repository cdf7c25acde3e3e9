"""The post-incident report: its Markdown, its page, and the message that stands for it in the channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import Block

from bot.domain.incident import Status
from bot.domain.report import Report
from bot.messages.blocks import TEXT_LIMIT, actions, button, context, fit, section
from bot.messages.markdown import Markdown, markdown
from bot.messages.message import Message
from bot.messages.page import report_page
from bot.messages.words import Translations


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report needs besides its facts: people's names by user id, the channel's address, the pictures by name,
    and the number of the first event at which the timeline's chain is broken, if it is."""

    names: Mapping[str, str]
    channel_url: str | None = None
    pictures: Mapping[str, bytes] | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class RenderedReport:
    """A report as text: Markdown, and a page of HTML that needs no other file."""

    markdown: str
    html: str


class Facts(dict[str, Any]):
    """An event's facts; one that the event does not have is None."""

    def __missing__(self, name: str) -> None:
        return None


def write(report: Report, words: Translations, around: ReportContext) -> RenderedReport:
    """The same report and surroundings give the same text, to the byte."""
    write_in = markdown(words)
    incident = report.incident
    lines = {
        event.seq: write_in.part(
            "timeline", event.kind.value, event=event, facts=Facts(event.facts), incident=incident, names=around.names
        )
        for event in report.timeline
    }
    text = write_in.write(
        "report",
        report=report,
        incident=incident,
        lines=lines,
        names=around.names,
        channel_url=around.channel_url,
        broken=around.broken,
        locale=words.locale,
        unknown=Markdown(f"*{words.label('unknown')}*"),
    )
    title = f"{incident.id} · {incident.title}"
    return RenderedReport(text, report_page(text, title=title, locale=words.locale, pictures=around.pictures or {}))


def summary(report: Report, words: Translations) -> Message:
    """The report in a few lines, with the buttons that complete it."""
    incident = report.incident
    parts = ("text", "title", "milestones", "outcome", "missing")
    say = {
        part: words.render_block("report", part, report=report, incident=incident, locale=words.locale)
        for part in parts
    }
    blocks: list[Block] = [section(say["title"]), section(say["milestones"]), section(say["outcome"])]
    if say["missing"]:
        blocks.append(context(say["missing"]))
    if incident.status is not Status.CLOSED:
        names = [("complete_report", "primary" if report.unknown else None), ("open_followup", None)]
        blocks += actions(
            [button(words.label(f"buttons.{name}"), name, incident.id, style=style) for name, style in names]
        )
    return Message(fit(say["text"], TEXT_LIMIT), blocks)
