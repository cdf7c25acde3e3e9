"""Causes that lie in the service itself."""

from __future__ import annotations

from bot.causes.registry import CAUSES, Ways

SUSPECT_ITSELF = {"ill": 0.97, "others_ill": 0.15}


@CAUSES.cause(
    must=["new_version", "new_pods_worse", "versions_side_by_side", "ill"],
    treatments=["kubernetes.rollout_undo", "helm.rollback"],
    remains="new_version",
)
def bad_version() -> Ways:
    """New pods of another version are worse than the old ones. Refuted by equal pods, or by no new version."""
    shared = {
        **SUSPECT_ITSELF,
        "new_version": 0.95,
        "new_pods_worse": 0.93,
        "new_configuration": 0.07,
        "versions_side_by_side": 0.05,
    }
    return [
        {**shared, "some_pods_ill": 0.85, "all_pods_ill": 0.1, "one_version_ill": 0.7},
        {**shared, "all_pods_ill": 0.9, "some_pods_ill": 0.1},
        {**shared, "more_work_per_request": 0.9, "more_cpu": 0.85, "throttled": 0.4, "memory_climbs": 0.3},
        {**shared, "memory_climbs": 0.95, "killed_for_memory": 0.4},
    ]


@CAUSES.cause(
    must=["new_version", "one_version_ill", "versions_side_by_side", "ill"],
    treatments=["helm.rollback", "kubernetes.rollout_undo"],
    remains="new_version",
)
def bad_canary() -> Ways:
    """Only the pods of a new version that serves a part of the traffic suffer. Refuted by old pods that suffer too."""
    return {
        **SUSPECT_ITSELF,
        "new_version": 0.95,
        "new_pods_worse": 0.93,
        "one_version_ill": 0.95,
        "versions_side_by_side": 0.95,
        "some_pods_ill": 0.97,
        "all_pods_ill": 0.03,
    }


@CAUSES.cause(
    must=["new_configuration", "ill"],
    treatments=["kubernetes.set_env", "kubernetes.rollout_undo"],
    remains="new_configuration",
)
def bad_configuration() -> Ways:
    """A setting or a flag was changed just before, and all pods that have it suffer. Refuted by no such change."""
    shared = {
        **SUSPECT_ITSELF,
        "new_configuration": 0.95,
        "new_version": 0.05,
        "new_limits": 0.02,
        "all_pods_ill": 0.93,
        "some_pods_ill": 0.07,
        "new_pods_worse": 0.85,
    }
    return [
        {**shared, "more_work_per_request": 0.05, "more_cpu": 0.1},
        {**shared, "more_work_per_request": 0.95, "more_cpu": 0.9, "throttled": 0.4},
        {**shared, "accelerator_full": 0.9, "slow": 0.93},
    ]


@CAUSES.cause(
    must=["fewer_pods", "node_not_ready"], treatments=["kubernetes.scale"], remains="fewer_pods"
)
def too_few_replicas() -> Ways:
    """Fewer pods than before serve the same requests. Refuted by as many pods as before, or by a node that was lost."""
    return {
        **SUSPECT_ITSELF,
        "slow": 0.9,
        "fewer_pods": 0.97,
        "pods_gone_with_node": 0.05,
        "scaled": 0.7,
        "more_requests_per_pod": 0.95,
        "more_cpu": 0.3,
        "more_work_per_request": 0.04,
        "sudden": 0.85,
        "all_pods_ill": 0.85,
    }


@CAUSES.cause(must=["memory_climbs"], treatments=["kubernetes.restart"], remains="memory_climbs")
def memory_leak() -> Ways:
    """Memory climbs for long, until containers are killed. Refuted by memory that does not climb."""
    shared = {"ill": 0.9, "others_ill": 0.15, "memory_climbs": 0.96, "sudden": 0.3, "more_work_per_request": 0.06}
    return [
        {**shared, "killed_for_memory": 0.95, "some_pods_ill": 0.6},
        {**shared, "killed_for_memory": 0.03},
    ]


@CAUSES.cause(must=["throttled", "more_requests_per_pod", "ill"], treatments=["helm.upgrade"], remains="throttled")
def cpu_throttling() -> Ways:
    """The pods are at their CPU limit without more requests each. Refuted by no throttling, or by more requests."""
    shared = {**SUSPECT_ITSELF, "slow": 0.93, "throttled": 0.93, "more_cpu": 0.6, "more_requests_per_pod": 0.06}
    return [
        {**shared, "new_limits": 0.95, "new_pods_worse": 0.8, "sudden": 0.8, "more_work_per_request": 0.05},
        {**shared, "more_work_per_request": 0.93, "sudden": 0.2, "all_pods_ill": 0.9},
    ]
