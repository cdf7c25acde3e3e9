"""Texts parsed for the page, which never parses HTML: mrkdwn as rich_text elements, Markdown as a tree.

https://docs.slack.dev/messaging/formatting-message-text
https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from sandbox.slack.state import JSON

_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_QUOTE = re.compile(r"^(?:>|&gt;) ?")
_LONG_QUOTE = re.compile(r"^(?:>|&gt;){3} ?")
_STYLES = {"*": "bold", "_": "italic", "~": "strike"}

_INLINE = re.compile(
    r"<(?P<reference>[^<>\n]+)>"
    r"|`(?P<code>[^`\n]+)`"
    r"|(?<![\w*_~])(?P<mark>[*_~])(?P<inner>(?=\S)(?:(?!(?P=mark))[^\n])+(?<=\S))(?P=mark)(?![\w*~])"
    r"|(?<!\w):(?P<emoji>[a-z0-9_+'-]+(?:::skin-tone-[2-6])?):"
    r"|(?P<url>https?://[^\s<>|]*[^\s<>|.,;:!?)'\"])"
    r"|(?<![\w`@])@(?P<broadcast>channel|here|everyone)\b"
)
_SAFE_LINK = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)
_DATE = re.compile(r"date\^(?P<timestamp>-?\d+)\^(?P<format>[^^]+)(?:\^(?P<url>.+))?")
_ANCHOR = re.compile(r'<a (?:id|name)="(?P<id>[\w.-]+)">')
_TEXT_NODES = ("text", "code_inline", "code_block", "fence")
_HTML = ("html_inline", "html_block")
Style = Mapping[str, bool]


# mrkdwn.


def parse_mrkdwn(text: str, *, verbatim: bool = False) -> list[JSON]:
    """Parse mrkdwn into rich_text sections, quotes and preformatted parts.

    With `verbatim` a bare address, @here, @channel and @everyone stay text, as in Slack.
    """
    parts: list[JSON] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += _lines(text[end : fence.start()].removesuffix("\n"), verbatim)
        if fence[1]:
            parts.append({"type": "rich_text_preformatted", "elements": [_text(fence[1], {})]})
        end = fence.end()
    rest = text[end:].removeprefix("\n") if end else text
    parts += _lines(rest, verbatim)
    return parts


def _lines(text: str, verbatim: bool) -> Iterator[JSON]:
    """Yield runs of quoted and of other lines."""
    if not text:
        return
    run: list[str] = []
    quoted = endless = False
    for line in text.split("\n"):
        starts = bool(_LONG_QUOTE.match(line))
        is_quote = endless or bool(_QUOTE.match(line))
        if is_quote != quoted and run:
            yield _part("\n".join(run), quoted, verbatim)
            run = []
        quoted = is_quote
        run.append(line if endless else (_LONG_QUOTE if starts else _QUOTE).sub("", line))
        endless = endless or starts
    yield _part("\n".join(run), quoted, verbatim)


def _part(text: str, quoted: bool, verbatim: bool) -> JSON:
    kind = "rich_text_quote" if quoted else "rich_text_section"
    return {"type": kind, "elements": list(_inline(text, {}, verbatim))}


def _inline(text: str, style: Style, verbatim: bool) -> Iterator[JSON]:
    end = 0
    for match in _INLINE.finditer(text):
        element = _element(match, style, verbatim)
        if element is None:
            continue
        if match.start() > end:
            yield _text(text[end : match.start()], style)
        yield from element
        end = match.end()
    if end < len(text):
        yield _text(text[end:], style)


def _element(match: re.Match[str], style: Style, verbatim: bool) -> list[JSON] | None:
    """Return the elements of a match; None when it is only text."""
    if match["reference"]:
        return [_reference(match["reference"], style)]
    if match["code"]:
        return [_text(match["code"], {**style, "code": True})]
    if match["mark"]:
        return list(_inline(match["inner"], {**style, _STYLES[match["mark"]]: True}, verbatim))
    if match["emoji"]:
        return [_styled({"type": "emoji", "name": match["emoji"]}, style)]
    if verbatim:
        return None
    if match["url"]:
        return [_styled({"type": "link", "url": unescape(match["url"])}, style)]
    return [_styled({"type": "broadcast", "range": match["broadcast"]}, style)]


def _reference(inside: str, style: Style) -> JSON:
    """Parse `<…>`: a person, channel, group, broadcast, date or link; anything else is text."""
    target, _, label = inside.partition("|")
    element: JSON | None = None
    if target.startswith("@"):
        element = {"type": "user", "user_id": target[1:]}
    elif target.startswith("#"):
        element = {"type": "channel", "channel_id": target[1:], "label": unescape(label)}
    elif target.startswith("!subteam^"):
        element = {"type": "usergroup", "usergroup_id": target[9:]}
    elif target in ("!here", "!channel", "!everyone"):
        element = {"type": "broadcast", "range": target[1:]}
    elif target.startswith("!") and (date := _DATE.fullmatch(target[1:])):
        element = {
            "type": "date",
            "timestamp": int(date["timestamp"]),
            "format": unescape(date["format"]),
            "fallback": unescape(label),
        }
        if date["url"] and _SAFE_LINK.match(date["url"]):
            element["url"] = unescape(date["url"])
    elif _SAFE_LINK.match(target):
        element = {"type": "link", "url": unescape(target)}
        if label:
            element["text"] = unescape(label)
    if element is None:
        return _text(label if target.startswith("!") and label else f"<{inside}>", style)
    return _styled(element, style)


def _text(text: str, style: Style) -> JSON:
    return _styled({"type": "text", "text": unescape(text)}, style)


def _styled(element: JSON, style: Style) -> JSON:
    return element | {"style": dict(style)} if style else element


def unescape(text: str) -> str:
    """Unescape the three characters that Slack escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


# Markdown.


def parse_markdown(text: str, *, document: bool = False) -> list[JSON]:
    """Parse Markdown into nodes with `type` (markdown-it's), `text`, `children`, `href`, `level`, `align` if any.

    HTML is text. In a `document` it is left out, except anchors (`<a id="…">`), which are `anchor` nodes.
    """
    return [_node(child) for child in SyntaxTreeNode(_parser(document).parse(text)).children]


@cache
def _parser(document: bool) -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": document}).enable(["table", "strikethrough"])


def _node(node: SyntaxTreeNode) -> JSON:
    if node.type in _HTML:
        anchor = _ANCHOR.search(node.content)
        return {"type": "anchor", "id": anchor["id"]} if anchor else {"type": "nothing"}
    result: JSON = {"type": "inline" if node.hidden else node.type}  # the paragraphs of a tight list are hidden
    if node.type in _TEXT_NODES:
        result["text"] = node.content
    elif node.type == "heading":
        result["level"] = int(node.tag[1])
    elif node.type == "link":
        result["href"] = str(node.attrs.get("href", ""))
    elif node.type == "image":
        result |= {"src": str(node.attrs.get("src", "")), "text": node.content}
        return result
    elif node.type == "ordered_list":
        result["start"] = int(node.attrs.get("start", 1))
    elif node.type in ("th", "td") and "style" in node.attrs:
        result["align"] = str(node.attrs["style"]).partition("text-align:")[2]
    if node.children:
        result["children"] = [_node(child) for child in node.children]
    return result
