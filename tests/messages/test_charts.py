"""Charts are looked at as pixels: what must be seen is there, what is not known is not drawn."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from bot.domain.snapshot import Direction, MetricDefinition, MetricResult, Series, Snapshot, build_result
from bot.messages.charts import Mark, render, render_strip
from bot.messages.plot import draw, draw_strip
from bot.messages.translations import Translations

AT = datetime(2026, 1, 7, 2, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEP = 20
LATENCY = MetricDefinition("latency_p95", {"es": "Latencia p95", "en": "Latency p95"}, "ms", 500, Direction.ABOVE)
FRAMES = MetricDefinition("frame_rate", {"es": "Cuadros", "en": "Frames"}, "fps", 60, Direction.BELOW)

LINE, BAD = (0, 114, 178), (213, 94, 0)
PLOT_TOP, PLOT_BOTTOM = 200, 605

Pixels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def es() -> Translations:
    return Translations("es")


def line(measure: MetricDefinition, value: Callable[[float], float | None], label: str = "") -> Series:
    """Values by the share of the hour that has passed; None is a gap."""
    count = int(HOUR.total_seconds() / STEP)
    moments = ((AT - HOUR + timedelta(seconds=STEP * index), value(index / count)) for index in range(count + 1))
    return Series(measure.query, STEP, tuple((at, v) for at, v in moments if v is not None), label)


def taken(measure: MetricDefinition, *series: Series, window: timedelta = HOUR) -> tuple[Snapshot, MetricResult]:
    found = build_result(measure, series, AT, AT - timedelta(minutes=20))
    return Snapshot("render", "xr-engine", AT, window, AT, (found,), series), found


def picture(measure: MetricDefinition, *series: Series, words: Translations, marks: tuple[Mark, ...] = ()) -> Pixels:
    snapshot, figure = taken(measure, *series)
    return pixels(draw(snapshot, figure, marks, words))


def pixels(png: bytes) -> Pixels:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(np.int64)


def columns(image: Pixels, color: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """The columns of the plot in which this colour is seen."""
    near = np.abs(image[PLOT_TOP:PLOT_BOTTOM] - np.array(color)).sum(axis=2) < 40
    return np.flatnonzero(near.any(axis=0))


def test_every_chart_is_1200_by_675_on_paper_of_its_own(es: Translations) -> None:
    snapshot, figure = taken(LATENCY, line(LATENCY, lambda _: 300))
    image = Image.open(io.BytesIO(draw(snapshot, figure, (), es)))
    assert image.size == (1200, 675)
    rgba = np.asarray(image.convert("RGBA")).astype(int)
    assert rgba[..., 3].min() == 255
    assert rgba[300, 20, :3].min() > 240


def test_the_line_is_in_the_colour_of_trouble_only_where_it_lies_beyond_the_threshold(es: Translations) -> None:
    calm = picture(LATENCY, line(LATENCY, lambda _: 300), words=es)
    broken = picture(LATENCY, line(LATENCY, lambda share: 300 if share < 0.5 else 1200), words=es)
    assert columns(calm, LINE)[-1] > 1100
    middle = 640
    blue = columns(broken, LINE)
    assert blue.min() < 150
    assert blue.max() < middle + 20
    high = np.abs(broken[PLOT_TOP:350, :] - np.array(BAD)).sum(axis=2) < 40
    assert np.flatnonzero(high.any(axis=0)).min() > middle - 20


def test_the_bad_side_is_shaded_above_or_below(es: Translations) -> None:
    above = picture(LATENCY, line(LATENCY, lambda _: 400), words=es)
    below = picture(FRAMES, line(FRAMES, lambda _: 70), words=es)
    shade = np.array([247, 235, 222])
    for image, top_is_bad in ((above, True), (below, False)):
        top, bottom = image[222, 1000], image[590, 1000]
        bad, good = (top, bottom) if top_is_bad else (bottom, top)
        assert np.abs(bad - shade).sum() < 24, bad
        assert good.min() > 245, good


def test_a_gap_stays_a_gap(es: Translations) -> None:
    whole = columns(picture(LATENCY, line(LATENCY, lambda _: 300), words=es), LINE)
    holed = columns(picture(LATENCY, line(LATENCY, lambda s: None if 0.4 < s < 0.6 else 300), words=es), LINE)
    inside = (np.arange(1200) > 560) & (np.arange(1200) < 720)
    assert np.isin(np.flatnonzero(inside), whole).all()
    assert not np.isin(np.flatnonzero(inside), holed).any()


def test_a_single_point_between_gaps_is_seen(es: Translations) -> None:
    lonely = line(LATENCY, lambda share: 300 if share < 0.2 or 0.499 < share < 0.504 else None)
    seen = columns(picture(LATENCY, lonely, words=es), LINE)
    assert ((seen > 600) & (seen < 680)).any()
    assert not ((seen > 700) & (seen < 1100)).any()


def test_no_data_is_said_in_words_where_the_line_would_be(es: Translations) -> None:
    image = picture(LATENCY, words=es)
    assert columns(image, LINE).size == 0
    ink = (image[330:480, 300:900].max(axis=2) < 140).sum()
    assert ink > 1000


def test_what_happened_is_marked_where_it_happened(es: Translations) -> None:
    half = AT - HOUR / 2
    plain = picture(LATENCY, line(LATENCY, lambda _: 300), words=es)
    marked = picture(LATENCY, line(LATENCY, lambda _: 300), words=es, marks=(Mark(half, "Detectado"),))
    assert (np.abs(plain - marked)[560:600, 600:680].sum()) > 0
    outside = picture(
        LATENCY, line(LATENCY, lambda _: 300), words=es, marks=(Mark(AT - 2 * HOUR, "x"), Mark(AT + HOUR, "y"))
    )
    assert (outside == plain).all()


def test_a_mark_of_the_same_second_as_the_snapshot_is_seen(es: Translations) -> None:
    plain = picture(LATENCY, line(LATENCY, lambda _: 300), words=es)
    now = Mark(AT + timedelta(milliseconds=900), "Declarado")
    assert (picture(LATENCY, line(LATENCY, lambda _: 300), words=es, marks=(now,)) != plain).any()


def test_five_marks_at_once_leave_the_plot_and_the_picture_whole(es: Translations) -> None:
    close = tuple(Mark(AT - timedelta(seconds=index), name) for index, name in enumerate(("Detectado",) * 5))
    image = picture(LATENCY, line(LATENCY, lambda _: 300), words=es, marks=close)
    assert columns(image, LINE).size > 900


def test_each_language_has_its_own_words() -> None:
    snapshot, figure = taken(LATENCY, line(LATENCY, lambda _: 1200))
    assert draw(snapshot, figure, (), Translations("es")) != draw(snapshot, figure, (), Translations("en"))


@pytest.mark.parametrize(
    "title",
    ["$x^2$ & <b> \\frac{1}{2}", "🔥 Latencia 🔥", "x" * 500, "línea\nnueva\ttab", "", "渲染延迟", "$", "a $ b $ c {"],
)
def test_a_hostile_title_is_drawn_as_text(title: str, es: Translations) -> None:
    measure = MetricDefinition("q", {"es": title}, "ms", 500, Direction.ABOVE)
    one = line(measure, lambda share: 300 + 900 * share, label=title)
    other = line(measure, lambda share: 200, label=title[::-1])
    assert picture(measure, one, other, words=es, marks=(Mark(AT - HOUR / 2, title[:40]),)).shape == (675, 1200, 3)


@pytest.mark.parametrize(
    "values",
    [(0.0,), (0.0, 0.0), (-5.0, 5.0), (1e15, 2e15), (1e-9, 2e-9), (500.0, 500.0), (99.99, 99.98)],
)
def test_any_magnitude_can_be_drawn(values: tuple[float, ...], es: Translations) -> None:
    for unit in ("ms", "bytes", ""):
        measure = MetricDefinition("q", {"es": "Q"}, unit, values[0], Direction.ABOVE)
        found = line(measure, lambda share: values[int(share * (len(values) - 1))])
        assert columns(picture(measure, found, words=es), LINE).size > 0


@pytest.mark.parametrize("window", [timedelta(minutes=1), timedelta(hours=6), timedelta(days=2), timedelta(days=60)])
def test_any_window_can_be_drawn(window: timedelta, es: Translations) -> None:
    points = tuple((AT - window + window * index / 100, 300.0) for index in range(101))
    snapshot, figure = taken(LATENCY, Series("latency_p95", window.total_seconds() / 100, points), window=window)
    assert columns(pixels(draw(snapshot, figure, (), es)), LINE).size > 900


async def test_charts_are_drawn_in_order(es: Translations) -> None:
    calm, broken = line(LATENCY, lambda _: 300), line(FRAMES, lambda _: 31)
    figures = (build_result(LATENCY, [calm], AT, AT), build_result(FRAMES, [broken], AT, AT))
    snapshot = Snapshot("render", "xr-engine", AT, HOUR, AT, figures, (calm, broken))
    drawn = await render(snapshot, figures, (), es)
    assert drawn == [draw(snapshot, figure, (), es) for figure in figures]
    assert await render(snapshot, figures[::-1], (), es) == drawn[::-1]


async def test_a_killed_process_is_followed_by_another_one(es: Translations) -> None:
    snapshot, figure = taken(LATENCY, line(LATENCY, lambda _: 300))
    before = await render(snapshot, [figure], (), es)
    (drawing,) = drawing_processes()
    drawing.kill()
    drawing.wait(10)
    assert await render(snapshot, [figure], (), es) == before
    assert drawing_processes() != [drawing]


async def test_what_cannot_be_drawn_is_said_and_the_next_chart_is_drawn(es: Translations) -> None:
    snapshot, figure = taken(LATENCY, line(LATENCY, lambda _: 300))
    unknown = taken(FRAMES)[1]
    with pytest.raises(RuntimeError, match="frame_rate"):
        await render(snapshot, [unknown], (), es)
    assert await render(snapshot, [figure], (), es) == [draw(snapshot, figure, (), es)]


def drawing_processes() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [one for one in children if one.is_running() and "bot.messages.chart_worker" in one.cmdline()]


def test_strip_has_metrics_below_each_other_and_changes_on_their_axis(es: Translations) -> None:
    series = [line(LATENCY, lambda share: 180 if share < 0.5 else 943), line(FRAMES, lambda share: 88)]
    found = [build_result(one, (of,), AT, AT - HOUR / 2) for one, of in zip((LATENCY, FRAMES), series, strict=True)]
    snapshot = Snapshot("render", "xr-engine", AT, HOUR, AT, tuple(found), tuple(series))
    changes = [Mark(AT - HOUR / 2, "EXPERIMENTAL_FEATURES = true", likely=True), Mark(AT - HOUR / 4, "v2.4.0")]
    image = pixels(draw_strip(snapshot, found, changes, es))
    without = pixels(draw_strip(snapshot, found, [], es))
    assert image.shape[1] == 1200 and image.shape[0] > without.shape[0]  # each change has its line below the axis
    assert len(pixels(draw_strip(snapshot, found[:1], [], es))) < len(without)
    middle = slice(590, 610)
    orange = (np.abs(image[:, middle] - np.array(BAD)).sum(axis=2) < 40).any(axis=1)
    assert orange[130:480].mean() > 0.4  # the likely change goes through all metrics
    assert not (np.abs(without[140:160, middle] - np.array(BAD)).sum(axis=2) < 40).any()


async def test_strip_is_drawn_in_the_process_of_the_charts(es: Translations) -> None:
    snapshot, figure = taken(LATENCY, line(LATENCY, lambda _: 300))
    drawn = await render_strip(snapshot, [figure], [Mark(AT - HOUR / 2, "v2.4.0 <b>*_`|")], es)
    assert Image.open(io.BytesIO(drawn)).size[0] == 1200
