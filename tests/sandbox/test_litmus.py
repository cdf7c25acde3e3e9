"""Litmus in the sandbox's cluster: what an engine breaks, how long, how it is stopped, and what its result says."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.kubernetes.objects import Object, deep_copy, name_of
from sandbox.kubernetes.resources.litmus import (
    CHAOS_ENGINE,
    CHAOS_RESULT,
    CPU_HOG,
    NETWORK_LATENCY,
    POD_DELETE,
    START_SECONDS,
)
from sandbox.kubernetes.resources.pods import POD
from sandbox.server import Sandbox
from tests.harness.hand_clock import HandClock

XR, PROD = "xr-engine", "tamv-prod"
P95 = f'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{service="{XR}"}}[1m]))) * 1000'


def probe(name: str, query: str, criteria: str, value: str, **more: Any) -> Object:
    inputs = {
        "endpoint": "http://prometheus:9090",
        "query": query,
        "comparator": {"type": "float", "criteria": criteria, "value": value},
    }
    properties = {"probeTimeout": "5s", "interval": "5s", "attempt": 1, "probePollingInterval": "10s", **more}
    return {
        "name": name,
        "type": "promProbe",
        "mode": "Continuous",
        "promProbe/inputs": inputs,
        "runProperties": properties,
    }


class Place:
    """A cluster with an engine of an experiment on xr-engine, on a clock that is moved by hand."""

    def __init__(self, experiment: str, *probes: Object, label: str = f"app={XR}", **variables: str) -> None:
        self.clock = HandClock()
        self.sandbox = Sandbox(clock=self.clock)
        self.cluster = self.sandbox.kubernetes
        self.name = f"break-{experiment}"
        env = [{"name": name, "value": value} for name, value in {"TOTAL_CHAOS_DURATION": "60", **variables}.items()]
        spec = {"components": {"env": env}, "probe": list(probes)}
        engine = {
            "metadata": {"name": "break", "namespace": PROD},
            "spec": {
                "engineState": "active",
                "chaosServiceAccount": "litmus",
                "appinfo": {"appns": PROD, "applabel": label, "appkind": "deployment"},
                "experiments": [{"name": experiment, "spec": spec}],
            },
        }
        self.cluster.writer.create(CHAOS_ENGINE, engine)
        self.cluster.cluster.settle()

    def after(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.cluster.advance()

    def stop(self) -> None:
        engine = deep_copy(self.engine)
        engine["spec"]["engineState"] = "stop"
        self.cluster.writer.replace(CHAOS_ENGINE, self.engine, engine)
        self.cluster.cluster.settle()

    @property
    def engine(self) -> Object:
        found = self.cluster.store.get(CHAOS_ENGINE, PROD, "break")
        assert found
        return found

    @property
    def result(self) -> Object:
        found = self.cluster.store.get(CHAOS_RESULT, PROD, self.name)
        assert found
        return found

    @property
    def test(self) -> Object:
        said: Object = self.result["status"]["experimentStatus"]
        return said

    def pods(self) -> set[str]:
        pods = self.cluster.store.all(POD, PROD)
        return {name_of(pod) for pod in pods if pod["metadata"]["labels"].get("app") == XR}


def test_pods_are_deleted_one_by_one_and_the_result_says_which() -> None:
    place = Place(POD_DELETE, probe("latency", P95, "<=", "500"), CHAOS_INTERVAL="30")
    before = place.pods()
    assert place.engine["status"]["engineStatus"] == "initialized"
    place.after(START_SECONDS + 1)
    assert (place.test["phase"], place.test["verdict"]) == ("Running", "Awaited")
    for _ in range(9):
        place.after(10)
    gone = before - place.pods()
    assert gone and len(place.pods()) == len(before)
    assert place.engine["status"]["engineStatus"] == "completed"
    assert (place.test["verdict"], place.test["probeSuccessPercentage"]) == ("Pass", "100")
    history = place.result["status"]["history"]
    targets = {one["name"] for one in history["targets"]}  # the second may be one that came in place of the first
    assert (history["passedRuns"], len(targets), targets & before) == (1, 2, gone)


@pytest.mark.parametrize("experiment", [NETWORK_LATENCY, CPU_HOG])
def test_a_slow_network_and_busy_cpus_show_and_are_over_at_the_end(experiment: str) -> None:
    place = Place(experiment, PODS_AFFECTED_PERC="100")
    normal = place.sandbox.world.figures(XR).p95
    place.after(START_SECONDS + 30)
    assert place.sandbox.world.figures(XR).p95 > 1.3 * normal
    place.after(60)
    assert place.test["verdict"] == "Pass"
    place.after(120)
    assert place.sandbox.world.figures(XR).p95 == pytest.approx(normal, rel=0.2)


def test_a_probe_that_fails_is_a_failed_experiment_or_stops_it() -> None:
    place = Place(NETWORK_LATENCY, probe("latency", P95, "<=", "500"), PODS_AFFECTED_PERC="100")
    for _ in range(10):
        place.after(10)
    assert (place.test["verdict"], place.test["probeSuccessPercentage"]) == ("Fail", "0")
    (said,) = place.result["status"]["probeStatuses"]
    assert said["status"]["verdict"] == "Failed" and "Expected value: <= 500" in said["status"]["description"]
    soon = Place(NETWORK_LATENCY, probe("latency", P95, "<=", "1", stopOnFailure=True), PODS_AFFECTED_PERC="100")
    soon.after(START_SECONDS + 1)
    assert (soon.test["verdict"], soon.engine["status"]["engineStatus"]) == ("Stopped", "stopped")


def test_an_engine_that_is_told_to_stop_breaks_nothing_more() -> None:
    place = Place(NETWORK_LATENCY, PODS_AFFECTED_PERC="100")
    place.after(START_SECONDS + 1)
    assert place.sandbox.world.deployments[XR].faults
    place.stop()
    assert (place.test["verdict"], place.engine["status"]["engineStatus"]) == ("Stopped", "stopped")
    assert not place.sandbox.world.deployments[XR].faults


def test_a_deleted_engine_breaks_nothing_more() -> None:
    place = Place(NETWORK_LATENCY)
    place.after(START_SECONDS + 1)
    place.cluster.writer.delete(CHAOS_ENGINE, place.engine)
    place.cluster.cluster.settle()
    assert not place.sandbox.world.deployments[XR].faults


def test_a_target_or_an_experiment_that_is_not_there_is_said() -> None:
    place = Place(POD_DELETE, label="app=nothing")
    place.after(START_SECONDS + 1)
    assert place.test["verdict"] == "Fail" and "applabel" in place.test["failureOutput"]["failedStep"]
    none = Place("disk-fill")
    none.after(START_SECONDS + 1)
    assert none.engine["status"]["experiments"][0]["status"] == "ChaosExperiment Not Found"
