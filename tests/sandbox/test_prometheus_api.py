"""The sandbox's Prometheus over HTTP, where no real one is needed to know what is right."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from starlette.applications import Starlette

from sandbox.prometheus.api import routes
from sandbox.prometheus.backend import Prometheus
from sandbox.prometheus.engine import parse
from sandbox.prometheus.rules import Rules
from sandbox.prometheus.tsdb import Tsdb
from sandbox.prometheus.values import QueryError
from sandbox.server import RULES
from sandbox.world.metrics import METADATA
from sandbox.world.world import World
from tests.harness.hand_clock import NOON, HandClock
from tests.harness.serving import served


@pytest.fixture(scope="module")
def world() -> World:
    return World(HandClock())


@pytest.fixture(scope="module")
def base(world: World) -> Iterator[str]:
    backend = Prometheus(world.tsdb, world.clock, refresh=world.advance, rules=Rules.load(RULES), metadata=METADATA)
    with served(Starlette(routes=routes(backend))) as url:
        yield url


@pytest.fixture(scope="module")
def client(base: str) -> PrometheusConnect:
    return PrometheusConnect(base)


def test_the_bots_client_library_gets_instant_values(client: PrometheusConnect) -> None:
    (found,) = client.custom_query('avg(xr_frame_rate{service="xr-engine"})')
    at, value = found["value"]
    assert float(value) == pytest.approx(88, abs=3)
    assert datetime.fromtimestamp(at, UTC).isoformat() == "2026-03-02T12:00:00+00:00", "now is the world's"


def test_the_bots_client_library_gets_ranges(client: PrometheusConnect, world: World) -> None:
    end = world.clock.now()
    start = datetime.fromtimestamp(end.timestamp() - 3600, UTC)
    (found,) = client.custom_query_range("avg(xr_frame_rate)", start_time=start, end_time=end, step="15s")
    assert len(found["values"]) == 241
    latency = "histogram_quantile(0.95, sum by (service, le) (rate(http_request_duration_seconds_bucket[5m])))"
    assert len(client.custom_query_range(latency, start_time=start, end_time=end, step="60")) == 6


def test_the_bots_client_library_lists_metrics(client: PrometheusConnect) -> None:
    names = client.all_metrics()
    assert "http_requests_total" in names
    assert client.get_label_values("service")
    (users,) = client.get_metric_range_data(
        "xr_active_users", start_time=NOON - timedelta(minutes=10), end_time=NOON, chunk_size=timedelta(minutes=10)
    )
    assert len(users["values"]) == 40


def test_the_bots_client_library_is_told_what_is_wrong(client: PrometheusConnect) -> None:
    with pytest.raises(PrometheusApiClientException, match="parse error"):
        client.custom_query("sum(")


def test_a_function_that_it_does_not_have_is_named(base: str) -> None:
    answer = requests.get(f"{base}/api/v1/query", {"query": "histogram_fraction(0, 1, xr_frame_rate)"}, timeout=10)
    assert answer.status_code == 422
    assert answer.json() == {
        "status": "error",
        "errorType": "execution",
        "error": "the sandbox does not support the function histogram_fraction",
    }


@pytest.mark.parametrize(
    "query",
    [
        "(" * 50_000 + "1" + ")" * 50_000,
        "-" * 50_000 + "1",
        "1" + "+1" * 1_400,
        "1" + "^1" * 1_400,
        "xr_frame_rate @ -5",
        'xr_frame_rate{pod="a" or pod="b"}',
    ],
)
def test_no_query_brings_it_down(base: str, query: str) -> None:
    answer = requests.post(f"{base}/api/v1/query", data={"query": query}, timeout=10)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert requests.get(f"{base}/-/ready", timeout=10).status_code == 200


def test_the_parser_is_also_safe_in_a_thread() -> None:
    """Threads have smaller stacks than the main one on some systems."""
    failures: list[BaseException] = []

    def work() -> None:
        for query in ("-" * 2_990 + "x", "x" + "+x" * 1_490, "(" * 100 + "x" + ")" * 100):
            try:
                parse(query)
            except QueryError as error:
                failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert failures == []


def test_a_form_counts_as_much_as_the_address(base: str) -> None:
    form = requests.post(f"{base}/api/v1/query", data={"query": "vector(7)", "time": "100"}, timeout=10)
    assert form.json()["data"]["result"] == [{"metric": {}, "value": [100, "7"]}]


def test_it_says_that_it_is_ready_and_what_it_is(base: str) -> None:
    for path in ("/-/ready", "/-/healthy"):
        assert requests.get(base + path, timeout=10).status_code == 200
    assert requests.get(f"{base}/api/v1/status/buildinfo", timeout=10).json()["data"]["version"].startswith("3.")


def test_it_knows_its_metrics(base: str) -> None:
    everything = requests.get(f"{base}/api/v1/metadata", timeout=10).json()["data"]
    assert everything["http_requests_total"][0]["type"] == "counter"
    one = requests.get(f"{base}/api/v1/metadata", {"metric": "xr_frame_rate"}, timeout=10).json()["data"]
    assert list(one) == ["xr_frame_rate"]


def test_other_paths_and_methods_are_refused(base: str) -> None:
    assert requests.get(f"{base}/api/v1/nothing", timeout=10).status_code == 404
    assert requests.delete(f"{base}/api/v1/query", timeout=10).status_code == 405


def test_with_a_token_nobody_else_is_answered() -> None:
    backend = Prometheus(Tsdb(), HandClock(), token="secret")
    with served(Starlette(routes=routes(backend))) as url:
        address, query = f"{url}/api/v1/query", {"query": "1"}
        assert requests.get(address, query, timeout=10).status_code == 401
        for wrong in ("Bearer other", "Bearer ", "secret", "Basic secret"):
            assert requests.get(address, query, headers={"Authorization": wrong}, timeout=10).status_code == 401
        right = requests.get(address, query, headers={"Authorization": "Bearer secret"}, timeout=10)
        assert right.json()["data"]["result"][1] == "1"


def test_a_series_that_has_ended_is_gone_at_once() -> None:
    tsdb = Tsdb()
    series = tsdb.series("up", {"pod": "a"})
    for second in range(0, 60, 15):
        series.append(second * 1000, 1.0)
    series.end(60_000)
    with served(Starlette(routes=routes(Prometheus(tsdb, HandClock())))) as url:

        def count(query: str, at: float) -> int:
            answer = requests.get(f"{url}/api/v1/query", {"query": query, "time": str(at)}, timeout=10)
            return len(answer.json()["data"]["result"])

        assert [count("up", at) for at in (0, 59.9, 60, 61)] == [1, 1, 0, 0]
        assert [count("up offset 30s", at) for at in (60, 89, 90)] == [1, 1, 0]
        assert count("count_over_time(up[5m]) == 4", 70) == 1, "the marker itself is no sample"
        series.append(75_000, 2.0)
        assert count("up == 2", 76) == 1


def test_the_rules_and_their_alerts_are_told(base: str) -> None:
    groups = requests.get(f"{base}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert [group["name"] for group in groups] == ["tamv-critical", "tamv-rendering"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert rules["HighLatency"]["duration"] == 300
    assert {rule["state"] for rule in rules.values()} == {"inactive"}
    assert requests.get(f"{base}/api/v1/alerts", timeout=10).json()["data"] == {"alerts": []}
