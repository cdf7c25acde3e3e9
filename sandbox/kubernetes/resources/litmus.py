"""Litmus: experiments that break something on purpose, engines that run one, and their results.

https://litmuschaos.github.io/litmus/experiments/concepts/chaos-resources/contents/
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import AGE, Cause, Kind, path_column
from sandbox.kubernetes.objects import (
    Key,
    Object,
    deep_copy,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.state import Change
from sandbox.prometheus import engine as prometheus
from sandbox.prometheus.functions import vector_of
from sandbox.prometheus.values import QueryError
from sandbox.world.deployments import Fault
from sandbox.world.services import NAMESPACE
from sandbox.world.world import World

GROUP, VERSION = "litmuschaos.io", "v1alpha1"
START_SECONDS = 5.0  # until the runner and the experiment's pod are up
DURATION, RAMP, INTERVAL = "TOTAL_CHAOS_DURATION", "RAMP_TIME", "CHAOS_INTERVAL"
DEFAULT_DURATION, DEFAULT_INTERVAL = 60.0, 10.0
EXPERIMENTS = POD_DELETE, NETWORK_LATENCY, CPU_HOG = "pod-delete", "pod-network-latency", "pod-cpu-hog"
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def _engine_rules(engine: Object, _: Object | None) -> Iterator[Cause]:
    spec = engine.get("spec") or {}
    if spec.get("engineState") not in ("active", "stop"):
        yield "spec.engineState", f'Unsupported value: "{spec.get("engineState")}": supported values: "active", "stop"'
    if not spec.get("experiments"):
        yield "spec.experiments", "Required value"
    if not spec.get("chaosServiceAccount"):
        yield "spec.chaosServiceAccount", "Required value"


CHAOS_EXPERIMENT = Kind(GROUP, VERSION, "chaosexperiments", "ChaosExperiment", columns=(AGE,), custom=True)
CHAOS_ENGINE = Kind(
    GROUP,
    VERSION,
    "chaosengines",
    "ChaosEngine",
    columns=(path_column("Status", "status.engineStatus"), AGE),
    validate=_engine_rules,
    custom=True,
)
CHAOS_RESULT = Kind(
    GROUP,
    VERSION,
    "chaosresults",
    "ChaosResult",
    columns=(path_column("Verdict", "status.experimentStatus.verdict"), AGE),
    custom=True,
)
KINDS = (CHAOS_EXPERIMENT, CHAOS_ENGINE, CHAOS_RESULT)


def experiment(name: str, namespace: str, scope: str = "Namespaced") -> Object:
    """Build an experiment as it is installed in a namespace."""
    definition = {
        "scope": scope,
        "image": "litmuschaos.docker.scarf.sh/litmuschaos/go-runner:3.16.0",
        "args": ["-c", f"./experiments -name {name}"],
        "command": ["/bin/bash"],
        "env": [{"name": DURATION, "value": "15"}],
        "labels": {"name": name},
        "permissions": [],
    }
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"definition": definition}}


@dataclass
class _Chaos:
    """One engine's experiment under way: when it began, when it hurts next, and which probes have failed how.

    `slowed` are the world's services with a fault of it.
    """

    began: datetime
    next_hurt: datetime
    slowed: list[str] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)  # pod → injected, targeted, reverted
    asked: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


class LitmusOperator:
    """Stands in for Litmus' operator, runner and experiments, of which it knows EXPERIMENTS.

    pod-delete deletes pods; network latency and CPU hog make the world's service of the target slower. Probes of the
    kind promProbe ask the world's metrics while the experiment goes on.
    """

    def __init__(self, cluster: Cluster, world: World) -> None:
        self._cluster = cluster
        self._world = world
        self._running: dict[Key, _Chaos] = {}

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is CHAOS_ENGINE:
            yield key_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        engine = self._cluster.store.get(CHAOS_ENGINE, namespace, name)
        if engine is None:
            self._revert(namespace, name)
            return
        state = status_of(engine).get("engineStatus")
        if state in ("completed", "stopped"):
            return
        if engine["spec"]["engineState"] == "stop":
            self._end(engine, "Stopped", "Stopped", "stopped")
        elif state is None:
            starts = self._cluster.now() + timedelta(seconds=START_SECONDS + _seconds(engine, RAMP, 0.0))
            self._running[namespace, name] = _Chaos(starts, starts)
            self._set_status(engine, "initialized", "Running", "Awaited")
            self._cluster.enqueue(self, (namespace, name), START_SECONDS)
        else:
            self._go_on(engine, self._running[namespace, name])

    def _go_on(self, engine: Object, chaos: _Chaos) -> None:
        key, now = key_of(engine), self._cluster.now()
        if now < chaos.began:
            self._cluster.enqueue(self, key, (chaos.began - now).total_seconds())
            return
        if self._cluster.store.get(CHAOS_EXPERIMENT, namespace_of(engine), _experiment(engine)["name"]) is None:
            self._set_status(engine, "completed", "ChaosExperiment Not Found", "Fail")
            return
        if not self._pods(engine):
            self._end(engine, "Completed", "Fail", "completed", failed_step="no pod matches appinfo.applabel")
            return
        self._write_result(engine, "Running", "Awaited", chaos)
        self._ask_probes(engine, chaos)
        if any(_stops(probe) for probe in _probes(engine) if probe["name"] in chaos.failed):
            self._end(engine, "Stopped", "Stopped", "stopped")
            return
        ends = chaos.began + timedelta(seconds=_seconds(engine, DURATION, DEFAULT_DURATION))
        if now >= ends:
            self._end(engine, "Completed", "Fail" if chaos.failed else "Pass", "completed")
            return
        if now >= chaos.next_hurt:
            self._hurt(engine, chaos)
            chaos.next_hurt = now + timedelta(seconds=_seconds(engine, INTERVAL, DEFAULT_INTERVAL))
        again = min(chaos.next_hurt, ends, now + timedelta(seconds=min(map(_interval, _probes(engine)), default=60.0)))
        self._cluster.enqueue(self, key, (again - now).total_seconds())

    def _hurt(self, engine: Object, chaos: _Chaos) -> None:
        pods, name = self._pods(engine), _experiment(engine)["name"]
        chosen = pods[: max(1, math.floor(len(pods) * _seconds(engine, "PODS_AFFECTED_PERC", 0.0) / 100))]
        if name == POD_DELETE:
            for pod in chosen:
                self._cluster.writer.delete(POD, pod)
                chaos.targets[name_of(pod)] = "reverted"
            return
        if chaos.targets:
            return
        chaos.targets = {name_of(pod): "injected" for pod in chosen}
        share = len(chosen) / len(pods)
        slower = _seconds(engine, "NETWORK_LATENCY", 2000.0) / 100 if name == NETWORK_LATENCY else 1.5
        chaos.slowed = self._services(engine)
        for service in chaos.slowed:
            self._world.inject(service, _fault(engine), Fault(1.0 + share * slower, 0.0))

    def _revert(self, namespace: str, name: str) -> None:
        chaos = self._running.pop((namespace, name), None)
        for service in chaos.slowed if chaos else ():
            self._world.clear(service, f"chaos/{namespace}/{name}")

    def _end(self, engine: Object, phase: str, verdict: str, state: str, failed_step: str = "") -> None:
        key = key_of(engine)
        chaos = self._running.get(key)
        if chaos is not None:
            chaos.targets = dict.fromkeys(chaos.targets, "reverted")
        self._revert(*key)
        self._write_result(engine, phase, verdict, chaos, failed_step)
        self._set_status(engine, state, "Completed" if state == "completed" else "Forcefully Aborted", verdict)

    def _ask_probes(self, engine: Object, chaos: _Chaos) -> None:
        self._world.advance()
        for probe in _probes(engine):
            if probe.get("type") == "promProbe":
                chaos.asked.add(probe["name"])
                why = self._breach(probe["promProbe/inputs"])
                if why and probe["name"] not in chaos.failed:
                    chaos.failed[probe["name"]] = why

    def _breach(self, inputs: Mapping[str, Any]) -> str:
        """Return why a probe's query is not as its comparator says, empty if it is."""
        comparator = inputs["comparator"]
        try:
            value = vector_of(prometheus.query(self._world.tsdb, inputs["query"], self._world.at))
        except QueryError as error:
            return str(error)
        values = [float(row[0]) for row, there in zip(value.values, value.present, strict=True) if there[0]]
        if not values:
            return "the query has no value"
        if COMPARE[comparator["criteria"]](values[0], float(comparator["value"])):
            return ""
        return f"Actual value: {values[0]:.6g}. Expected value: {comparator['criteria']} {comparator['value']}"

    def _pods(self, engine: Object) -> list[Object]:
        target = engine["spec"].get("appinfo") or {}
        wanted = dict(part.partition("=")[::2] for part in str(target.get("applabel") or "").split(",") if part)
        pods = self._cluster.store.all(POD, str(target.get("appns") or namespace_of(engine)))
        return [pod for pod in pods if wanted and wanted.items() <= labels_of(pod).items() and not is_terminating(pod)]

    def _services(self, engine: Object) -> list[str]:
        pods = [pod for pod in self._pods(engine) if namespace_of(pod) == NAMESPACE]
        return sorted({app for pod in pods if (app := labels_of(pod).get("app", "")) in self._world.deployments})

    def _write_result(
        self, engine: Object, phase: str, verdict: str, chaos: _Chaos | None, failed_step: str = ""
    ) -> None:
        spec = {"engine": name_of(engine), "experiment": _experiment(engine)["name"]}
        name = f"{spec['engine']}-{spec['experiment']}"
        probes = [_probe_status(probe, chaos, ended=verdict != "Awaited") for probe in _probes(engine)]
        passed = sum(probe["status"]["verdict"] == "Passed" for probe in probes)
        percentage = "Awaited" if verdict == "Awaited" else f"{100 * passed // len(probes) if probes else 0}"
        test: Object = {"phase": phase, "verdict": verdict, "probeSuccessPercentage": percentage}
        if failed_step:
            test["failureOutput"] = {"errorCode": "TARGET_SELECTION_ERROR", "failedStep": failed_step}
        runs = {"Pass": "passedRuns", "Fail": "failedRuns", "Stopped": "stoppedRuns"}
        history: Object = {"passedRuns": 0, "failedRuns": 0, "stoppedRuns": 0}
        if verdict in runs:
            history[runs[verdict]] = 1
        targets = chaos.targets if chaos else {}
        history["targets"] = [{"name": pod, "kind": "pod", "chaosStatus": how} for pod, how in targets.items()]
        status = {"experimentStatus": test, "probeStatuses": probes, "history": history}
        present = self._cluster.store.get(CHAOS_RESULT, namespace_of(engine), name)
        if present is None:
            metadata = {"name": name, "namespace": namespace_of(engine)}
            present = self._cluster.writer.create(CHAOS_RESULT, {"metadata": metadata, "spec": spec})
        self._cluster.store.put(CHAOS_RESULT, {**deep_copy(present), "status": status})

    def _set_status(self, engine: Object, state: str, experiment_status: str, verdict: str) -> None:
        present = self._cluster.store.get(CHAOS_ENGINE, namespace_of(engine), name_of(engine))
        if present is None:
            return
        one = {
            "name": _experiment(engine)["name"],
            "runner": f"{name_of(engine)}-runner",
            "status": experiment_status,
            "verdict": verdict,
            "lastUpdateTime": timestamp(self._cluster.now()),
        }
        self._cluster.store.put(
            CHAOS_ENGINE, {**deep_copy(present), "status": {"engineStatus": state, "experiments": [one]}}
        )


