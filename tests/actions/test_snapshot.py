"""Which figures a person means, and how they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.actions.boards import board, query_board, validate_board
from bot.domain.errors import BadInput, NotFound, Refused, Unavailable
from bot.domain.snapshot import Direction, Verdict
from bot.integrations.prometheus import Prometheus
from bot.team import TeamFile, load_team
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.prometheus.api import routes
from sandbox.prometheus.backend import Prometheus as SandboxPrometheus
from tests.contract.samples import BEGIN, lines, tsdb
from tests.harness.serving import served

AT = datetime.fromtimestamp(BEGIN / 1000, UTC) + timedelta(hours=2)
TEAM = load_team(Path(__file__).parents[2] / "teams" / "tamv" / "team.yaml")
STATUSES = 'sum by (status) (rate(http_requests_total{service="xr-engine"}[5m]))'


def team(**changes: Any) -> TeamFile:
    return TeamFile.model_validate(TEAM.model_dump(mode="json") | changes)


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def url(faults: Faults) -> Iterator[str]:
    backend = SandboxPrometheus(tsdb(lines()), Clock())
    app = Starlette(
        routes=[Mount("/prometheus", routes=routes(backend))],
        middleware=[Middleware(FaultsMiddleware, faults=faults)],
    )
    with served(app) as base:
        yield f"{base}/prometheus"


@pytest.fixture
def prometheus(url: str, faults: Faults) -> Iterator[Prometheus]:
    yield Prometheus(url, timeout=0.5)
    faults.clear()


def test_without_a_word_it_is_the_board_of_the_service() -> None:
    found = board(TEAM, None, "xr-engine")
    assert (found.name, found.service, found.title["es"]) == ("render", "xr-engine", "Render 4D")
    assert [measure.query for measure, _ in found.queries] == [
        "latency_p95",
        "error_rate",
        "gpu_utilization",
        "frame_rate",
    ]
    frames, promql = found.queries[3]
    assert (frames.unit, frames.threshold, frames.direction) == ("fps", 60, Direction.BELOW)
    assert promql == 'avg(xr_frame_rate{service="xr-engine"})'


def test_without_a_service_it_is_the_teams_default_one() -> None:
    assert (board(TEAM).name, board(TEAM).service) == ("service", "tamv-core")


def test_a_board_a_query_and_a_service_are_found_by_name() -> None:
    assert len(board(TEAM, "render", "isabella-ai").queries) == 4
    assert 'service="isabella-ai"' in board(TEAM, "render", "isabella-ai").queries[0][1]
    assert [measure.query for measure, _ in board(TEAM, " error_rate ").queries] == ["error_rate"]
    assert (board(TEAM, "xr-engine").name, board(TEAM, "xr-engine").service) == ("render", "xr-engine")


def test_anything_else_is_promql_and_belongs_to_no_service() -> None:
    found = board(TEAM, STATUSES)
    assert (found.in_team_file, found.service, found.queries[0][1]) == (False, None, STATUSES)
    own = board(TEAM, 'up{service="$service",namespace="$namespace"}', "xr-engine")
    assert (own.service, own.queries[0][1]) == ("xr-engine", 'up{service="xr-engine",namespace="tamv-prod"}')


@pytest.mark.parametrize("service", ["xr-engin", 'xr-engine"} or vector(1) or x{a="', "*", ".*"])
def test_only_services_of_the_teams_file_come_into_a_query(service: str) -> None:
    for what in (None, "render", 'up{service="$service"}'):
        with pytest.raises(BadInput) as refused:
            board(TEAM, what, service)
        assert refused.value.key == "unknown_service"
    with pytest.raises(BadInput) as refused:
        board(TEAM, None, "xr-engin")
    assert refused.value.facts["nearest"] == "xr-engine"


def test_a_service_without_a_board_is_asked_for_one() -> None:
    bare = team(services={"lonely": {}}, default_service=None, status_page={}, forecasts={})
    for service, key in (("lonely", "no_board"), (None, "no_board")):
        with pytest.raises(BadInput) as refused:
            board(bare, None, service)
        assert refused.value.key == key
    with pytest.raises(BadInput) as refused:
        board(bare, "latency_p95")
    assert refused.value.key == "service_needed"


async def test_a_word_that_names_nothing_is_told_the_nearest_name(prometheus: Prometheus) -> None:
    for word, nearest in (("lattency_p95", "latency_p95"), ("rendr", "render"), ("xr-engin", "xr-engine")):
        with pytest.raises(NotFound) as unknown:
            await validate_board(prometheus, TEAM, board(TEAM, word), AT)
        assert unknown.value.facts["nearest"] == nearest


async def test_of_promql_prometheus_is_the_judge(prometheus: Prometheus) -> None:
    await validate_board(prometheus, TEAM, board(TEAM, STATUSES), AT)
    await validate_board(
        prometheus, TEAM, board(TEAM, "xr_frame_rate"), AT
    )  # a metric that the catalogue does not hold
    await validate_board(prometheus, TEAM, board(TEAM, "absent_metric > 1"), AT)  # nothing now is an answer too
    with pytest.raises(Refused) as refused:
        await validate_board(prometheus, TEAM, board(TEAM, "sum(rate(x[5m])"), AT)
    assert refused.value.key == "promql_wrong"


async def test_a_silent_prometheus_is_not_taken_for_a_wrong_name(prometheus: Prometheus, faults: Faults) -> None:
    faults.add("prometheus", "status", status=503, times=None)
    with pytest.raises(Unavailable):
        await validate_board(prometheus, TEAM, board(TEAM, "lattency_p95"), AT)
    await validate_board(
        prometheus, TEAM, board(TEAM, "render", "xr-engine"), AT
    )  # the file holds it: nothing is asked


async def test_the_figures_are_those_of_the_moment_with_their_lines(prometheus: Prometheus) -> None:
    taken = await query_board(prometheus, board(TEAM, "render", "xr-engine"), AT, start=AT - timedelta(minutes=40))
    assert [figure.query for figure in taken.figures] == ["latency_p95", "error_rate", "gpu_utilization", "frame_rate"]
    assert (taken.at, taken.window, taken.missing) == (AT, timedelta(minutes=40), ())
    for figure in taken.figures:
        (line,) = taken.of(figure.query)
        assert line.points[-1] == (AT, figure.value)
        assert line.points[0][0] == AT - timedelta(minutes=40)
        assert figure.normal == line.median(AT)
        assert figure.verdict in (Verdict.OK, Verdict.BREACH)


@pytest.mark.parametrize(
    ("asked", "window"),
    [
        (timedelta(seconds=1), timedelta(minutes=1)),
        (timedelta(minutes=7, seconds=1), timedelta(minutes=7, seconds=5)),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=3), timedelta(days=3)),
        (timedelta(days=900), timedelta(days=60)),
    ],
)
async def test_any_window_is_a_few_hundred_points_that_end_at_the_moment(
    prometheus: Prometheus, asked: timedelta, window: timedelta
) -> None:
    taken = await query_board(prometheus, board(TEAM, "vector(1)"), AT, start=AT - asked)
    (line,) = taken.series
    assert taken.window == window
    assert line.points[0][0] == taken.start
    assert line.points[-1][0] == AT
    assert 10 <= len(line.points) <= 260


async def test_normal_ends_where_the_incident_began(prometheus: Prometheus) -> None:
    began = AT - timedelta(minutes=20)
    taken = await query_board(prometheus, board(TEAM, "time()"), AT, calm_until=began)
    assert taken.figures[0].normal == pytest.approx((AT - timedelta(minutes=40)).timestamp(), abs=30)


async def test_the_worst_series_come_first_and_are_told_apart_by_what_differs(prometheus: Prometheus) -> None:
    taken = await query_board(prometheus, board(TEAM, STATUSES), AT)
    (figure,) = taken.figures
    last = [one.points[-1][1] for one in taken.series]
    assert last == sorted(last, reverse=True)
    assert figure.count == len(taken.series) > 1
    assert figure.label == taken.series[0].label == "200"


async def test_what_prometheus_refuses_is_missing_and_the_rest_is_there(prometheus: Prometheus) -> None:
    queries = TEAM.model_dump(mode="json")["queries"] | {
        "frame_rate": {"title": {"es": "Cuadros", "en": "Frames"}, "promql": "avg("}
    }
    taken = await query_board(prometheus, board(team(queries=queries), "render", "xr-engine"), AT)
    assert [figure.query for figure in taken.figures] == ["latency_p95", "error_rate", "gpu_utilization"]
    (missing,) = taken.missing
    assert (missing.measure.query, missing.error, missing.temporary) == ("frame_rate", "promql_wrong", False)


async def test_a_blip_is_waited_out(prometheus: Prometheus, faults: Faults) -> None:
    faults.add("prometheus", "drop_before", times=4)
    taken = await query_board(prometheus, board(TEAM, "render", "xr-engine"), AT)
    assert (len(taken.figures), taken.missing) == (4, ())


@pytest.mark.parametrize(
    ("fault", "facts", "error"),
    [
        ("hang", {"seconds": 5}, "timed_out"),
        ("status", {"status": 503}, "unreachable"),
        ("nonsense", {}, "nonsense"),
        ("drop_before", {}, "unreachable"),
    ],
)
async def test_a_prometheus_that_is_down_is_told_in_time_and_all_at_once(
    prometheus: Prometheus, faults: Faults, fault: Any, facts: dict[str, Any], error: str
) -> None:
    faults.add("prometheus", fault, times=None, **facts)
    async with deadline(4):
        taken = await query_board(prometheus, board(TEAM, "render", "xr-engine"), AT)
    assert taken.figures == ()
    assert {one.error for one in taken.missing} == {error}
    assert taken.is_temporarily_incomplete
