"""What an engine's manifest asks for, the probes that are made of a board, and what a result says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.domain.chaos import Experiment, Outcome, engine, probe_name, probes, read_engine, read_result
from bot.domain.errors import BadInput
from bot.domain.snapshot import Direction, MetricDefinition


def manifest(*variables: tuple[str, str], **spec: Any) -> dict[str, Any]:
    env = [{"name": name, "value": value} for name, value in variables]
    experiment = {"name": "pod-delete", "spec": {"components": {"env": env}, "probe": [{"name": "theirs"}]}}
    given = {"appinfo": {"applabel": "app=web"}, "chaosServiceAccount": "litmus", "experiments": [experiment]}
    return {"kind": "ChaosEngine", "metadata": {"name": "web"}, "spec": {**given, **spec}}


LASTS = ("TOTAL_CHAOS_DURATION", "60")


def test_a_manifest_says_what_how_long_and_how_many() -> None:
    body = manifest(LASTS, ("RAMP_TIME", "10"), ("PODS_AFFECTED_PERC", "50"))
    said = read_engine("x.yaml", body)
    assert said == Experiment("pod-delete", "app=web", timedelta(seconds=80), 50, "litmus")
    assert [said.affected(pods) for pods in (1, 3, 4)] == [1, 1, 2]
    assert read_engine("x.yaml", manifest(LASTS)).affected(10) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (manifest(), "TOTAL_CHAOS_DURATION"),
        (manifest(("TOTAL_CHAOS_DURATION", "0")), "TOTAL_CHAOS_DURATION"),
        (manifest(("TOTAL_CHAOS_DURATION", "1m")), "TOTAL_CHAOS_DURATION"),
        (manifest(LASTS, ("RAMP_TIME", "-1")), "RAMP_TIME"),
        (manifest(LASTS, ("TARGET_NODES", "a")), "TARGET_NODES"),
        (manifest(LASTS, ("APP_NAMESPACE", "kube-system")), "APP_NAMESPACE"),
        (manifest(LASTS, experiments=[]), "spec.experiments"),
        (manifest(LASTS, experiments="pod-delete"), "spec.experiments"),
        (manifest(LASTS, appinfo={}), "applabel"),
        (manifest(LASTS, appinfo={"applabel": "app=web", "appns": "kube-system"}), "appns"),
        (manifest(LASTS, selectors={"pods": []}), "selectors"),
        (manifest(LASTS, chaosServiceAccount=""), "chaosServiceAccount"),
        ({"metadata": {"name": "web"}}, "spec.experiments"),
    ],
)
def test_a_manifest_that_says_too_little_or_points_elsewhere_is_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as wrong:
        read_engine("x.yaml", body)
    assert wrong.value.key == "manifest_wrong" and said in str(wrong.value.facts["why"])


def test_probes_are_the_figures_with_a_threshold_and_their_good_side() -> None:
    metrics = [
        (MetricDefinition("latency_p95", {}, "ms", 500, Direction.ABOVE), "p95"),
        (MetricDefinition("frame_rate", {}, "fps", 59.5, Direction.BELOW), "fps"),
        (MetricDefinition("request_rate", {}, "req/s", None, Direction.ABOVE), "rate"),
    ]
    made = probes(metrics, "http://prometheus:9090")
    comparators = [one["promProbe/inputs"]["comparator"] for one in made]
    assert [one["name"] for one in made] == ["latency-p95", "frame-rate"]
    assert [(one["criteria"], one["value"]) for one in comparators] == [("<=", "500"), (">=", "59.5")]
    body = manifest(LASTS)
    done = engine(body, "web-1", "shop", "statefulset", made)
    (experiment,) = done["spec"]["experiments"]
    assert [one["name"] for one in experiment["spec"]["probe"]] == ["theirs", "latency-p95", "frame-rate"]
    assert done["spec"]["appinfo"] == {"applabel": "app=web", "appns": "shop", "appkind": "statefulset"}
    assert (done["metadata"]["name"], done["spec"]["engineState"]) == ("web-1", "active")
    assert body == manifest(LASTS), "the manifest stays as it is"


P95 = probe_name("latency_p95")


def result(verdict: str | None, probe: str | None = None, percentage: str = "100", **more: Any) -> dict[str, Any]:
    seen = [{"name": P95, "type": "promProbe", "mode": "Continuous", "status": {"verdict": probe}}] if probe else []
    test = {"phase": "Completed", "verdict": verdict, "probeSuccessPercentage": percentage, **more}
    history = {"passedRuns": 1, "targets": [{"name": "web-1", "kind": "pod", "chaosStatus": "reverted"}]}
    return {"status": {"experimentStatus": test, "probeStatuses": seen, "history": history}}


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (None, Outcome.AWAITED),
        ({}, Outcome.AWAITED),
        (result("Awaited", "Awaited", "Awaited"), Outcome.AWAITED),
        (result("Awaited", "Failed"), Outcome.AWAITED),
        (result("Pass", "Passed"), Outcome.HELD),
        (result("Pass"), Outcome.UNKNOWN),  # the figure was not measured
        (result("Pass", "N/A"), Outcome.UNKNOWN),
        (result("Pass", "Failed"), Outcome.BROKE),
        (result("Fail", "Failed", "0"), Outcome.BROKE),
        (result("Fail", "Passed"), Outcome.ERROR),  # the service held; the experiment did not work
        (result("Stopped", "Failed"), Outcome.BROKE),  # a probe that fails stops it
        (result("Stopped", "Passed"), Outcome.STOPPED),
        (result("Error"), Outcome.ERROR),
        (result("SomethingNew"), Outcome.UNKNOWN),
    ],
)
def test_a_result_says_no_more_than_was_measured(content: dict[str, Any] | None, outcome: Outcome) -> None:
    assert read_result(content, [P95]).outcome is outcome


def test_a_result_says_which_pods_which_share_and_why() -> None:
    said = read_result(result("Pass", "Passed"), [P95])
    assert (said.success, said.targets, said.why) == (100.0, ("web-1",), "")
    assert read_result(result("Awaited", "Awaited", "Awaited"), [P95]).success is None
    failure = {"errorCode": "TARGET", "failedStep": "no pod"}
    assert read_result(result("Fail", failureOutput=failure), []).why == "no pod"
    assert read_result(result("Error", errorOutput={"errorCode": "TARGET", "reason": "none"}), []).why == "none"
