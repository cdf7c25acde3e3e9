"""The world over HTTP: its metrics in Prometheus' text format, and what an operator can do."""

from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from sandbox.prometheus.tsdb import NAME
from sandbox.world.api import exposition, routes
from sandbox.world.metrics import METADATA
from sandbox.world.world import World
from tests.harness.hand_clock import HandClock
from tests.harness.serving import served


@pytest.fixture
def world() -> World:
    return World(HandClock())


@pytest.fixture
def base(world: World) -> Iterator[str]:
    with served(Starlette(routes=routes(world))) as url:
        yield url


def test_the_metrics_are_those_of_the_last_sample(world: World) -> None:
    assert world.at % 15_000 == 0
    exported = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition(world))
        for sample in family.samples
    }
    stored = {
        (series.labels[NAME], frozenset((k, v) for k, v in series.labels.items() if k != NAME)): series.values[-1]
        for series in world.tsdb
        if len(series.times)
    }
    assert exported == stored
    assert len(exported) > 400


def test_each_family_has_its_help_and_its_type(world: World) -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(world))}
    for name, known in METADATA.items():
        assert families[name.removesuffix("_total")].type == known.type
        assert families[name.removesuffix("_total")].documentation == known.help


def test_between_two_samples_the_counters_go_on(world: World) -> None:
    def total() -> float:
        families = text_string_to_metric_families(exposition(world))
        return sum(s.value for family in families for s in family.samples if s.name == "http_requests_total")

    clock = world.clock
    assert isinstance(clock, HandClock)
    before, count = total(), sum(len(series.times) for series in world.tsdb)
    clock.forward(5)
    assert total() > before + 1000
    assert sum(len(series.times) for series in world.tsdb) == count


def test_a_scenario_can_be_played_and_ended(base: str, world: World) -> None:
    answer = requests.get(f"{base}/metrics", timeout=10)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert requests.get(base, timeout=10).json()["scenario"] is None
    played = requests.post(f"{base}/play", json={"scenario": "bad-deploy"}, timeout=10)
    assert played.json()["scenario"] == {"name": "bad-deploy", "words": ["fix"]}
    assert requests.post(f"{base}/perform", json={"word": "fix"}, timeout=10).status_code == 200
    assert world.performed == ["fix"]
    state = requests.get(base, timeout=10).json()
    assert state["figures"]["xr-engine"]["frames"] == pytest.approx(88)
    assert state["changes"][-1]["what"] == "version v2.4.0"
    assert state["now"].startswith("2026-03-02T12:00:00")


def test_its_speed_can_be_changed(base: str, world: World) -> None:
    assert requests.post(f"{base}/speed", json={"speed": 60}, timeout=10).json()["speed"] == 60
    assert world.clock.speed == 60


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("play", b'{"scenario": "../company"}'),
        ("play", b'{"scenario": "nothing"}'),
        ("play", b"{}"),
        ("play", b"not json"),
        ("perform", b'{"word": "abracadabra"}'),
        ("perform", b'{"word": 3}'),
        ("speed", b'{"speed": 0}'),
        ("speed", b'{"speed": "fast"}'),
    ],
)
def test_what_makes_no_sense_is_refused(base: str, path: str, body: bytes) -> None:
    answer = requests.post(f"{base}/{path}", data=body, timeout=10)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
