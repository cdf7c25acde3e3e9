"""The post-incident report: Markdown, a web page, and its message in the channel."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from slack_sdk.models.blocks import Block

from bot.domain.incident import Status
from bot.domain.report import Report
from bot.messages.markdown import Markdown, markdown
from bot.messages.message import TEXT_LIMIT, Message, actions, button, context, fit, section
from bot.messages.translations import Translations
from bot.shipped import TEMPLATES

_ANCHOR = re.compile(r'<a id="([a-z0-9-]+)"></a>')
_BOXES = {"[ ] ": "☐ ", "[x] ": "☑ "}


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report needs besides its facts: names by user id, the channel's URL, charts by file name.

    `broken` is the number of the first event that breaks the timeline's hash chain, if any.
    """

    names: Mapping[str, str]
    channel_url: str | None = None
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
    text = templates.write(
        "report",
        report=report,
        incident=incident,
        lines=lines,
        names=report_context.names,
        channel_url=report_context.channel_url,
        broken=report_context.broken,
        locale=words.locale,
        unknown=Markdown(f"*{words.label('unknown')}*"),
    )
    title = f"{incident.id} · {incident.title}"
    return RenderedReport(
        text, report_page(text, title=title, locale=words.locale, pictures=report_context.pictures or {})
    )


def summary(report: Report, words: Translations) -> Message:
    """Return the report's message: a few lines, with the buttons to complete it."""
    incident = report.incident
    parts = ("text", "title", "milestones", "outcome", "missing")
    rendered = {
        part: words.render_block("report", part, report=report, incident=incident, locale=words.locale)
        for part in parts
    }
    blocks: list[Block] = [section(rendered["title"]), section(rendered["milestones"]), section(rendered["outcome"])]
    if rendered["missing"]:
        blocks.append(context(rendered["missing"]))
    if incident.status is not Status.CLOSED:
        names = [("complete_report", "primary" if report.unknown else None), ("open_followup", None)]
        blocks += actions(
            [button(words.label(f"buttons.{name}"), name, incident.id, style=style) for name, style in names]
        )
    return Message(fit(rendered["text"], TEXT_LIMIT), blocks)


def report_page(markdown: str, *, title: str, locale: str, pictures: Mapping[str, bytes]) -> str:
    """Return the report's HTML. `pictures` are PNG files by the names that the Markdown uses.

    HTML in the Markdown is shown as text, except the anchors `<a id="…"></a>` of our templates.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.inline.ruler.before("html_inline", "anchor", _anchor)
    environment: dict[str, object] = {}
    tokens = parser.parse(markdown, environment)
    _tick_boxes(tokens)
    body = parser.renderer.render(_with_pictures(tokens, pictures), parser.options, environment)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("report.html.j2")
    return template.render(title=title, locale=locale, body=body)


def _anchor(state: StateInline, silent: bool) -> bool:
    match = _ANCHOR.match(state.src, state.pos)
    if not match:
        return False
    if not silent:
        state.push("anchor_open", "a", 1).attrSet("id", match[1])
        state.push("anchor_close", "a", -1)
    state.pos = match.end()
    return True


def _tick_boxes(tokens: list[Token]) -> None:
    """Replace `- [ ] …` and `- [x] …` by box characters."""
    for item, inline in zip(tokens, tokens[2:], strict=False):
        if item.type == "list_item_open" and inline.type == "inline" and inline.children:
            text = inline.children[0]
            if (box := _BOXES.get(text.content[:4])) is not None:
                text.content = box + text.content[4:]


def _with_pictures(tokens: list[Token], pictures: Mapping[str, bytes]) -> list[Token]:
    """Embed images as `data:` URLs; a missing one is replaced by its description."""
    for token in tokens:
        for image in token.children or []:
            if image.type != "image":
                continue
            content = pictures.get(unquote(str(image.attrGet("src"))))
            if content is None:
                image.type, image.tag, image.children = "text", "", None
            else:
                image.attrSet("src", f"data:image/png;base64,{base64.b64encode(content).decode()}")
    return tokens
