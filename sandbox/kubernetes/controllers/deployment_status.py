"""What a deployment says of itself: counts, and the conditions that `kubectl rollout status` waits for.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from __future__ import annotations

from datetime import datetime

from sandbox.kubernetes.objects import Object, condition, moment, name_of, status_of, timestamp

UNDER_WAY = ("NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated")
COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")


def status(deployment: Object, sets: list[Object], new: Object | None, now: datetime, unavailable: int) -> Object:
    """The status now. `unavailable` is how many pods may be missing while all is well."""
    wanted = deployment["spec"]["replicas"]
    available = _sum(sets, "availableReplicas")
    total = _sum(sets, "replicas")
    counts = {
        "replicas": total,
        "updatedReplicas": status_of(new).get("replicas", 0) if new else 0,
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(max(total, wanted) - available, 0),
    }
    enough = available >= wanted - unavailable
    conditions = [
        _condition(
            deployment,
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            now,
        ),
        _progressing(deployment, counts, new, now),
    ]
    shown: Object = {name: number for name, number in counts.items() if number}
    return {"observedGeneration": deployment["metadata"]["generation"], **shown, "conditions": conditions}


def _sum(sets: list[Object], count: str) -> int:
    return sum(status_of(one).get(count, 0) for one in sets)


def _progressing(deployment: Object, counts: dict[str, int], new: Object | None, now: datetime) -> Object:
    before = condition(deployment, "Progressing")
    if deployment["spec"].get("paused"):
        return _condition(deployment, "Progressing", None, "DeploymentPaused", "Deployment is paused", now)
    wanted = deployment["spec"]["replicas"]
    name = name_of(new) if new else ""
    if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted:
        told = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition(deployment, "Progressing", True, "NewReplicaSetAvailable", told, now)
    had = status_of(deployment)
    old, old_before = (
        counts["replicas"] - counts["updatedReplicas"],
        had.get("replicas", 0) - had.get("updatedReplicas", 0),
    )
    moved = (
        had.get("observedGeneration") != deployment["metadata"]["generation"]
        or old < old_before
        or any(counts[one] > had.get(one, 0) for one in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    )
    if before is None or before["reason"] in ("NewReplicaSetAvailable", "DeploymentPaused") or moved:
        told = f'ReplicaSet "{name}" is progressing.'
        return _condition(deployment, "Progressing", True, "ReplicaSetUpdated", told, now, again=True)
    spent = (now - moment(before["lastUpdateTime"])).total_seconds()
    if spent < deployment["spec"]["progressDeadlineSeconds"] or before["reason"] == "ProgressDeadlineExceeded":
        return before
    told = f'ReplicaSet "{name}" has timed out progressing.'
    return _condition(deployment, "Progressing", False, "ProgressDeadlineExceeded", told, now)


def _condition(
    deployment: Object, kind: str, holds: bool | None, reason: str, message: str, now: datetime, *, again: bool = False
) -> Object:
    """The condition as it is now: its times stay while nothing about it changes, unless it is told `again`."""
    state = "Unknown" if holds is None else str(holds)
    before = condition(deployment, kind)
    same = before is not None and (before["status"], before["reason"], before["message"]) == (state, reason, message)
    if before is not None and same and not again:
        return before
    turned = before is None or before["status"] != state
    return {
        "type": kind,
        "status": state,
        "reason": reason,
        "message": message,
        "lastUpdateTime": timestamp(now),
        "lastTransitionTime": timestamp(now) if before is None or turned else before["lastTransitionTime"],
    }
