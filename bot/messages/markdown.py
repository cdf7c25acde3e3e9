"""Markdown for reports and issues: Jinja2 templates that show people's text literally."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from babel.dates import format_date, format_datetime
from jinja2 import Environment, StrictUndefined, pass_context
from jinja2.runtime import Context

from bot.domain.goal import Goal
from bot.domain.people import BOT, Person
from bot.domain.report import Evidence
from bot.messages.amounts import UNKNOWN, amount, number
from bot.messages.translations import Translations, format_duration

SHOWN_FIGURES = 2
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
_FIRST = re.compile(r"^( ?)([#+=-])|^( ?\d+)(?=[.)])")
_CODE = re.compile(r"(?<!`)`([^`|\\]+)`(?!`)")  # that stays as it is in a table, too
_HANDLE = re.compile(r"(?<![\w])@(?=\w)")
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SLACK = re.compile(
    r"<(?:(?P<sign>[@#])|!subteam\^)(?P<id>[A-Z0-9]+)(?:\|(?P<name>[^<>|]*))?>|<(?P<url>https?://[^<>|\s]+)(?:\|[^<>]*)?>"
)


class Markdown(str):
    """Markup that must not be escaped. Only the filters below create it."""

    __slots__ = ()


def escape(value: object) -> str:
    """Return text as one line that Markdown shows literally: no markup, no table cell ended, no mention on GitHub.

    A backslash before punctuation makes it literal (CommonMark). GitHub finds `@name` after rendering, so a zero-width
    space is put after the sign.
    """
    if isinstance(value, Markdown):
        return value
    text = re.sub(r"\s+", " ", _INVISIBLE.sub("", str(value)))
    text = _FIRST.sub(lambda match: f"{match[3] or match[1]}\\{match[2] or ''}", _SPECIAL.sub(r"\\\1", text))
    return _HANDLE.sub("@&#8203;", text)


def plain(text: str, names: Mapping[str, str]) -> str:
    """Return a person's text with Slack's markup replaced: names of people and channels, URLs."""

    def replacement(match: re.Match[str]) -> str:
        if match["url"]:
            return match["url"]
        name = names.get(match["id"]) or match["name"] or match["id"]
        return f"#{name}" if match["sign"] == "#" else name.lstrip("@")

    return _SLACK.sub(replacement, text)


class MarkdownTemplates:
    """The templates `reports/*.md.j2` of one language. The fact `names` maps user ids to names."""

    def __init__(self, words: Translations) -> None:
        self._words = words
        self._environment = Environment(  # noqa: S701 - not HTML; `finalize` escapes for Markdown
            loader=words.loader(),
            undefined=StrictUndefined,
            finalize=_finalize,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "mention": _mention,
            "link": link,
            "evidence": markup_of,
            "goal": self._goal,
            "with_code": _with_code,
            "hour": _hour,
            "until": _hour,
            "shown_figures": _shown_figures,
            "anchor": lambda seq: Markdown(f'<a id="event-{seq}"></a>{seq}'),
            "address": lambda name: Markdown(quote(str(name))),
            "quote": _quote,
            "markup": Markdown,
            "duration": format_duration,
            "written": words.format_time_plain,
            "day": lambda moment: format_date(moment, "long", locale=words.locale),
            "clock": lambda moment: format_datetime(moment, "d MMM HH:mm:ss", locale=words.locale),
            "moment": lambda iso: format_datetime(datetime.fromisoformat(iso), "HH:mm:ss", locale=words.locale),
            "picked": words.pick,
            "number": lambda value: UNKNOWN if value is None else number(value, words),
            "amount": lambda value, unit: amount(value, unit, words),
            "label": words.label,
            "labelled": lambda key: _has_label(words, key),
        }

    def _goal(self, goal: Goal) -> str:
        """Return `✗ target: under 10 min`."""
        if goal.target is None:
            return self._words.label("report.no_target")
        target = self._words.label("report.target", target=format_duration(goal.target))
        return target if goal.met is None else f"{'✓' if goal.met else '✗'} {target}"

    def _with_names(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        return {**facts, "names": {BOT.id: self._words.names.bot} | facts.get("names", {})}

    def write(self, name: str, **facts: Any) -> str:
        """Render `reports/<name>.md.j2`, with at most one empty line in a row."""
        text = self._environment.get_template(f"reports/{name}.md.j2").render(self._with_names(facts))
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    def part(self, name: str, part: str, **facts: Any) -> Markdown:
        """Render one block of a template as one line."""
        template = self._environment.get_template(f"reports/{name}.md.j2")
        context = template.new_context(self._with_names(facts))
        return Markdown(" ".join("".join(template.blocks[part](context)).split()))


@cache
def markdown(words: Translations) -> MarkdownTemplates:
    """Return the templates of a language, compiled once per Translations."""
    return MarkdownTemplates(words)


def link(url: str | None, text: object) -> str:
    """Return a link, or only the text without a URL."""
    if not url or not re.match(r"https?://", url):
        return escape(text) if isinstance(text, Markdown) else str(text)
    address = re.sub(r"[\s<>()|\\\"`\[\]]", lambda match: f"%{ord(match[0]):02X}", url)
    return Markdown(f"[{escape(text)}]({address})")


def _has_label(words: Translations, key: str) -> bool:
    try:
        return bool(words.label(key))
    except KeyError:
        return False


@pass_context
def _finalize(context: Context, value: object) -> str:
    if value is None or isinstance(value, Markdown):
        return UNKNOWN if value is None else value
    return escape(plain(str(value), context.get("names") or {}))


def _with_code(text: object) -> Markdown:
    """Return the bot's own text with its `code` kept as code."""
    parts = _CODE.split(str(text))
    return Markdown("".join(f"`{part}`" if place % 2 else escape(part) for place, part in enumerate(parts)))


@pass_context
def _mention(context: Context, person: Person | str | None) -> str:
    """Return a person's name; a report must not notify anybody."""
    names: Mapping[str, str] = context.get("names") or {}
    if person is None:
        return "—"
    if isinstance(person, str):
        person = Person(person, person.partition(":")[2])
    name = names.get(person.id) or person.name or person.id
    return f"{name} (terminal: {person.terminal})" if person.terminal else name


@pass_context
def _quote(context: Context, text: object) -> Markdown:
    """Return text as a quotation, line by line."""
    line: Callable[[str], str] = lambda text_line: _finalize(context, text_line)  # noqa: E731
    return Markdown("\n".join(f"> {line(text_line)}  " for text_line in str(text).splitlines() or [""]))


def markup_of(evidence: Evidence | None) -> Markdown:
    """Return a footnote sign ` [³](#event-3)` that leads to the event in the timeline, or an empty text."""
    if evidence is None:
        return Markdown("")
    return Markdown(f"[{str(evidence.seq).translate(_SUPERSCRIPT)}](#event-{evidence.seq})")


def _hour(moment: datetime, since: datetime | None = None) -> str:
    """Return the time of day in UTC; with its date if that is not the date of `since`."""
    same_day = since is None or moment.date() == since.date()
    return f"{moment:%H:%M}" if same_day else f"{moment:%Y-%m-%d %H:%M}"


def _shown_figures(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first metrics of a change that were out of bounds before or after it; else the first one."""
    out = [figure for figure in figures if any(_is_out(figure, when) for when in ("before", "after"))]
    return out[:SHOWN_FIGURES] or list(figures[:1])


def _is_out(figure: Mapping[str, Any], when: str) -> bool:
    value, threshold = figure[when], figure.get("threshold")
    if value is None or threshold is None:
        return False
    return bool(value < threshold if figure.get("direction") == "below" else value > threshold)
