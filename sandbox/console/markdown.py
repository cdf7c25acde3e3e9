"""Markdown as a tree of plain objects, from which the page builds its nodes without ever parsing HTML."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from sandbox.slack.state import JSON

_ANCHOR = re.compile(r'<a (?:id|name)="(?P<id>[\w.-]+)">')
_WRITTEN = ("text", "code_inline", "code_block", "fence")
_HTML = ("html_inline", "html_block")


def tree(text: str, *, document: bool = False) -> list[JSON]:
    """The top nodes; each has `type` (markdown-it's names) and `text`, `children`, `href`, `level`, `align` if any.

    HTML is shown as typed. In a `document` it is left out, but for anchors (`<a id="…">`): those are `anchor` nodes.
    """
    return [_node(child) for child in SyntaxTreeNode(_parser(document).parse(text)).children]


@cache
def _parser(document: bool) -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": document}).enable(["table", "strikethrough"])


def _node(node: SyntaxTreeNode) -> JSON:
    if node.type in _HTML:
        anchor = _ANCHOR.search(node.content)
        return {"type": "anchor", "id": anchor["id"]} if anchor else {"type": "nothing"}
    made: JSON = {"type": "inline" if node.hidden else node.type}  # the paragraphs of a tight list are hidden
    if node.type in _WRITTEN:
        made["text"] = node.content
    elif node.type == "heading":
        made["level"] = int(node.tag[1])
    elif node.type == "link":
        made["href"] = str(node.attrs.get("href", ""))
    elif node.type == "image":
        made |= {"src": str(node.attrs.get("src", "")), "text": node.content}
        return made
    elif node.type == "ordered_list":
        made["start"] = int(node.attrs.get("start", 1))
    elif node.type in ("th", "td") and "style" in node.attrs:
        made["align"] = str(node.attrs["style"]).partition("text-align:")[2]
    if node.children:
        made["children"] = [_node(child) for child in node.children]
    return made