def _experiment(engine: Object) -> Object:
    first: Object = engine["spec"]["experiments"][0]
    return first


def _probes(engine: Object) -> list[Object]:
    return list((_experiment(engine).get("spec") or {}).get("probe") or ())


def _seconds(engine: Object, name: str, default: float) -> float:
    variables = ((_experiment(engine).get("spec") or {}).get("components") or {}).get("env") or ()
    return next((float(one["value"]) for one in variables if one["name"] == name and one.get("value")), default)


def _interval(probe: Object) -> float:
    text = str(probe["runProperties"].get("probePollingInterval") or probe["runProperties"].get("interval") or "5s")
    number = text.rstrip("hms")
    return float(number) * UNITS.get(text[len(number) :], 1.0)


def _stops(probe: Object) -> bool:
    return bool(probe["runProperties"].get("stopOnFailure"))


def _fault(engine: Object) -> str:
    return f"chaos/{namespace_of(engine)}/{name_of(engine)}"


def _probe_status(probe: Object, chaos: _Chaos | None, *, ended: bool) -> Object:
    name = probe["name"]
    failed = (chaos.failed if chaos else {}).get(name)
    asked = chaos is not None and name in chaos.asked
    verdict = "Failed" if failed else "Awaited" if not ended else "Passed" if asked else "N/A"
    status = {"verdict": verdict, "description": failed or ""}
    return {"name": name, "type": probe["type"], "mode": probe["mode"], "status": status}
