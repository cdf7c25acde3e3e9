"""Which service of the team an alert is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bot.team import Service, TeamFile, fits

# Labels that name a workload, as kube-state-metrics and common scrape configurations have them.
_WORKLOADS = (
    "deployment", "statefulset", "daemonset", "workload", "horizontalpodautoscaler", "app", "app_kubernetes_io_name",
    "label_app", "label_app_kubernetes_io_name", "created_by_name", "container", "job_name", "cronjob", "job",
)  # fmt: skip
# What Kubernetes appends to a workload's name: `-7d9f4b8c6-x2x4z`, `-x2x4z`, `-0`.
_POD_SUFFIX = re.compile(r"(?:-(?=[a-z]*\d)[a-z0-9]{4,10}|-[a-z]{9,10})?-(?:\d+|[a-z0-9]{5})")


def service_of(labels: Mapping[str, str], team: TeamFile) -> str | None:
    """Return the service of an alert: by the team's rules, its service label, its workload, its pod, its namespace.

    None if it is not known: no service's metrics are then shown.
    """
    for rule in team.alerts.services:
        if fits(labels, rule.labels):
            return rule.service
    named = labels.get(team.alerts.service_label)
    if named in team.services:
        return named
    here = {name: service for name, service in team.services.items() if _is_in(service, labels.get("namespace"))}
    by_name = {workload: name for name, service in here.items() for workload in _names(name, service)}
    for label in _WORKLOADS:
        if (value := labels.get(label)) in by_name:
            return by_name[value]
    for label in ("pod", "pod_name", "replicaset"):
        for workload in sorted(by_name, key=len, reverse=True):
            if _is_pod_of(labels.get(label, ""), workload, is_set=label == "replicaset"):
                return by_name[workload]
    alone = [name for name, service in here.items() if labels.get("namespace") in service.namespaces.values()]
    return alone[0] if len(alone) == 1 else None


def _names(name: str, service: Service) -> Iterator[str]:
    yield name
    if service.deployment:
        yield service.deployment


def _is_in(service: Service, namespace: str | None) -> bool:
    return not namespace or not service.namespaces or namespace in service.namespaces.values()


def _is_pod_of(pod: str, workload: str, *, is_set: bool) -> bool:
    if not pod.startswith(f"{workload}-"):
        return pod == workload
    suffix = pod.removeprefix(workload)
    return suffix.count("-") == 1 if is_set else _POD_SUFFIX.fullmatch(suffix) is not None
