"""Causes that lie in the cluster."""

from __future__ import annotations

from bot.causes.registry import CAUSES, Ways
from bot.domain.diagnosis import Place


@CAUSES.cause(
    Place.NODE,
    must=["node_not_ready"],
    treatments=["kubernetes.set_node_selector", "kubernetes.drain"],
    remains="node_not_ready",
)
def node_loss() -> Ways:
    """A node is not ready, and its pods are gone. Refuted by nodes that are all ready."""
    shared = {"ill": 0.93, "node_not_ready": 0.95, "more_work_per_request": 0.05, "scaled": 0.02, "new_pods_worse": 0.1}
    return [
        {**shared, "fewer_pods": 0.9, "pods_gone_with_node": 0.9, "more_requests_per_pod": 0.85, "sudden": 0.9},
        {**shared, "accelerator_full": 0.85, "slow": 0.9, "fewer_pods": 0.4, "pods_gone_with_node": 0.6},
    ]


@CAUSES.cause(Place.NODE, must=["one_node_ill", "some_pods_ill"], treatments=["kubernetes.drain"], remains="node_busy")
def noisy_neighbour() -> Ways:
    """Only pods of one node suffer, and it is busier than they explain. Refuted by pods that suffer elsewhere."""
    return {
        "ill": 0.93,
        "slow": 0.93,
        "node_busy": 0.95,
        "one_node_ill": 0.93,
        "some_pods_ill": 0.95,
        "all_pods_ill": 0.05,
        "more_work_per_request": 0.06,
    }


@CAUSES.cause(Place.OUTSIDE, must=["one_zone_ill", "some_pods_ill"])
def zone_trouble() -> Ways:
    """Only pods of one zone suffer, of several services. Refuted by pods that suffer in another zone."""
    return {
        "ill": 0.95,
        "one_zone_ill": 0.95,
        "some_pods_ill": 0.95,
        "all_pods_ill": 0.05,
        "others_ill": 0.7,
        "sudden": 0.8,
    }


@CAUSES.cause(must=["quota_refuses"], remains="quota_refuses")
def quota_reached() -> Ways:
    """The cluster refuses new pods because a quota is used up. Refuted by a controller that is refused nothing."""
    return {
        "ill": 0.93,
        "slow": 0.85,
        "quota_refuses": 0.97,
        "more_requests": 0.7,
        "more_requests_per_pod": 0.8,
        "more_cpu": 0.7,
        "all_pods_ill": 0.8,
        "more_work_per_request": 0.04,
    }


@CAUSES.cause(
    must=["autoscaler_at_most", "more_requests_per_pod", "more_work_per_request"],
    treatments=["kubernetes.scale"],
    remains="autoscaler_at_most",
)
def autoscaler_limit() -> Ways:
    """The autoscaler is at its most, while requests rise and pods run hot. Refuted by room above."""
    return {
        "ill": 0.9,
        "slow": 0.9,
        "autoscaler_at_most": 0.97,
        "more_cpu": 0.9,
        "more_requests": 0.9,
        "more_requests_per_pod": 0.9,
        "sudden": 0.2,
        "more_work_per_request": 0.04,
        "all_pods_ill": 0.85,
    }
