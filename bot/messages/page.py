"""A report as one HTML file that needs nothing else: no script, no address outside, the pictures inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from bot.messages.words import TEMPLATES

_ANCHOR = re.compile(r'<a id="([a-z0-9-]+)"></a>')
_BOXES = {"[ ] ": "☐ ", "[x] ": "☑ "}


def report_page(markdown: str, *, title: str, locale: str, pictures: Mapping[str, bytes]) -> str:
    """The HTML of a report. `pictures` are PNG files by the names that the Markdown refers to.

    HTML in the Markdown is shown as text; only the anchors `<a id="…"></a>` of our own templates are taken as such.
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
    """`- [ ] …` and `- [x] …` with the box as a character."""
    for item, inline in zip(tokens, tokens[2:], strict=False):
        if item.type == "list_item_open" and inline.type == "inline" and inline.children:
            text = inline.children[0]
            if (box := _BOXES.get(text.content[:4])) is not None:
                text.content = box + text.content[4:]


def _with_pictures(tokens: list[Token], pictures: Mapping[str, bytes]) -> list[Token]:
    """Pictures as `data:` addresses; one that we do not have becomes its own description."""
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
