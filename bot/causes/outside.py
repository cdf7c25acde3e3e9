"""Causes that lie outside of the service."""

from __future__ import annotations

from bot.causes.registry import CAUSES, Ways
from bot.domain.diagnosis import Place


@CAUSES.cause(
    Place.OUTSIDE,
    must=["more_requests", "more_requests_only_here", "autoscaler_at_most", "quota_refuses"],
    treatments=["kubernetes.scale"],
    treatments_if={"accelerator_full": ["kubernetes.set_node_selector"]},  # more pods would share the same GPUs
)
def more_load() -> Ways:
    """Requests rose, and work for each did not. Refuted by requests that stayed as they were."""
    shared = {
        "ill": 0.93,
        "slow": 0.93,
        "more_requests": 0.97,
        "more_requests_only_here": 0.05,
        "more_requests_per_pod": 0.93,
        "more_cpu": 0.93,
        "all_pods_ill": 0.9,
        "some_pods_ill": 0.07,
        "autoscaler_at_most": 0.02,
    }
    return [{**shared, "more_work_per_request": 0.04}, {**shared, "accelerator_full": 0.85}]


@CAUSES.cause(
    Place.OUTSIDE,
    must=["dependency_ill", "unrelated_ill", "some_pods_ill", "database_full", "more_work_per_request"],
    remains="dependency_ill",
)
def slow_dependency() -> Ways:
    """A service that this one calls suffered first; its own work is unchanged. Refuted by healthy dependencies."""
    return {
        "ill": 0.93,
        "dependency_ill": 0.96,
        "others_ill": 0.7,
        "unrelated_ill": 0.05,
        "more_work_per_request": 0.05,
        "more_cpu": 0.08,
        "all_pods_ill": 0.9,
        "some_pods_ill": 0.06,
        "throttled": 0.04,
        "new_pods_worse": 0.05,
    }


@CAUSES.cause(Place.OUTSIDE, must=["database_full"], treatments=["aws.rds_failover"], remains="database_full")
def database() -> Ways:
    """The database's connections are used up, and all that use it suffer. Refuted by free connections."""
    return {
        "ill": 0.93,
        "slow": 0.9,
        "database_full": 0.96,
        "others_ill": 0.6,
        "more_work_per_request": 0.05,
        "more_cpu": 0.08,
        "all_pods_ill": 0.9,
        "some_pods_ill": 0.06,
    }


@CAUSES.cause(Place.OUTSIDE, must=["policy_changed", "failing", "certificate_ended"], remains="policy_changed")
def network_policy() -> Ways:
    """Calls fail from the moment of a change of a network policy on. Refuted by policies that nobody changed."""
    return {
        "ill": 0.97,
        "failing": 0.97,
        "policy_changed": 0.95,
        "sudden": 0.95,
        "more_work_per_request": 0.08,
        "more_cpu": 0.08,
        "all_pods_ill": 0.93,
        "some_pods_ill": 0.06,
    }


@CAUSES.cause(Place.OUTSIDE, must=["certificate_ended", "failing"], remains="certificate_ended")
def certificate() -> Ways:
    """A certificate has ended, and calls fail from then on. Refuted by certificates that are valid."""
    return {
        "ill": 0.97,
        "failing": 0.97,
        "certificate_ended": 0.97,
        "sudden": 0.95,
        "all_pods_ill": 0.93,
        "more_cpu": 0.08,
    }
