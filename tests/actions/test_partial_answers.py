"""What answers like Prometheus and has not all the data: it is said, and never taken for healthy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.actions.boards import Board, query_board
from bot.domain.snapshot import (
    Assessment,
    MetricDefinition,
    MetricResult,
    Snapshot,
    Trend,
    Verdict,
    assess,
    compare,
    trend,
)
from bot.integrations.prometheus import Prometheus
from bot.messages.snapshot import comparison, snapshot
from bot.messages.translations import load_translations
from tests.harness.serving import served

AT = datetime(2026, 1, 7, 3, 0, tzinfo=UTC)
LATENCY = MetricDefinition("latency", {"es": "Latencia", "en": "Latency"}, "ms", 500)


def series(value: str, *, pod: str = "a", last: timedelta = timedelta(0)) -> dict[str, Any]:
    """A series with a value each 15 s for half an hour, until `last` ago."""
    end = (AT - last).timestamp()
    return {"metric": {"pod": pod}, "values": [[end - 15 * step, value] for step in reversed(range(120))]}


def answering(**body: Any) -> Iterator[str]:
    async def answer(_: Request) -> Response:
        data = {"resultType": "matrix", "result": body.pop("result", [series("12.5")])}
        return JSONResponse({"status": "success", "data": data, **body})

    with served(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])) as url:
        yield url


async def taken(**body: Any) -> Snapshot:
    for url in answering(**body):
        return await query_board(Prometheus(url), Board("b", None, [(LATENCY, "x")]), AT)
    raise AssertionError


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"warnings": ["store gateway-2: partial response"]}, "partial response"),  # Thanos, Mimir
        ({"isPartial": True}, "partial response"),  # VictoriaMetrics
        ({"warnings": ["a", "b"], "infos": ["c"]}, "a; b"),
    ],
)
async def test_a_partial_answer_is_incomplete_and_never_in_bounds(body: dict[str, Any], why: str) -> None:
    after = await taken(**body)
    (metric,) = after.figures
    assert (metric.value, metric.verdict) == (12.5, Verdict.UNKNOWN) and why in metric.incomplete
    for language, word in (("es", "incompleto"), ("en", "incomplete")):
        text = snapshot(after, load_translations()[language], title="b", moment="asked").text
        rows = str(snapshot(after, load_translations()[language], title="b", moment="asked").to_dict())
        assert word in rows and why in rows and "✅ *Lat" not in rows and text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"infos": ["the metric might be no counter"]},
        {"warnings": []},
        {"warnings": ['PromQL info: metric might not be a counter, name does not end in _total: "x"']},
        {"isPartial": False},
    ],
)
async def test_what_is_whole_is_in_bounds(body: dict[str, Any]) -> None:
    (metric,) = (await taken(**body)).figures
    assert metric.verdict is Verdict.OK and not metric.incomplete


async def test_a_breach_is_one_though_data_is_missing() -> None:
    (metric,) = (await taken(result=[series("900")], warnings=["partial"])).figures
    assert metric.verdict is Verdict.BREACH


async def test_what_has_a_value_now_comes_before_what_is_gone() -> None:
    dead = [series("9000", pod=f"dead-{n}", last=timedelta(minutes=9)) for n in range(60)]
    live = [series("20", pod="live-a"), series("30", pod="live-b")]
    after = await taken(result=[*dead, *live])
    assert [one.label for one in after.series[:2]] == ["live-b", "live-a"]
    assert (after.figures[0].value, after.figures[0].label) == (30, "live-b")


def result(value: float | None, incomplete: str = "") -> MetricResult:
    return MetricResult("latency", {"en": "Latency"}, "ms", 500, value=value, incomplete=incomplete)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (result(900), result(None), Trend.GONE),
        (result(100), result(None), Trend.UNKNOWN),
        (result(None), result(100), Trend.UNKNOWN),
        (result(900), result(None, "partial"), Trend.UNKNOWN),
        (result(900), result(100, "partial"), Trend.UNKNOWN),
        (result(900), result(100), Trend.BETTER),
    ],
)
def test_a_figure_that_went_away_with_the_fault_is_told_as_such(
    before: MetricResult, after: MetricResult, expected: Trend
) -> None:
    assert trend(before, after) is expected


def test_a_figure_that_is_gone_proves_nothing_and_is_said_to_be_gone() -> None:
    before, after = (
        Snapshot("b", None, AT, timedelta(hours=1), AT, figures=(figure,)) for figure in (result(900), result(None))
    )
    assert assess(compare(before, after)) is Assessment.UNKNOWN
    assert "no data any more" in str(comparison(before, after, load_translations()["en"], title="b").to_dict())


def test_an_older_snapshot_is_read_without_what_it_does_not_have() -> None:
    content = Snapshot("b", None, AT, timedelta(hours=1), AT, figures=(result(900),)).to_json()
    del content["figures"][0]["incomplete"]
    assert Snapshot.from_json(content).figures[0].incomplete == ""
