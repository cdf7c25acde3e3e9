"""How a chart looks. The only module that uses matplotlib; only the chart process (`chart_worker`) imports it.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which colour-blind people can distinguish, and colour
never carries information alone. The background is fixed, so that Slack's light and dark modes do not matter. Sizes and
positions are in pixels of an image 1200 wide, which a phone shows at a third of that.
"""

from __future__ import annotations

import io
import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple

from babel.dates import format_date
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from bot.domain.forecast import BAND
from bot.domain.snapshot import Direction, Expected, MetricResult, Point, Series, Snapshot, Verdict
from bot.messages.amounts import amount
from bot.messages.charts import Mark
from bot.messages.translations import Translations, format_duration

WIDTH, HEIGHT = 1200, 675
MOST_LINES = 6
MOST_MARKS = 12
DAY = timedelta(hours=23)  # longer windows show dates

_PAPER, _INK, _FAINT, _RULE = "#FCFCFA", "#1B1F24", "#56606B", "#DADEE3"
_BAD, _BAD_INK = "#D55E00", "#A03B00"
_LINES = ("#0072B2", "#56B4E9", "#CC79A7", "#009E73", "#E69F00", "#7A7A7A")
_VERDICTS = {Verdict.OK: "#00704F", Verdict.BREACH: "#B84300", Verdict.UNKNOWN: _FAINT, Verdict.NO_THRESHOLD: _INK}
_MARGIN, _RIGHT, _BOTTOM = 40, 44, 66
_HEAD = 178  # height of title and value
_SMALL = 29  # font size of everything but title and value
_ROW, _LEADER, _GAP = 38, 40, 22
_STRIP_HEAD, _LANE, _CHANGE_ROW = 128, 190, 46  # of the metrics below each other: head, each metric, each change
_SPACINGS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
             345_600, 604_800, 1_209_600)  # fmt: skip


class Label(NamedTuple):
    """The label of a mark: the mark's x, the text's x and width, in pixels, and the font size."""

    text: str
    mark_x: float
    text_x: float
    width: float
    size: float


def draw(snapshot: Snapshot, metric: MetricResult, marks: Sequence[Mark], words: Translations) -> bytes:
    """Return a chart of one metric as a PNG of 1200 x 675 pixels. Not thread-safe: fonts are shared."""
    return Chart(snapshot, metric, marks, words).png()


def draw_strip(
    snapshot: Snapshot, metrics: Sequence[MetricResult], changes: Sequence[Mark], words: Translations
) -> bytes:
    """Return metrics and changes on one axis as a PNG, 1200 pixels wide. Not thread-safe: fonts are shared."""
    return Strip(snapshot, metrics, changes, words).png()


