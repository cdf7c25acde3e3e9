"""Scenarios: each raises the alerts that it says, and what its operator can say makes things well again."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sandbox.prometheus.rules import Rules
from sandbox.server import RULES
from sandbox.world.scenario import FOLDER, Scenario, load_scenario, scenario_names
from sandbox.world.world import World
from tests.harness.hand_clock import HandClock
from tests.sandbox.world_figures import minutes, seen

WANTED = {"render-latency", "bad-deploy", "gpu-node-loss", "traffic-surge"}


def firing(rules: Rules, world: World) -> set[str]:
    """The names of the alerts that fire now; each must be the scenario's service's."""
    assert world.scenario is not None
    raised = [alert for alert in rules.evaluate(world.tsdb, world.at) if alert.state == "firing"]
    assert {alert.labels["service"] for alert in raised} <= {world.scenario.service}
    return {alert.labels["alertname"] for alert in raised}


def test_all_wanted_scenarios_are_there() -> None:
    assert set(scenario_names()) >= WANTED


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_raises_its_alerts_and_its_fix_ends_them(name: str) -> None:
    clock, rules = HandClock(), Rules.load(RULES)
    world = World(clock)
    scenario = load_scenario(name)
    assert scenario.name == name
    world.play(scenario)
    seen_firing: set[str] = set()
    for _ in minutes(clock, world, 12):
        seen_firing |= firing(rules, world)
    assert seen_firing == set(scenario.alerts)
    world.perform("fix")
    for _ in minutes(clock, world, 12):
        last = firing(rules, world)
    assert last == set()
    now = seen(world, scenario.service)
    assert (now.p95 < 0.5, now.errors < 2, now.gpu < 90, now.frames > 60) == (True, True, True, True)


@pytest.mark.parametrize("name", scenario_names())
def test_without_anybody_doing_anything_it_goes_on(name: str) -> None:
    clock, rules = HandClock(), Rules.load(RULES)
    world = World(clock)
    world.play(load_scenario(name))
    clock.forward(3600)
    world.advance()
    assert firing(rules, world) or rules.alerts_as_json()


def test_healthy_production_raises_no_alert() -> None:
    clock, rules = HandClock(), Rules.load(RULES)
    world = World(clock)
    for _ in minutes(clock, world, 60):
        assert rules.evaluate(world.tsdb, world.at) == []
        assert rules.alerts_as_json() == []


def test_a_scenario_can_end_by_itself() -> None:
    clock = HandClock()
    world = World(clock)
    given = document()
    given["steps"] = [
        {"at": 30, "actions": [{"do": "fault", "service": "isabella-ai", "name": "x", "errors": 0.2}]},
        {"at": 600, "actions": [{"do": "end_fault", "service": "isabella-ai", "name": "x"}]},
    ]
    world.play(Scenario.model_validate(given))
    clock.forward(580)
    assert seen(world, "isabella-ai").errors > 15
    clock.forward(140)
    assert seen(world, "isabella-ai").errors < 1


def test_steps_happen_at_their_time_even_when_nobody_looks() -> None:
    clock = HandClock()
    world = World(clock)
    start = world.at
    world.play(load_scenario("gpu-node-loss"))
    clock.forward(3600)
    world.advance()
    lost = next(change for change in world.changes if change.what == "node lost: gpu-node-2")
    assert lost.at - start == 60_000


def test_a_word_that_the_scenario_does_not_know_is_refused() -> None:
    world = World(HandClock())
    with pytest.raises(ValueError, match="known are: none"):
        world.perform("fix")
    world.play(load_scenario("render-latency"))
    with pytest.raises(ValueError, match="known are: fix, calm"):
        world.perform("abracadabra")
    assert world.performed == []


def document() -> Any:
    return yaml.safe_load((FOLDER / "render-latency.yaml").read_text("utf-8"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Not A Name"},
        {"severity": "SEV9"},
        {"steps": []},
        {"steps": [{"at": -1, "actions": []}]},
        {"steps": [{"at": 0, "actions": [{"do": "explode"}]}]},
        {"steps": [{"at": 0, "actions": [{"do": "scale", "service": "x", "replicas": "many"}]}]},
        {"steps": [{"at": 0, "actions": [{"do": "load", "factor": 2, "colour": "red"}]}]},
        {"title": {"es": "solo uno"}},
        {"surprise": 1},
        {"images": {"a:b": {"errors": 3}}},
    ],
)
def test_a_wrong_file_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**document(), **change}))
    with pytest.raises(ValidationError):
        load_scenario("wrong", tmp_path)
