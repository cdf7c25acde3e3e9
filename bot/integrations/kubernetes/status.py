"""How a workload stands, read as kubectl reads it: how far a rollout is, and what stands in its way.

Objects are plain JSON. Sources: kubectl's `rollout_status.go` and `describe.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]

REVISION = "deployment.kubernetes.io/revision"
ARGO_REVISION = "rollout.argoproj.io/revision"
ON_DELETE = "OnDelete"  # an update strategy: pods are replaced when somebody deletes them
GATES = "ReadinessGatesNotReady"  # what something else must say of a pod before it serves
STARTING = ("ContainerCreating", "PodInitializing")  # a container waits for these in any healthy start
# Reasons for which a container waits that no waiting mends; Kubernetes has tried more than once.
HOPELESS = frozenset(
    (
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "CrashLoopBackOff",
        "RunContainerError",
    )
)
MESSAGE_LIMIT = 300
PATIENCE_SECONDS = 10.0  # a permanent obstacle that is seen for so long is not a passing one


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps pods from running: Kubernetes' own reason and message, about a pod or the workload.

    `permanent`: waiting does not help, somebody must act.
    """

    reason: str
    about: str
    message: str = ""
    permanent: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.reason}" + (f" ({self.message})" if self.message else "")


@dataclass(frozen=True, slots=True)
class Rollout:
    """Progress of a rollout: pods wanted, updated and available; `done` as in `kubectl rollout status`.

    `stuck` is why the controller has given up; a `paused` workload rolls nothing out. `held` says why a change of its
    template replaces no pod: `OnDelete`, or a `partition` above all of them.
    """

    wanted: int
    updated: int
    available: int
    done: bool
    revision: int
    stuck: str | None = None
    paused: bool = False
    held: str | None = None


def rollout_of(kind: str, workload: Object) -> Rollout:
    """Return the progress of a `deployment`, `statefulset`, `daemonset` or Argo's `rollout`."""
    match kind:
        case "statefulset":
            return _stateful_set(workload)
        case "daemonset":
            return _daemon_set(workload)
        case "rollout":
            return _argo_rollout(workload)
    return _deployment(workload)


def _deployment(deployment: Object) -> Rollout:
    status, wanted = _status(deployment), replicas_of(deployment)
    updated, available, total = (
        int(status.get(name) or 0) for name in ("updatedReplicas", "availableReplicas", "replicas")
    )
    progressing = condition(deployment, "Progressing")
    exceeded = progressing.get("status") == "False" and progressing.get("reason") == "ProgressDeadlineExceeded"
    paused = bool(deployment["spec"].get("paused"))
    done = _is_observed(deployment) and updated == wanted and total == updated and available == updated
    stuck = str(progressing.get("message")) if exceeded else None
    return Rollout(wanted, updated, available, done, _revision(deployment, REVISION), stuck, paused)


def _stateful_set(stateful_set: Object) -> Rollout:
    status, wanted = _status(stateful_set), replicas_of(stateful_set)
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    is_updated = status.get("updateRevision") == status.get("currentRevision")
    if strategy.get("type") == ON_DELETE:
        is_updated = True
    elif partition:
        is_updated = updated >= wanted - partition
    total, available = int(status.get("replicas") or 0), int(status.get("availableReplicas", ready) or 0)
    are_up = total == wanted and ready == wanted and available >= wanted  # the last one only with minReadySeconds
    done = _is_observed(stateful_set) and are_up and (is_updated or not wanted)
    held = ON_DELETE if strategy.get("type") == ON_DELETE else None
    if not held and wanted and partition >= wanted:
        held = f"partition: {partition}"
    return Rollout(wanted, updated, available, done, 0, held=held)


def _daemon_set(daemon_set: Object) -> Rollout:
    status = _status(daemon_set)
    wanted, updated, available = (
        int(status.get(name) or 0) for name in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    )
    strategy = (daemon_set["spec"].get("updateStrategy") or {}).get("type")
    is_updated = updated >= wanted or strategy == ON_DELETE
    done = _is_observed(daemon_set) and is_updated and available >= wanted
    return Rollout(wanted, updated, available, done, 0, held=ON_DELETE if strategy == ON_DELETE else None)


