"""The kubelets: containers start, get ready, end and are removed, as their images' behaviour says."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.behaviour import Behaviour, Behaviours
from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    condition,
    is_terminating,
    is_true,
    moment,
    name_of,
    namespace_of,
    status_of,
)
from sandbox.kubernetes.pod_status import pod_status
from sandbox.kubernetes.resources.main import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key

FAREWELL = 2.0  # s that a container takes to end when it is asked to


class Kubelet:
    def __init__(self, cluster: Cluster, behaviours: Behaviours) -> None:
        self._cluster = cluster
        self._behaviours = behaviours

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is POD and change.type != "DELETED" and change.object["spec"].get("nodeName"):
            yield namespace_of(change.object), name_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        pod = self._cluster.store.get(POD, namespace, name)
        if pod is None or not pod["spec"].get("nodeName"):
            return
        node = self._cluster.store.get(NODE, "", pod["spec"]["nodeName"])
        if node is None or not is_true(node, "Ready"):
            return
        if is_terminating(pod):
            self._end(pod)
        elif status_of(pod).get("phase") in ("Succeeded", "Failed"):
            return
        elif "startTime" not in status_of(pod):
            self._begin(pod)
        else:
            self._go_on(pod)

    def _end(self, pod: Object) -> None:
        key = (namespace_of(pod), name_of(pod))
        deleted = moment(pod["metadata"]["deletionTimestamp"])
        grace = pod["metadata"]["deletionGracePeriodSeconds"]
        left = (deleted - self._cluster.now()).total_seconds() - grace + min(FAREWELL, grace)
        if left > 0:
            self._cluster.look_again(self, key, left)
        else:
            self._cluster.store.remove(POD, *key)

    def _begin(self, pod: Object) -> None:
        behaviour = self._behaviour(pod)
        self._cluster.writer.set_status(
            POD, pod, pod_status(pod, self._cluster.now(), "Pending", waiting="ContainerCreating")
        )
        for container in pod["spec"]["containers"]:
            self._tell(pod, "Pulling", f'Pulling image "{container["image"]}"')
        self._cluster.look_again(self, (namespace_of(pod), name_of(pod)), behaviour.start)

    def _go_on(self, pod: Object) -> None:
        behaviour = self._behaviour(pod)
        began = moment(status_of(pod)["startTime"])
        spent = (self._cluster.now() - began).total_seconds()
        key = (namespace_of(pod), name_of(pod))
        if spent < behaviour.start - 1e-3:
            self._cluster.look_again(self, key, behaviour.start - spent)
            return
        if behaviour.fault is not None:
            self._fail(pod, behaviour)
            return
        ends = pod["spec"].get("restartPolicy") != "Always"
        left = behaviour.start + behaviour.run - spent
        if ends and left <= 1e-3:
            phase = "Failed" if behaviour.exit_code else "Succeeded"
            self._cluster.writer.set_status(
                POD, pod, pod_status(pod, self._cluster.now(), phase, exit_code=behaviour.exit_code)
            )
            return
        if condition(pod, "Ready") is None or status_of(pod)["phase"] == "Pending":
            self._show(pod, "Running")
            for container in pod["spec"]["containers"]:
                self._tell(pod, "Pulled", f'Successfully pulled image "{container["image"]}"')
                self._tell(pod, "Started", f"Started container {container['name']}")
        if ends:
            self._cluster.look_again(self, key, left)

    def _fail(self, pod: Object, behaviour: Behaviour) -> None:
        phase = "Pending" if behaviour.fault == "ImagePullBackOff" else "Running"
        waiting = None if behaviour.fault == "NotReady" else behaviour.fault
        wanted = pod_status(pod, self._cluster.now(), phase, waiting=waiting, ready=False)
        before = status_of(pod).get("containerStatuses")
        if before == wanted["containerStatuses"]:
            return
        self._cluster.writer.set_status(POD, pod, wanted)
        match behaviour.fault:
            case "ImagePullBackOff":
                image = pod["spec"]["containers"][0]["image"]
                self._tell(pod, "Failed", f'Failed to pull image "{image}": not found', warning=True)
                self._tell(pod, "BackOff", f'Back-off pulling image "{image}"', warning=True)
            case "CrashLoopBackOff":
                container = pod["spec"]["containers"][0]["name"]
                told = f"Back-off restarting failed container {container} in pod {name_of(pod)}"
                self._tell(pod, "BackOff", told, warning=True)
            case _:
                self._tell(
                    pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", warning=True
                )

    def _behaviour(self, pod: Object) -> Behaviour:
        """The worst of its containers' behaviours: the slowest, or one that fails."""
        known = [self._behaviours.of(container) for container in pod["spec"]["containers"]]
        return max(known, key=lambda one: (one.fault is not None, one.start))

    def _show(self, pod: Object, phase: str, *, waiting: str | None = None, exit_code: int | None = None) -> None:
        status = pod_status(pod, self._cluster.now(), phase, waiting=waiting, exit_code=exit_code)
        self._cluster.writer.set_status(POD, pod, status)

    def _tell(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        self._cluster.event(pod, reason, message, source="kubelet", warning=warning)
