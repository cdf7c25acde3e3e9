"""The sandbox's Prometheus answers as a real one does: the same samples, the same queries, the same answers."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette

from sandbox.clock import Clock
from sandbox.prometheus.api import routes
from sandbox.prometheus.backend import Prometheus
from tests.contract import queries
from tests.contract.samples import BEGIN, lines, openmetrics, tsdb
from tests.harness.serving import served
from tests.real.parts import require
from tests.real.prometheus import prometheus

# No moment lies on a subquery's grid either: Prometheus 2 counts the point at the left end, Prometheus 3 not.
AT = BEGIN / 1000 + 2 * 3600 + 7.5
MOMENTS = (AT, AT - 3600, AT + 50 * 60, BEGIN / 1000 + 37.5)
SPANS = ((AT - 3600, AT, 15), (AT - 7000, AT + 3000, 107), (AT, AT, 60))

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.real("prometheus")


@dataclass(frozen=True)
class Pair:
    real: str
    sandbox: str

    def ask(self, path: str, **parameters: str) -> tuple[Any, Any]:
        return get(self.real, path, parameters), get(self.sandbox, path, parameters)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    require("prometheus")
    series = lines()
    app = Starlette(routes=routes(Prometheus(tsdb(series), Clock())))
    with prometheus(openmetrics=openmetrics(series)) as real, served(app) as sandbox:
        yield Pair(real, sandbox)


def get(base: str, path: str, parameters: dict[str, str]) -> tuple[int, Any]:
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def as_values(data: Any) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
    """Points by series; the order of the series does not count."""
    if data["resultType"] in ("scalar", "string"):
        at, value = data["result"]
        return {(): [(at, float(value) if data["resultType"] == "scalar" else hash(value))]}
    return {
        tuple(sorted(series["metric"].items())): [
            (at, float(value)) for at, value in series.get("values", [series.get("value")])
        ]
        for series in data["result"]
    }


def assert_same(real: tuple[int, Any], sandbox: tuple[int, Any]) -> None:
    assert sandbox[0] == real[0] == 200, (real, sandbox)
    assert sandbox[1]["data"]["resultType"] == real[1]["data"]["resultType"]
    expected, found = as_values(real[1]["data"]), as_values(sandbox[1]["data"])
    assert found.keys() == expected.keys()
    for labels, points in expected.items():
        assert [at for at, _ in found[labels]] == [at for at, _ in points], labels
        for (at, value), (_, ours) in zip(points, found[labels], strict=True):
            same = math.isnan(ours) if math.isnan(value) else ours == pytest.approx(value, rel=1e-9, abs=1e-11)
            assert same, (dict(labels), at, value, ours)


@pytest.mark.parametrize("query", [*queries.ALL, *queries.ONLY_INSTANT])
def test_an_instant_answer_is_the_same(pair: Pair, query: str) -> None:
    for at in MOMENTS:
        assert_same(*pair.ask("query", query=query, time=str(at)))


@pytest.mark.parametrize("query", [query for query in queries.ALL if not query.startswith('"')])
def test_a_range_answer_is_the_same(pair: Pair, query: str) -> None:
    for start, end, step in SPANS:
        assert_same(*pair.ask("query_range", query=query, start=str(start), end=str(end), step=str(step)))


def project_queries() -> list[str]:
    """Every query of the team's file, and every alert rule's."""
    team = yaml.safe_load((ROOT / "teams" / "tamv" / "team.yaml").read_text("utf-8"))
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "tamv.rules.yaml").read_text("utf-8"))
    asked = [query["promql"].replace("$service", "xr-engine") for query in team["queries"].values()]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("query", project_queries())
def test_what_the_project_asks_is_answered_the_same(pair: Pair, query: str) -> None:
    for at in MOMENTS:
        assert_same(*pair.ask("query", query=query, time=str(at)))
    for start, end, step in SPANS:
        real, sandbox = pair.ask("query_range", query=query, start=str(start), end=str(end), step=str(step))
        assert_same(real, sandbox)
        assert real[1]["data"]["result"] or ">" in query or "<" in query, "an empty answer proves nothing"


@pytest.mark.parametrize("query", queries.ORDERED)
def test_an_ordered_answer_has_the_same_order(pair: Pair, query: str) -> None:
    real, sandbox = pair.ask("query", query=query, time=str(AT))
    assert [row["value"] for row in sandbox[1]["data"]["result"]] == [row["value"] for row in real[1]["data"]["result"]]


def test_numbers_are_written_the_same(pair: Pair) -> None:
    for query in ("odd", "vector(1e-7)", "vector(1e21) * 3", "vector(0.1)", "vector(1/3)", "vector(-0)", "time()"):
        real, sandbox = pair.ask("query", query=query, time=str(AT))
        assert sandbox[1] == real[1]


@pytest.mark.parametrize("query", queries.WRONG)
def test_a_wrong_query_is_refused_the_same(pair: Pair, query: str) -> None:
    real, sandbox = pair.ask("query", query=query, time=str(AT))
    assert real[0] in (400, 422)
    assert sandbox[0] == real[0]
    assert (sandbox[1]["status"], sandbox[1]["errorType"]) == ("error", real[1]["errorType"])
    assert sandbox[1]["error"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"query": "1", "start": "10", "end": "5", "step": "1"},
        {"query": "1", "start": "0", "end": "5", "step": "0"},
        {"query": "1", "start": "0", "end": "5", "step": "-1"},
        {"query": "1", "start": "0", "end": "100000", "step": "1"},
        {"query": "1", "start": "yesterday", "end": "5", "step": "1"},
        {"query": "1", "start": "1", "end": "5", "step": "often"},
        {"query": "xr_frame_rate[5m]", "start": "1", "end": "5", "step": "1"},
        {"query": "1", "start": "1", "end": "5"},
        {"start": "1", "end": "5", "step": "1"},
    ],
)
def test_wrong_parameters_are_refused_the_same(pair: Pair, parameters: dict[str, str]) -> None:
    real, sandbox = pair.ask("query_range", **parameters)
    assert (sandbox[0], sandbox[1]["errorType"]) == (real[0], real[1]["errorType"]) == (400, "bad_data")


def test_times_are_read_the_same(pair: Pair) -> None:
    spans = (("2026-01-01T01:00:00Z", "1m"), ("2026-01-01T02:00:00.5+01:00", "90"), ("1767229207.25", "1m30s"))
    for start, step in spans:
        end = "2026-01-01T01:10:00Z"
        assert_same(*pair.ask("query_range", query="xr_frame_rate", start=start, end=end, step=step))


def test_labels_and_series_are_the_same(pair: Pair) -> None:
    span = {"start": str(AT - 7200), "end": str(AT)}
    for path, match in (
        ("labels", None),
        ("labels", "xr_frame_rate"),
        ("label/__name__/values", None),
        ("label/pod/values", None),
        ("label/pod/values", 'http_requests_total{service="tamv-core"}'),
        ("label/nothing/values", None),
        ("series", 'http_requests_total{status="500"}'),
        ("series", "nothing"),
    ):
        chosen = {**span, **({"match[]": match} if match else {})}
        real, sandbox = pair.ask(path, **chosen)
        ours, theirs = ([json.dumps(each, sort_keys=True) for each in side["data"]] for side in (sandbox[1], real[1]))
        assert sorted(ours) == sorted(theirs), (path, match)
    real, sandbox = pair.ask("series")
    assert (sandbox[0], sandbox[1]["errorType"]) == (real[0], real[1]["errorType"])