def _argo_rollout(rollout: Object) -> Rollout:
    status, wanted = _status(rollout), replicas_of(rollout)
    phase, message = status.get("phase"), str(status.get("message") or "")
    done = phase == "Healthy" and str(status.get("observedGeneration")) == str(rollout["metadata"].get("generation"))
    restart = rollout["spec"].get("restartAt")
    done = done and (not restart or _instant(status.get("restartedAt")) >= _instant(restart))
    counts = (int(status.get(name) or 0) for name in ("updatedReplicas", "availableReplicas"))
    updated, available = counts
    stuck = (message or "Degraded") if phase == "Degraded" else None
    paused = phase == "Paused" or bool(rollout["spec"].get("paused"))
    return Rollout(wanted, updated, available, done, _revision(rollout, ARGO_REVISION), stuck, paused)


def pause_of(kind: str, workload: Object) -> Obstacle | None:
    """Return that the workload is paused, and in Argo's words at what; one that ends by itself is not permanent."""
    name, spec, status = workload["metadata"]["name"], workload["spec"], _status(workload)
    if kind != "rollout" or spec.get("paused"):
        return Obstacle("Paused", name, permanent=True) if spec.get("paused") else None
    if status.get("phase") != "Paused":
        return None
    strategy = spec.get("strategy") or {}
    steps, index = (strategy.get("canary") or {}).get("steps") or (), int(status.get("currentStepIndex") or 0)
    pause = (steps[index].get("pause") or {}) if index < len(steps) else {}
    ends = pause.get("duration") or (strategy.get("blueGreen") or {}).get("autoPromotionSeconds")
    return Obstacle("Paused", name, _short(status.get("message")), permanent=not ends)


def cautions_of(kind: str, workload: Object) -> list[dict[str, Any]]:
    """Return what replacing the pods does besides: each with its label of `cautions` as `kind`, and its facts."""
    spec, wanted = workload["spec"], replicas_of(workload)
    if kind == "deployment" and wanted and (spec.get("strategy") or {}).get("type") == "Recreate":
        return [{"kind": "recreate"}]
    if kind != "statefulset":
        return []
    partition = int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)
    if 0 < partition < wanted:
        return [{"kind": "partition", "replaced": wanted - partition, "wanted": wanted}]
    return [{"kind": "one_pod"}] if wanted == 1 else []


def replicas_of(workload: Object) -> int:
    """Return the desired number of pods; of a DaemonSet as many as there are nodes for it."""
    replicas = workload["spec"].get("replicas")
    return int(_status(workload).get("desiredNumberScheduled") or 0) if replicas is None else int(replicas)


def workload_obstacles(name: str, workload: Object) -> Iterator[Obstacle]:
    """Yield what the workload's own status says: no pod may be created (quota, Pod Security, admission)."""
    failure = condition(workload, "ReplicaFailure")
    if failure.get("status") == "True":
        message = _short(failure.get("message"))
        yield Obstacle(str(failure.get("reason") or "ReplicaFailure"), name, message, _is_forbidden(message))


def event_obstacle(name: str, event: Object) -> Obstacle:
    """Return a FailedCreate event, the only sign where the status has no condition for it."""
    message = _short(event.get("message"))
    return Obstacle(str(event.get("reason")), name, message, _is_forbidden(message))


def pod_obstacles(pod: Object) -> Iterator[Obstacle]:
    """Yield why a pod does not run or serve: unschedulable, evicted, why its containers wait, a readiness gate."""
    status, name = _status(pod), pod["metadata"]["name"]
    if status.get("phase") == "Failed":
        yield Obstacle(str(status.get("reason") or "Failed"), name, _short(status.get("message")))
        return
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield Obstacle(str(scheduled.get("reason") or "Unschedulable"), name, _short(scheduled.get("message")))
    for is_init, container in container_statuses(pod):
        state = (container.get("state") or {}).get("waiting") or {}
        reason = str(state.get("reason") or "")
        if not reason or reason in STARTING:
            continue
        last = last_end(container)
        message = ", ".join(filter(None, [last, "" if last else _short(state.get("message"))]))
        about = f"{name}/{container['name']}"
        yield Obstacle(f"Init:{reason}" if is_init else reason, about, message, reason in HOPELESS)
    ready = condition(pod, "Ready")
    if ready.get("status") == "False" and ready.get("reason") == GATES:
        yield Obstacle(GATES, name, _short(ready.get("message")))


