"""Chaos experiments: what a ChaosEngine of a manifest may do, the probes that watch it, and what its result says.

Source: https://litmuschaos.github.io/litmus/experiments/concepts/chaos-resources/contents/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from bot.domain.errors import BadInput
from bot.domain.snapshot import Direction, MetricDefinition

ENGINE = "litmuschaos.io/v1alpha1 ChaosEngine"
DURATION, RAMP, PERCENTAGE = "TOTAL_CHAOS_DURATION", "RAMP_TIME", "PODS_AFFECTED_PERC"  # seconds, seconds, percent
# What would point the experiment at something else than its pods: the run sets the target, the manifest only its label.
TARGETS = frozenset(
    {"APP_KIND", "APP_LABEL", "APP_NAMESPACE", "APP_NS", "NODE_LABEL", "TARGETS", "TARGET_NODE", "TARGET_NODES",
     "TARGET_PODS"}
)  # fmt: skip
PROBE_EVERY, PROBE_TIMEOUT = "10s", "10s"

Object = dict[str, Any]


class Outcome(StrEnum):
    """What an experiment showed. `error`: it failed itself. `unknown`: it has ended, and not all was measured."""

    HELD = "held"
    BROKE = "broke"
    STOPPED = "stopped"
    ERROR = "error"
    UNKNOWN = "unknown"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a manifest asks for: the experiment, the label of its targets, how long, and how many percent of them.

    Without a percentage one pod at a time is a target. `account` is the service account that its pods run under.
    """

    name: str
    label: str
    lasts: timedelta
    percentage: int
    account: str

    def affected(self, pods: int) -> int:
        """Return how many of so many pods are targets at a time."""
        return max(1, pods * self.percentage // 100)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe saw: `held` is None if it was not asked, or has not ended."""

    name: str
    held: bool | None


@dataclass(frozen=True, slots=True)
class ChaosResult:
    """`success` is the share of the probes that held, in percent; `targets` are the pods that were hit.

    `why` is what the experiment itself stumbled over.
    """

    outcome: Outcome
    success: float | None = None
    probes: tuple[ProbeResult, ...] = ()
    targets: tuple[str, ...] = ()
    why: str = ""


def read_engine(path: str, body: Mapping[str, Any]) -> Experiment:
    """Return what an engine's manifest asks for. Raises BadInput with the field that is missing or not allowed."""

    def wrong(field: str) -> BadInput:
        return BadInput("manifest_wrong", path=path, why=field)

    spec = _mapping(body.get("spec"))
    experiments = spec.get("experiments")
    if not isinstance(experiments, list) or len(experiments) != 1 or not _mapping(experiments[0]).get("name"):
        raise wrong("spec.experiments: one, with its name")
    target = _mapping(spec.get("appinfo"))
    if not target.get("applabel") or "appns" in target or "selectors" in spec:
        raise wrong("spec.appinfo: applabel, without appns and selectors")
    if not spec.get("chaosServiceAccount"):
        raise wrong("spec.chaosServiceAccount")
    variables = _variables(experiments[0])
    if forbidden := sorted(TARGETS & set(variables)):
        raise wrong(f"env {', '.join(forbidden)}")
    for name, lowest in ((DURATION, 1), (RAMP, 0), (PERCENTAGE, 0)):
        text = variables.get(name, "0" if name != DURATION else "")
        if not text.isascii() or not text.isdigit() or int(text) < lowest:
            raise wrong(f"env {name}")
    lasts = int(variables[DURATION]) + 2 * int(variables.get(RAMP, "0"))  # it waits before and after
    percentage = min(int(variables.get(PERCENTAGE, "0")), 100)
    return Experiment(
        str(experiments[0]["name"]), str(target["applabel"]), timedelta(seconds=lasts), percentage,
        str(spec["chaosServiceAccount"]),
    )  # fmt: skip


def probes(metrics: Iterable[tuple[MetricDefinition, str]], endpoint: str) -> list[Object]:
    """Return a probe for each metric that has a threshold, which ends the experiment when the metric breaks it."""
    return [
        {
            "name": probe_name(metric.query),
            "type": "promProbe",
            "mode": "Continuous",
            "promProbe/inputs": {
                "endpoint": endpoint,
                "query": promql,
                "comparator": {
                    "type": "float",
                    "criteria": "<=" if metric.direction is Direction.ABOVE else ">=",
                    "value": f"{metric.threshold:g}",
                },
            },
            "runProperties": {
                "probeTimeout": PROBE_TIMEOUT,
                "interval": "2s",
                "attempt": 2,
                "probePollingInterval": PROBE_EVERY,
                "stopOnFailure": True,
            },
        }
        for metric, promql in metrics
        if metric.threshold is not None
    ]


def probe_name(query: str) -> str:
    """Return the name of the probe of a query of the team's file."""
    return query.replace("_", "-")


def engine(body: Mapping[str, Any], name: str, namespace: str, kind: str, watched: Sequence[Object]) -> Object:
    """Return a manifest's engine under this name, on the workloads of a kind in a namespace, with these probes too."""
    spec = dict(body["spec"])
    first = dict(spec["experiments"][0])
    details = _mapping(first.get("spec"))
    first["spec"] = {**details, "probe": [*(details.get("probe") or ()), *watched]}
    target = {**spec["appinfo"], "appns": namespace, "appkind": kind}
    spec |= {"engineState": "active", "appinfo": target, "experiments": [first]}
    return {**body, "metadata": {**body["metadata"], "name": name}, "spec": spec}


def read_result(content: Mapping[str, Any] | None, expected: Iterable[str]) -> ChaosResult:
    """Return what a ChaosResult says; None is one that is not there yet.

    An experiment has shown that the service held only if each of the `expected` probes was asked and passed.
    """
    status = _mapping((content or {}).get("status"))
    said = _mapping(status.get("experimentStatus"))
    history = _mapping(status.get("history"))
    seen = tuple(_probe(_mapping(one)) for one in status.get("probeStatuses") or ())
    targets = tuple(str(_mapping(one).get("name")) for one in history.get("targets") or ())
    failure = _mapping(said.get("errorOutput") or said.get("failureOutput"))
    why = str(failure.get("reason") or failure.get("failedStep") or failure.get("errorCode") or "")
    outcome = _outcome(str(said.get("verdict") or ""), seen, frozenset(expected))
    return ChaosResult(outcome, _percent(said.get("probeSuccessPercentage")), seen, targets, why)


def _outcome(verdict: str, seen: Sequence[ProbeResult], expected: frozenset[str]) -> Outcome:
    if verdict in ("", "Awaited"):
        return Outcome.AWAITED
    broke = any(probe.held is False for probe in seen)
    if verdict == "Pass":
        passed = {probe.name for probe in seen if probe.held}
        return Outcome.BROKE if broke else Outcome.HELD if expected <= passed else Outcome.UNKNOWN
    if broke and verdict in ("Fail", "Stopped"):  # a probe that fails stops its experiment
        return Outcome.BROKE
    return {"Stopped": Outcome.STOPPED, "Fail": Outcome.ERROR, "Error": Outcome.ERROR}.get(verdict, Outcome.UNKNOWN)


def _probe(raw: Mapping[str, Any]) -> ProbeResult:
    status = _mapping(raw.get("status"))
    held = {"Passed": True, "Failed": False}.get(str(status.get("verdict")))
    return ProbeResult(str(raw.get("name")), held)


def _percent(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):  # "Awaited"
        return None


def _variables(experiment: Mapping[str, Any]) -> dict[str, str]:
    components = _mapping(_mapping(experiment.get("spec")).get("components"))
    entries = components.get("env")
    listed = [_mapping(entry) for entry in entries] if isinstance(entries, list) else []
    return {str(entry.get("name")): str(entry.get("value", "")) for entry in listed}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
