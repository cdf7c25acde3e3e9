"""The post-incident report: Markdown, a web page, and its message in the channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import Block

from bot.domain.diagnosis import Diagnosis
from bot.domain.incident import Status
from bot.domain.observations import Observation
from bot.domain.phases import Parts, whole
from bot.domain.report import Report
from bot.domain.timeline import Kind
from bot.messages.markdown import Markdown, markdown, markup_of
from bot.messages.message import TEXT_LIMIT, Message, actions, button, fit, section
from bot.messages.report_page import PageContext, report_page
from bot.messages.translations import Translations
from bot.messages.why import reasons

BAR_WIDTH = 15  # characters


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report needs besides its facts: names by user id, the channel's URL, charts (SVG) by file name.

    `public_name` is what customers call the service. `broken` is the number of the first event that breaks the
    timeline's hash chain, if any.
    """

    names: Mapping[str, str]
    channel_url: str | None = None
    public_name: str = ""
    organisation: str = ""
    pictures: Mapping[str, bytes] | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class RenderedReport:
    """A report as Markdown and as a self-contained HTML page."""

    markdown: str
    html: str


class Facts(dict[str, Any]):
    """An event's facts; missing ones are None."""

    def __missing__(self, name: str) -> None:
        return None


def write(report: Report, words: Translations, report_context: ReportContext) -> RenderedReport:
    """Render a report. Deterministic: equal arguments give equal bytes."""
    templates = markdown(words)
    incident = report.incident
    lines = {
        event.seq: templates.part(
            "timeline",
            event.kind.value,
            event=event,
            facts=Facts(event.facts),
            incident=incident,
            names=report_context.names,
        )
        for event in report.timeline
    }
    found: dict[str, Sequence[Observation]] = {
        "well": report.observations.well,
        "badly": report.observations.badly,
        "lucky": report.observations.lucky,
    }
    observations = {
        name: [
            templates.part("observations", one.key, facts=Facts(one.facts), names=report_context.names)
            + markup_of(report.evidence.get(one.seq or 0))
            for one in some
        ]
        for name, some in found.items()
    }
    weighed = [event for event in report.opinions if event.kind is Kind.CAUSES_WEIGHED and "suspects" in event.facts]
    why = reasons([(event.seq, Diagnosis.of_event(event.at, event.facts)) for event in weighed], words)
    parts = whole(report.timing.phases)
    before = report.previous.timing.phases if report.previous else {}
    text = templates.write(
        "report",
        report=report,
        incident=incident,
        lines=lines,
        reasons=why,
        observations={name: [Markdown(line) for line in some] for name, some in observations.items()},
        parts=parts,
        bars=f"```minutes\n{bars(parts, words)}\n```",
        longest_before=max(before, key=lambda phase: before[phase], default=None),
        public_name=report_context.public_name,
        organisation=report_context.organisation,
        names=report_context.names,
        channel_url=report_context.channel_url,
        broken=report_context.broken,
        locale=words.locale,
        to_fill_in=Markdown(f"*{words.label('report.to_fill_in')}*"),
        unknown=Markdown(f"*{words.label('unknown')}*"),
    )
    page = PageContext(f"{incident.id} · {incident.title}", words, report_context.pictures or {}, parts)
    return RenderedReport(text, report_page(text, page))


def bars(parts: Parts, words: Translations, *, empty: bool = True) -> str:
    """Return one line per phase: its name, its whole minutes (or seconds), and a bar. At most 34 characters wide.

    Without `empty`, phases that took no time are left out.
    """
    most = max(parts.by_phase.values(), default=0)
    scale = min(1.0, BAR_WIDTH / most) if most else 0.0
    lines = []
    for phase, took in parts.by_phase.items():
        if not took and not empty:
            continue
        bar = "█" * (max(1, round(took * scale)) if took else 0)
        lines.append(f"{words.label(f'report.phases.{phase}'):<11}{took:>4} {parts.unit} {bar}".rstrip())
    return "\n".join(lines)


def summary(report: Report, words: Translations, read_at: str | None = None) -> Message:
    """Return the report's message: two figures, where the time went, what cured it; `read_at` is its files' URL."""
    incident = report.incident
    missing = list(dict.fromkeys(words.label(f"report.missing_parts.{name}") for name in report.unknown))
    facts = {"report": report, "incident": incident, "locale": words.locale, "missing": missing}
    rendered = {part: words.render_block("report", part, **facts) for part in ("text", "title", "cure")}
    blocks: list[Block] = [section(rendered["title"])]
    if report.timing.phases:
        blocks.append(section(f"```{bars(whole(report.timing.phases), words, empty=False)}```"))
    if rendered["cure"]:
        blocks.append(section("\n".join(line for line in rendered["cure"].splitlines() if line)))
    buttons = []
    if incident.status is not Status.CLOSED:
        style = "primary" if report.unknown else None
        buttons.append(button(words.label("buttons.complete_report"), "complete_report", incident.id, style=style))
    if read_at:
        style = None if report.unknown else "primary"
        buttons.append(button(words.label("buttons.open_report"), "open_report", incident.id, style=style, url=read_at))
    blocks += actions(buttons)
    return Message(fit(rendered["text"], TEXT_LIMIT), blocks)
