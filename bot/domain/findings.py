"""What is looked for when a service suffers: the findings, where they come from, and how common they are."""

from __future__ import annotations

from collections.abc import Mapping

ILL = 0.5  # value of a finding from which it counts as made

# How often each finding is there at a service while something else is to blame.
BASE: Mapping[str, float] = {
    "ill": 0.45,
    "slow": 0.4,
    "failing": 0.25,
    "sudden": 0.5,
    "more_requests": 0.12,
    "more_requests_per_pod": 0.15,
    "more_requests_only_here": 0.06,
    "new_version": 0.15,
    "new_configuration": 0.07,
    "new_limits": 0.02,
    "scaled": 0.03,
    "new_pods_worse": 0.06,
    "all_pods_ill": 0.35,
    "some_pods_ill": 0.15,
    "one_node_ill": 0.06,
    "one_zone_ill": 0.04,
    "one_version_ill": 0.04,
    "versions_side_by_side": 0.06,
    "fewer_pods": 0.07,
    "pods_gone_with_node": 0.04,
    "node_not_ready": 0.05,
    "node_busy": 0.07,
    "more_cpu": 0.2,
    "more_work_per_request": 0.06,
    "throttled": 0.08,
    "memory_climbs": 0.04,
    "killed_for_memory": 0.03,
    "accelerator_full": 0.1,
    "others_ill": 0.15,
    "unrelated_ill": 0.1,
    "autoscaler_at_most": 0.06,
    "quota_refuses": 0.01,
    "dependency_ill": 0.08,
    "database_full": 0.05,
    "policy_changed": 0.03,
    "certificate_ended": 0.01,
}

# Which source each finding comes from, for what is said when it is missing.
SOURCE: Mapping[str, str] = {
    **dict.fromkeys(("ill", "slow", "failing", "sudden", "more_requests", "more_requests_only_here", "others_ill",
                     "accelerator_full"), "metrics"),
    **dict.fromkeys(
        ("all_pods_ill", "some_pods_ill", "one_node_ill", "one_zone_ill", "one_version_ill", "new_pods_worse",
         "versions_side_by_side", "more_requests_per_pod"),
        "pod_metrics",
    ),
    **dict.fromkeys(("more_cpu", "more_work_per_request", "throttled", "memory_climbs"), "usage"),
    **dict.fromkeys(
        ("new_version", "new_configuration", "new_limits", "scaled", "fewer_pods", "pods_gone_with_node",
         "killed_for_memory", "autoscaler_at_most", "quota_refuses", "policy_changed"),
        "cluster",
    ),
    **dict.fromkeys(("node_not_ready", "node_busy"), "nodes"),
    "dependency_ill": "dependencies",
    "unrelated_ill": "dependencies",
    "database_full": "database",
    "certificate_ended": "certificates",
}  # fmt: skip
