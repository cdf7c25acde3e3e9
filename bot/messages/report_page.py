"""The report as a page: HTML of its Markdown, with SVG charts that follow the reader's light or dark mode."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from bot.domain.phases import Parts
from bot.domain.snapshot import Direction, MetricResult, Point, Series, Snapshot
from bot.messages.amounts import amount
from bot.messages.translations import Translations
from bot.shipped import TEMPLATES

_ANCHOR = re.compile(r'<a id="([a-z0-9-]+)"></a>')
_BOXES = {"[ ] ": "☐ ", "[x] ": "☑ "}
WIDTH, HEIGHT = 640, 250  # shown at 362 on a phone: texts of 20 are 11 there
LEFT, RIGHT, TOP, BOTTOM = 8, 632, 46, 214
MOST_LINES = 4
GAP = 2.5  # in steps of a series: what is further apart is not joined
STYLE = """
.t{fill:#1b1f24;font:700 24px system-ui,sans-serif}.s{fill:#57606a;font:20px system-ui,sans-serif}
.l{fill:none;stroke:#0a58a8;stroke-width:3;stroke-linejoin:round;stroke-linecap:round}.o{stroke-opacity:.35}
.m{stroke:#a33a00;stroke-width:2;stroke-dasharray:8 5}.w{fill:#a33a00;font:20px system-ui,sans-serif}
.b{fill:#e0a23b;fill-opacity:.16}.a{stroke:#d8dee4}
@media(prefers-color-scheme:dark){.t{fill:#e6e9ed}.s{fill:#9aa5b1}.l{stroke:#78b7f0}.m{stroke:#ffab85}.w{fill:#ffab85}
.a{stroke:#2e353d}}
"""


@dataclass(frozen=True, slots=True)
class PageContext:
    """What the report's page needs besides its Markdown: title, language, charts (SVG) by file name, and the bar."""

    title: str
    words: Translations
    pictures: Mapping[str, bytes]
    parts: Parts


def report_page(markdown: str, page: PageContext) -> str:
    """Return the report's HTML.

    HTML in the Markdown is shown as text, except the anchors `<a id="…"></a>` of our templates.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("fence", lambda *_: _bar(page))  # the only code block of the report is its bar
    parser.inline.ruler.before("html_inline", "anchor", _anchor)
    environment: dict[str, object] = {}
    tokens = parser.parse(markdown, environment)
    _tick_boxes(tokens)
    body = parser.renderer.render(_with_pictures(tokens, page.pictures), parser.options, environment)
    named = escape(page.words.label("report.table"))
    frame = f'<div class="table" tabindex="0" role="group" aria-label="{named}">'  # it scrolls, also by keys
    body = body.replace("<table>", f"{frame}<table>").replace("</table>", "</table></div>")
    if page.parts.by_phase:  # then the first table is that of the two figures
        body = body.replace(frame, '<div class="figures">', 1)
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("report.html.j2")
    return template.render(title=page.title, locale=page.words.locale, body=body)


def _bar(page: PageContext) -> str:
    """Return the bar of where the time went, with a legend that says the same in words."""
    parts, label = page.parts, page.words.label
    named = [(phase, escape(label(f"report.phases.{phase}")), took) for phase, took in parts.by_phase.items()]
    said = ", ".join(f"{name} {took} {parts.unit}" for _, name, took in named)
    slices = "".join(f'<i class="{phase}" style="flex:{took}"></i>' for phase, _, took in named if took)
    rows = "".join(f'<li><i class="{phase}"></i>{name}<b>{took} {parts.unit}</b></li>' for phase, name, took in named)
    return f'<div class="bar" role="img" aria-label="{said}">{slices}</div>\n<ul class="legend">{rows}</ul>\n'


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
                image.attrSet("src", f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}")
    return tokens


def draw_svg(
    snapshot: Snapshot, metric: MetricResult, words: Translations, outage: tuple[datetime, datetime | None]
) -> bytes:
    """Return the chart of one metric over the snapshot's window, with its limit and the time of the outage (UTC)."""
    chart = _Chart(snapshot, metric)
    title = f"{metric.in_language(words.locale)}: {amount(metric.value, metric.unit, words)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"><style>{STYLE}</style>',
        f'<text class="t" x="{LEFT}" y="28">{escape(title)}</text>',
        chart.band(*outage),
        f'<line class="a" x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{BOTTOM}"/>',
    ]
    if metric.threshold is not None:
        y = chart.y(metric.threshold)
        label = f"{words.label(f'snapshot.limits.{metric.direction}')} {amount(metric.threshold, metric.unit, words)}"
        parts.append(f'<line class="m" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text class="w" x="{RIGHT}" y="28" text-anchor="end">- - {escape(label)}</text>')
    for position, series in reversed(list(enumerate(chart.series))):
        parts += [f'<polyline class="l{" o" if position else ""}" points="{line}"/>' for line in chart.lines(series)]
    if not chart.series:
        parts.append(f'<text class="s" x="{LEFT}" y="130">{escape(words.label("snapshot.no_data_in_window"))}</text>')
    parts.append(f'<text class="s" x="{LEFT}" y="242">{snapshot.start:%H:%M}</text>')
    parts.append(f'<text class="s" x="{RIGHT}" y="242" text-anchor="end">{snapshot.at:%H:%M} UTC</text></svg>')
    return "".join(parts).encode()


class _Chart:
    """Places of times and values in the picture."""

    def __init__(self, snapshot: Snapshot, metric: MetricResult) -> None:
        self._snapshot = snapshot
        series = [series for series in snapshot.of(metric.query) if series.points]
        series.sort(key=lambda series: series.points[-1][1], reverse=metric.direction is Direction.ABOVE)
        self.series = series[:MOST_LINES]
        values = [value for series in self.series for _, value in series.points]
        values += [] if metric.threshold is None else [metric.threshold]
        low, high = min(values, default=0.0), max(values, default=1.0)
        margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        self._low, self._high = (0.0 if 0 <= low < high / 2 else low - margin), high + margin

    def x(self, at: datetime) -> float:
        share = (at - self._snapshot.start) / self._snapshot.window
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        return BOTTOM - (value - self._low) / (self._high - self._low) * (BOTTOM - TOP)

    def band(self, began: datetime, ended: datetime | None) -> str:
        left, right = self.x(began), self.x(ended or self._snapshot.at)
        return f'<rect class="b" x="{left:.1f}" y="{TOP}" width="{max(right - left, 1):.1f}" height="{BOTTOM - TOP}"/>'

    def lines(self, series: Series) -> Iterator[str]:
        """Yield the points of each stretch without a gap."""
        for stretch in _stretches(series.points, timedelta(seconds=series.step) * GAP):
            yield " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in stretch)


def _stretches(points: Sequence[Point], gap: timedelta) -> Iterator[list[Point]]:
    stretch: list[Point] = []
    for point in points:
        if stretch and point[0] - stretch[-1][0] > gap:
            yield stretch
            stretch = []
        stretch.append(point)
    if stretch:
        yield stretch