def container_statuses(pod: Object) -> Iterator[tuple[bool, Object]]:
    """Yield each container's status, init containers first, and whether it is an init container."""
    for name, is_init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for container in _status(pod).get(name) or ():
            yield is_init, container


def last_end(container: Object) -> str:
    """Return how the container ended last: `OOMKilled, exit code 137`; empty if it never did."""
    terminated = (container.get("lastState") or {}).get("terminated")
    return describe_end(terminated) if terminated else ""


def describe_end(terminated: Object) -> str:
    """Return `OOMKilled, exit code 137`, with the container's last message if it left one."""
    parts = [str(terminated.get("reason") or ""), f"exit code {terminated.get('exitCode')}"]
    if terminated.get("signal"):
        parts.append(f"signal {terminated['signal']}")
    return ", ".join(filter(None, [*parts, _short(terminated.get("message"))]))


def pod_phase(pod: Object) -> str:
    """Return what `kubectl get pods` shows as STATUS: `Init:CrashLoopBackOff`, `Evicted`, `NotReady`, `Running`.

    One that cannot be scheduled is `Unschedulable`, where kubectl shows no more than `Pending`.
    """
    status = _status(pod)
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    if initializing := _initializing(pod):
        return initializing
    phase, running = str(status.get("reason") or status.get("phase") or "Unknown"), False
    shown = phase
    for container in reversed(status.get("containerStatuses") or ()):
        state = container.get("state") or {}
        running = running or bool(container.get("ready") and "running" in state)
        shown = _stopped(state) or shown
    if shown == "Completed" and running:
        return "Running" if condition(pod, "Ready").get("status") == "True" else "NotReady"
    scheduled = condition(pod, "PodScheduled")
    if shown == phase == "Pending" and scheduled.get("status") == "False":
        return str(scheduled.get("reason") or phase)
    return shown


def is_sidecar(container: Object) -> bool:
    """Return True for an init container that runs as long as the pod does."""
    return container.get("restartPolicy") == "Always"


def _initializing(pod: Object) -> str:
    """Return what the first init container that is not through shows: `Init:Error`, `Init:0/2`; empty if all are."""
    specified = {container["name"]: container for container in pod["spec"].get("initContainers") or ()}
    statuses = _status(pod).get("initContainerStatuses") or ()
    for number, container in enumerate(statuses):
        state = container.get("state") or {}
        ended = state.get("terminated")
        if ended and not ended.get("exitCode"):
            continue
        if is_sidecar(specified.get(container["name"]) or {}) and container.get("started"):
            continue
        reason = _stopped(state)
        return f"Init:{reason}" if reason and reason not in STARTING else f"Init:{number}/{len(statuses)}"
    return ""


def _stopped(state: Object) -> str:
    """Return why a container waits or how it ended; empty while it runs."""
    waiting, ended = state.get("waiting") or {}, state.get("terminated")
    if not ended:
        return str(waiting.get("reason") or "")
    exit_or_signal = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"
    return str(ended.get("reason") or exit_or_signal)


def condition(thing: Object, type: str) -> Object:
    """Return the condition of this type, or an empty one."""
    conditions = _status(thing).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == type), {})


def _status(thing: Object) -> Object:
    status: Object = thing.get("status") or {}
    return status


def _instant(text: object) -> datetime:
    return datetime.fromisoformat(str(text)) if text else datetime.min.replace(tzinfo=UTC)


def _is_observed(workload: Object) -> bool:
    return int(_status(workload).get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)


def _revision(workload: Object, annotation: str) -> int:
    return int((workload["metadata"].get("annotations") or {}).get(annotation) or 0)


def _is_forbidden(message: str) -> bool:
    """Return True if admission refuses the pods: a quota, Pod Security, a policy."""
    return any(sign in message for sign in ("forbidden", "denied", "exceeded quota", "violates"))


def _short(text: object) -> str:
    return " ".join(str(text or "").split())[:MESSAGE_LIMIT]