class _Paper:
    """A picture of so many pixels, with text whose width is known."""

    def __init__(self, height: int) -> None:
        self._height = height
        # At 72 dots per inch a point is a pixel.
        self._picture = Picture(
            figsize=(WIDTH / 72, height / 72), dpi=72, facecolor=_PAPER, edgecolor=_RULE, linewidth=4
        )
        self._canvas = FigureCanvasAgg(self._picture)
        self._renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call]

    def png(self) -> bytes:
        file = io.BytesIO()
        self._canvas.print_png(file, pil_kwargs={"compress_level": 3})  # type: ignore[no-untyped-call]
        return file.getvalue()

    def _text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text whose baseline is `y` pixels below the top of the image."""
        self._picture.text(x / WIDTH, 1 - y / self._height, _drawable(text), va="baseline", parse_math=False, **style)

    def _rule(self, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
        """Draw a line through pixels, counted from the left and from the top."""
        points = [x / WIDTH for x in xs], [1 - y / self._height for y in ys]
        self._picture.add_artist(Line2D(*points, transform=self._picture.transFigure, **style))

    def _width(self, text: str, size: float, weight: str = "normal") -> float:
        font = FontProperties(size=size, weight=weight)
        width, _, _ = self._renderer.get_text_width_height_descent(_drawable(text), font, False)
        return float(width)

    def _cut(self, text: str, room: float, size: float, weight: str = "normal") -> str:
        text = _drawable(text)[:200]
        if self._width(text, size, weight) <= room:
            return text
        most = bisect(range(len(text)), room, key=lambda length: self._width(text[:length] + "…", size, weight))
        return text[: max(most - 1, 1)].rstrip() + "…"


class Chart(_Paper):
    """The chart of one metric: title, window, value, verdict, lines, threshold, marks, and what is expected."""

    def __init__(self, snapshot: Snapshot, metric: MetricResult, marks: Sequence[Mark], words: Translations) -> None:
        super().__init__(HEIGHT)
        self._snapshot, self._metric, self._words = snapshot, metric, words
        series = [s for s in worst_first(snapshot.of(metric.query), metric) if s.points]
        self._shown = series[:MOST_LINES]
        self._hidden = metric.count - len(self._shown)
        self._ahead = snapshot.ahead.get(metric.query, ())
        self._end = self._ahead[-1].at if self._ahead else snapshot.at
        self._low, self._high = y_range(metric, self._shown, self._ahead)
        self._draw(marks)

    def _draw(self, marks: Sequence[Mark]) -> None:
        ticks = self._y_ticks()
        self._left = int(max((self._width(text, _SMALL) for _, text in ticks), default=0)) + 32
        labels = self._labels(marks)
        legend = self._names()
        top = _HEAD + _ROW * math.ceil(len(legend) / 2) + (_ROW + _LEADER if labels else 0) + 14
        self._head()
        self._plot = self._picture.add_axes(
            (self._left / WIDTH, _BOTTOM / HEIGHT, self._room / WIDTH, (HEIGHT - top - _BOTTOM) / HEIGHT),
            facecolor="none",
        )
        self._axes(ticks)
        if not self._shown:
            self._plot.text(0.5, 0.5, self._words.label("snapshot.no_data_in_window"), size=42, color=_FAINT,
                            ha="center", va="center", transform=self._plot.transAxes)  # fmt: skip
        self._threshold()
        for color, series in reversed(list(zip(_LINES, self._shown, strict=False))):
            self._line(series, color)
        if self._ahead:
            self._forecast()
        self._marks(labels, top)
        self._legend(legend)

    @property
    def _room(self) -> int:
        """The plot's width."""
        return WIDTH - self._left - _RIGHT

    def _head(self) -> None:
        metric, words, right = self._metric, self._words, WIDTH - _MARGIN
        color = _VERDICTS[metric.verdict]
        if metric.value is None:
            value, size = words.label("snapshot.verdicts.unknown"), 60
        else:
            value = amount(metric.value, metric.unit, words)
            size = 86 if len(value) < 10 else 62
        self._text(right, 96, value, size=size, weight="bold", color=color, ha="right")
        verdict = self._verdict()
        self._text(right, 150, verdict, size=31, weight="bold", color=color, ha="right")
        room = right - 2 * _MARGIN - self._width(value, size, "bold")
        title = " ".join(metric.in_language(words.locale).split())
        if self._width(title, 46, "bold") <= room:
            self._text(_MARGIN, 74, title, size=46, weight="bold", color=_INK)
        else:
            for index, line in enumerate(self._two_lines(title, room, 32)):
                self._text(_MARGIN, 52 + index * 40, line, size=32, weight="bold", color=_INK)
        when = _window(self._snapshot, words)
        room = right - 2 * _MARGIN - self._width(verdict, 31, "bold")
        smaller = next((size for size in (30, 26, 23) if self._width(when, size) <= room), 23)
        self._text(_MARGIN, 136, self._cut(when, room, smaller), size=smaller, color=_FAINT)

    def _verdict(self) -> str:
        metric, words = self._metric, self._words
        if metric.verdict is Verdict.UNKNOWN:
            newest = max((series.points[-1][0] for series in self._shown), default=None)
            return f"{words.label('snapshot.last_data')} {_clock(newest, self._snapshot, words)}" if newest else ""
        above = metric.direction is Direction.ABOVE
        sign = {Verdict.OK: "✔ ", Verdict.BREACH: "▲ " if above else "▼ "}.get(metric.verdict, "")
        parts = [f"{sign}{words.label(f'snapshot.verdicts.{metric.verdict}')}"] if sign else []
        if metric.normal is not None:
            parts.append(f"{words.label('snapshot.normal')} {amount(metric.normal, metric.unit, words)}")
        return " · ".join(parts)

    def _y_ticks(self) -> list[tuple[float, str]]:
        """Return the ticks of the y axis with their labels."""
        unit = self._metric.unit if self._metric.unit in ("bytes", "%") else ""
        scale = 1024.0 ** int(math.log(self._high, 1024)) if unit == "bytes" and self._high > 1 else 1
        nice = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(self._low / scale, self._high / scale)
        ticks = [float(tick) * scale for tick in nice]
        return [(tick, amount(tick, unit, self._words)) for tick in ticks if self._low <= tick <= self._high]

    def _axes(self, heights: Sequence[tuple[float, str]]) -> None:
        plot, start, end = self._plot, self._snapshot.start.timestamp(), self._end.timestamp()
        plot.set_xlim(start, end)
        plot.set_ylim(self._low, self._high)
        spacing = next((s for s in _SPACINGS if (end - start) / s <= 6), _SPACINGS[-1])
        ticks = [tick for i in range(8) if start <= (tick := (start // spacing + i) * spacing) <= end]
        plot.set_xticks(ticks, [_tick(tick, spacing, self._words) for tick in ticks])
        plot.set_yticks([tick for tick, _ in heights], [text for _, text in heights])
        plot.tick_params(labelsize=_SMALL, colors=_FAINT, length=0, pad=10)
        plot.grid(axis="y", color=_RULE, linewidth=2)
        plot.set_axisbelow(True)
        for side in ("top", "right", "left"):
            plot.spines[side].set_visible(False)
        plot.spines["bottom"].set(color=_FAINT, linewidth=3)

    def _threshold(self) -> None:
        metric, plot = self._metric, self._plot
        if metric.threshold is None:
            return
        above = metric.direction is Direction.ABOVE
        edge = self._high if above else self._low
        plot.axhspan(metric.threshold, edge, facecolor=_BAD, alpha=0.11, linewidth=0, zorder=0)
        plot.axhline(metric.threshold, color=_BAD, linewidth=4, dashes=(3, 2), zorder=3)
        beyond = abs(edge - metric.threshold) / (self._high - self._low) * plot.bbox.height
        over = above == (beyond > 48)  # put the label on the bad side if there is room
        limit = f"{self._words.label('snapshot.threshold')} {amount(metric.threshold, metric.unit, self._words)}"
        plot.annotate(limit, (self._snapshot.start.timestamp(), metric.threshold), (10, 8 if over else -8),
                      textcoords="offset points", size=_SMALL, color=_BAD_INK, va="bottom" if over else "top",
                      zorder=5, parse_math=False,
                      bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 2})  # fmt: skip

    def _line(self, series: Series, color: str) -> None:
        """Draw a line, in the breach colour beyond the threshold. Gaps stay gaps."""
        metric, plot = self._metric, self._plot
        stretches = list(runs(series))
        xs = [x for run in stretches for x in (*(at.timestamp() for at, _ in run), math.nan)]
        ys = [y for run in stretches for y in (*(value for _, value in run), math.nan)]
        style: dict[str, Any] = {"linewidth": 6, "solid_capstyle": "round", "solid_joinstyle": "round"}
        plot.plot(xs, ys, color=color, zorder=4, **style)
        alone = [run[0] for run in stretches if len(run) == 1]
        plot.plot([at.timestamp() for at, _ in alone], [value for _, value in alone], "o", ms=9, color=color, zorder=4)
        if metric.threshold is not None and len(self._shown) == 1:
            edge = self._high if metric.direction is Direction.ABOVE else self._low
            left, right = plot.get_xlim()
            (beyond,) = plot.plot(xs, ys, color=_BAD, zorder=4.5, **style)
            beyond.set_clip_path(
                Rectangle((left, metric.threshold), right - left, edge - metric.threshold, transform=plot.transData)
            )
        if metric.value is not None and series is self._shown[0]:
            plot.plot([self._snapshot.at.timestamp()], [metric.value], "o", ms=18, mew=0,
                      color=_VERDICTS[metric.verdict], clip_on=False, zorder=6)  # fmt: skip

    def _forecast(self) -> None:
        """Draw what is expected as a dashed line from the last value on, within the band of its interval."""
        now = self._metric.value
        first = [] if now is None else [Expected(self._snapshot.at, now, now, now)]
        points = [*first, *self._ahead]
        times = [one.at.timestamp() for one in points]
        low, high = [one.low for one in points], [one.high for one in points]
        self._plot.fill_between(times, low, high, color=_LINES[0], alpha=0.18, linewidth=0, zorder=1)
        self._plot.plot(times, [one.value for one in points], color=_LINES[0], linewidth=4, dashes=(2, 1.5), zorder=3.5)
        text = f"{self._words.label('snapshot.forecast')} ({amount(100 * BAND, '%', self._words)})"
        self._plot.text(0.995, 0.03, text, size=_SMALL, color=_FAINT, ha="right", va="bottom", zorder=5,
                        transform=self._plot.transAxes, parse_math=False,
                        bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 2})  # fmt: skip

    def _labels(self, marks: Sequence[Mark]) -> list[Label]:
        """Return the visible marks with their labels in one row, each as close to its mark as the others allow."""
        start, at = self._snapshot.start, self._snapshot.at
        # a snapshot's time is truncated to whole seconds
        shown = [mark for mark in marks if start <= mark.at < at + timedelta(seconds=1)][-MOST_MARKS:]
        shown.sort(key=lambda mark: mark.at)
        room = WIDTH - 2 * _MARGIN
        size = next((s for s in (_SMALL, 26, 23) if sum(self._width(m.text, s) + _GAP for m in shown) <= room), 20)
        texts = [self._cut(mark.text, room / len(shown) - _GAP, size) if size == 20 else mark.text for mark in shown]
        widths = [self._width(text, size) for text in texts]
        window = self._end - start
        mark_xs = [self._left + (min(mark.at, at) - start) / window * self._room for mark in shown]
        ideal_xs = [x - width / 2 for x, width in zip(mark_xs, widths, strict=True)]
        text_xs = side_by_side(ideal_xs, widths, _GAP, 16, WIDTH - 16)
        return [Label(*label, size) for label in zip(texts, mark_xs, text_xs, widths, strict=True)]

    def _marks(self, labels: Sequence[Label], top: int) -> None:
        for label in labels:
            foot = min(max(label.mark_x, label.text_x + 8), label.text_x + label.width - 8)
            leader = [(foot, top - _LEADER), (label.mark_x, top - 4)]
            line = [(label.mark_x, top - 4), (label.mark_x, HEIGHT - _BOTTOM)]
            for points, dashes in ((leader, (None, None)), (line, (2, 2))):
                xs, ys = [x for x, _ in points], [y for _, y in points]
                self._rule(xs, ys, color=_FAINT, linewidth=2.5, dashes=dashes, zorder=2)
            self._text(label.text_x, top - _LEADER - 12, label.text, size=label.size, color=_INK)

    def _names(self) -> list[str]:
        """Return the names of the lines if there are several."""
        if len(self._shown) < 2:
            return []
        room = (WIDTH - 2 * _MARGIN) / 2 - 60
        names = [
            self._cut(series.label or self._words.label("snapshot.unnamed"), room, _SMALL) for series in self._shown
        ]
        return [*names, self._words.label("snapshot.and_more", count=self._hidden)] if self._hidden > 0 else names

    def _legend(self, names: Sequence[str]) -> None:
        for index, name in enumerate(names):
            x = _MARGIN if index % 2 == 0 else WIDTH / 2 + 10
            y = _HEAD + _ROW * (index // 2 + 1) - 12
            if index < len(self._shown):
                self._rule([x, x + 32], [y - 10] * 2, color=_LINES[index], linewidth=9)
            self._text(x + 46, y, name, size=_SMALL, color=_INK)

    def _two_lines(self, text: str, room: float, size: float) -> list[str]:
        first = self._cut(text, room, size, "bold").removesuffix("…")
        if " " in first and len(first) < len(text):
            first = first[: first.rindex(" ")]
        rest = text[len(first) :].strip()
        return [first, self._cut(rest, room, size, "bold")] if rest else [first]


class Strip(_Paper):
    """Metrics below each other, and through all of them the changes, numbered: their list is below the axis."""

    def __init__(
        self, snapshot: Snapshot, metrics: Sequence[MetricResult], changes: Sequence[Mark], words: Translations
    ) -> None:
        self._snapshot, self._words = snapshot, words
        self._changes = sorted(changes, key=lambda change: change.at)
        self._foot = _STRIP_HEAD + len(metrics) * _LANE
        super().__init__(self._foot + _BOTTOM + len(self._changes) * _CHANGE_ROW + _MARGIN)
        when = self._cut(_window(snapshot, words), WIDTH - 2 * _MARGIN, 40, "bold")
        self._text(_MARGIN, 66, when, size=40, weight="bold", color=_INK)
        for number, metric in enumerate(metrics):
            self._lane(metric, _STRIP_HEAD + number * _LANE, is_last=number == len(metrics) - 1)
        self._numbers()
        for row, change in enumerate(self._changes):
            self._change(row, change)

    def _lane(self, metric: MetricResult, top: int, *, is_last: bool) -> None:
        """Draw one metric: its name and value, its worst line, its threshold."""
        color = _VERDICTS[metric.verdict]
        value = "?" if metric.value is None else amount(metric.value, metric.unit, self._words)
        if metric.value is not None and metric.normal is not None:
            value = f"{amount(metric.normal, metric.unit, self._words)} → {value}"
        over: dict[str, Any] = {"size": _SMALL, "bbox": {"facecolor": _PAPER, "edgecolor": "none", "pad": 3}}
        self._text(WIDTH - _RIGHT, top + 34, value, weight="bold", color=color, ha="right", **over)
        room = WIDTH - _RIGHT - _MARGIN - self._width(value, _SMALL, "bold") - _GAP
        self._text(
            _MARGIN, top + 34, self._cut(metric.in_language(self._words.locale), room, _SMALL), color=_INK, **over
        )
        series = [one for one in worst_first(self._snapshot.of(metric.query), metric) if one.points][:1]
        low, high = y_range(metric, series)
        plot = self._picture.add_axes(
            (_MARGIN / WIDTH, 1 - (top + _LANE - 14) / self._height, self._room / WIDTH, (_LANE - 64) / self._height),
            facecolor="none",
        )
        start, end = self._snapshot.start.timestamp(), self._snapshot.at.timestamp()
        plot.set_xlim(start, end)
        plot.set_ylim(low, high)
        spacing = next((s for s in _SPACINGS if (end - start) / s <= 6), _SPACINGS[-1])
        ticks = [tick for i in range(8) if start <= (tick := (start // spacing + i) * spacing) <= end]
        plot.set_xticks(ticks, [_tick(tick, spacing, self._words) if is_last else "" for tick in ticks])
        plot.set_yticks([])
        plot.tick_params(labelsize=_SMALL, colors=_FAINT, length=0, pad=10)
        for side in ("top", "right", "left"):
            plot.spines[side].set_visible(False)
        plot.spines["bottom"].set(color=_FAINT, linewidth=3)
        if metric.threshold is not None:
            plot.axhline(metric.threshold, color=_BAD, linewidth=3, dashes=(3, 2), zorder=3)
        for one in series:
            for run in runs(one):
                xs, ys = [at.timestamp() for at, _ in run], [value for _, value in run]
                plot.plot(xs, ys, "-" if len(run) > 1 else "o", color=_LINES[0], linewidth=6, ms=9, zorder=4)

    @property
    def _room(self) -> int:
        return WIDTH - _MARGIN - _RIGHT

    def _numbers(self) -> None:
        """Draw each change's line, and its number at its head, as close to it as the others allow."""
        xs = [_MARGIN + (one.at - self._snapshot.start) / self._snapshot.window * self._room for one in self._changes]
        widths = [self._width(str(number), _SMALL, "bold") for number in range(1, len(xs) + 1)]
        places = side_by_side([x - w / 2 for x, w in zip(xs, widths, strict=True)], widths, _GAP, 16, WIDTH - 16)
        for number, (change, x, place) in enumerate(zip(self._changes, xs, places, strict=True), start=1):
            color, width = (_BAD, 5.0) if change.likely else (_FAINT, 2.5)
            self._rule([x, x], [_STRIP_HEAD, self._foot - 14], color=color, linewidth=width, dashes=(2, 2), zorder=2)
            self._text(place, _STRIP_HEAD - 10, str(number), size=_SMALL, weight="bold",
                       color=_BAD_INK if change.likely else _INK)  # fmt: skip

    def _change(self, row: int, change: Mark) -> None:
        y = self._foot + _BOTTOM + (row + 1) * _CHANGE_ROW - 12
        weight, color = ("bold", _BAD_INK) if change.likely else ("normal", _INK)
        text = f"{row + 1}  {_clock(change.at, self._snapshot, self._words)}  {change.text}"
        shown = self._cut(text, WIDTH - 2 * _MARGIN, _SMALL, weight)
        self._text(_MARGIN, y, shown, size=_SMALL, weight=weight, color=color)


def _drawable(text: str) -> str:
    """Return text without line breaks and without characters that the font lacks."""
    spaced = (" " if char.isspace() else char for char in text)
    return "".join(char for char in spaced if ord(char) in _glyphs())


@cache
def _glyphs() -> frozenset[int]:
    """Return the characters of matplotlib's default font."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def _window(snapshot: Snapshot, words: Translations) -> str:
    """Return service and window: `xr-engine · 01:14–02:14 UTC`."""
    end = _clock(snapshot.at, snapshot, words)
    long = snapshot.window > DAY
    when = f"{format_duration(snapshot.window)} → {end}" if long else f"{_clock(snapshot.start, snapshot, words)}–{end}"
    return " · ".join(part for part in (snapshot.service, f"{when} UTC") if part)


def _tick(at: float, spacing: int, words: Translations) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if spacing >= 86_400 or (spacing >= 3600 and moment.hour == moment.minute == 0):
        return format_date(moment, "d MMM", locale=words.locale)
    return f"{moment:%H:%M:%S}" if spacing < 60 else f"{moment:%H:%M}"


def _clock(moment: datetime, snapshot: Snapshot, words: Translations) -> str:
    day = f"{format_date(moment, 'd MMM', locale=words.locale)} " if snapshot.window > DAY else ""
    return f"{day}{moment:%H:%M}"


def side_by_side(
    wanted: Sequence[float], widths: Sequence[float], gap: float, first: float, last: float
) -> list[float]:
    """Return the x positions of labels in a row between `first` and `last`, as close to their wanted ones as possible.

    Without the widths of the labels before it, a label's position must not decrease from one to the next: the closest
    such sequence is found by isotonic regression (pool adjacent violators).
    """
    before = [0.0, *accumulate(width + gap for width in widths)]
    pools: list[list[float]] = []
    for position, offset in zip(wanted, before, strict=False):
        pools.append([position - offset])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    most = last - (before[-1] - gap)
    means = [fmean(pool) for pool in pools for _ in pool]
    return [max(min(mean, most), first) + offset for mean, offset in zip(means, before, strict=False)]


def y_range(metric: MetricResult, shown: Sequence[Series], ahead: Sequence[Expected] = ()) -> tuple[float, float]:
    """Return the lowest and highest value of the plot.

    It contains the threshold and what is expected, and 0 unless all values are far above.
    """
    values = [value for series in shown for _, value in series.points]
    values += [bound for one in ahead for bound in (one.low, one.high)]
    values += [] if metric.threshold is None else [metric.threshold]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if 0 <= low <= 0.75 * high or low == high >= 0:
        return (high or 1.0) * -0.02, (high or 1.0) * 1.15  # keeps a line at zero fully visible
    margin = (high - low or abs(high)) * 0.2
    return low - margin, high + margin


def runs(series: Series) -> Iterator[list[Point]]:
    """Yield the points in stretches without gaps."""
    run: list[Point] = []
    for point in series.points:
        if run and (point[0] - run[-1][0]).total_seconds() > 1.5 * series.step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def worst_first(series: Sequence[Series], metric: MetricResult) -> list[Series]:
    """Return the metric's own series first, then the others by how bad their last value is."""

    def sort_key(series: Series) -> tuple[bool, float]:
        last = series.points[-1][1] if series.points else -math.inf
        return series.label != metric.label, last if metric.direction is Direction.BELOW else -last

    return sorted(series, key=sort_key)
