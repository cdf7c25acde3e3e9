"""What a kubelet says of a pod."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sandbox.kubernetes.objects import Object, condition, status_of, timestamp, uid_of


def pod_status(
    pod: Object,
    now: datetime,
    phase: str,
    *,
    waiting: str | None = None,
    ready: bool = True,
    exit_code: int | None = None,
) -> Object:
    """The status in `phase`; a container that is `waiting` says for what, one that has ended with which `exit_code`."""
    at = timestamp(now)
    ready = ready and phase == "Running" and waiting is None
    state: Object = {"running": {"startedAt": at}}
    if waiting is not None:
        state = {"waiting": {"reason": waiting}}
    if exit_code is not None:
        state = {"terminated": _ended(pod, exit_code, at)}
    known = status_of(pod)
    statuses = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "" if waiting else f"sha256:{hashlib.sha256(container['image'].encode()).hexdigest()}",
            "ready": ready,
            "started": ready,
            "restartCount": 5 if waiting == "CrashLoopBackOff" else 0,
            "state": state,
            "lastState": {},
        }
        for container in pod["spec"]["containers"]
    ]
    address = _address(uid_of(pod))
    return {
        "phase": phase,
        "qosClass": "Burstable",
        "hostIP": "10.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": known.get("startTime", at),
        "conditions": [*_scheduled(pod, at), *with_readiness(pod, ready, now)],
        "containerStatuses": statuses,
    }


def with_readiness(pod: Object, ready: bool, now: datetime) -> list[Object]:
    """The conditions of a pod that runs: their times stay while nothing turns."""
    result = []
    for kind, holds in (("Initialized", True), ("ContainersReady", ready), ("Ready", ready)):
        before = condition(pod, kind)
        if before is None or before["status"] != str(holds):
            before = {"type": kind, "status": str(holds), "lastTransitionTime": timestamp(now)}
        result.append(before)
    return result


def _scheduled(pod: Object, at: str) -> list[Object]:
    return [condition(pod, "PodScheduled") or {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}]


def _ended(pod: Object, exit_code: int, at: str) -> Object:
    began = condition(pod, "Ready")
    return {
        "exitCode": exit_code,
        "reason": "Error" if exit_code else "Completed",
        "startedAt": began["lastTransitionTime"] if began else at,
        "finishedAt": at,
    }


def _address(uid: str) -> str:
    number = int(uid[:6], 16)
    return f"10.{number % 8 + 1}.{number // 8 % 256}.{number // 2048 % 250 + 2}"
