"""What stands in a namespace of TAMV's besides its releases: budgets, an autoscaler, secrets, maintenance, an agent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sandbox.kubernetes.objects import Object, timestamp
from sandbox.kubernetes.resources.apps import DAEMON_SET
from sandbox.kubernetes.resources.batch import CRON_JOB
from sandbox.kubernetes.resources.others import AUTOSCALER, DISRUPTION_BUDGET, EXTERNAL_SECRET
from sandbox.kubernetes.writes import Writer
from sandbox.world.services import NAMESPACE as PRODUCTION


def plant(writer: Writer, namespace: str, company: Any, now: datetime) -> None:
    for service, keys in company["secrets"].items():
        writer.create(EXTERNAL_SECRET, external_secret(service, namespace, keys))
    planned = writer.create(CRON_JOB, maintenance(namespace))
    writer.set_status(CRON_JOB, planned, {"lastScheduleTime": timestamp(now)})
    if namespace != PRODUCTION:
        return
    for service in company["releases"]:
        writer.create(DISRUPTION_BUDGET, budget(service, namespace))
    for service, bounds in company["autoscaled"].items():
        writer.create(AUTOSCALER, autoscaler(service, namespace, bounds))
    writer.create(DAEMON_SET, agent())


def external_secret(service: str, namespace: str, keys: dict[str, str]) -> Object:
    """The secrets of a service: what each is called, and where below `NAMESPACE/` in Vault it stands."""
    name = f"{service}-secrets"
    data = []
    for key, place in keys.items():
        path, _, entry = place.partition("/")
        data.append({"secretKey": key, "remoteRef": {"key": f"{namespace}/{path}", "property": entry}})
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": service}},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
            "target": {"name": name, "creationPolicy": "Owner"},
            "data": data,
        },
    }


def budget(service: str, namespace: str) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": service}}}
    return {"metadata": {"name": service, "namespace": namespace}, "spec": spec}


def autoscaler(service: str, namespace: str, bounds: Any) -> Object:
    target = {"type": "Utilization", "averageUtilization": bounds["cpu"]}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service},
        "minReplicas": bounds["min"],
        "maxReplicas": bounds["max"],
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {"metadata": {"name": service, "namespace": namespace}, "spec": spec}


def maintenance(namespace: str) -> Object:
    """The integrity check that the manual makes a job from."""
    container = {"name": "db-maintenance", "image": "registry.tamv.world/db-maintenance:v1.4.0", "args": ["--check"]}
    pod = {"containers": [container], "restartPolicy": "Never"}
    job = {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    metadata = {"name": "db-maintenance", "namespace": namespace}
    return {"metadata": metadata, "spec": {"schedule": "30 3 * * 0", "jobTemplate": job, "concurrencyPolicy": "Forbid"}}


def agent() -> Object:
    """A pod on every node, which a drain leaves where it is."""
    labels = {"app": "node-exporter"}
    pod = {
        "containers": [{"name": "node-exporter", "image": "quay.io/prometheus/node-exporter:v1.9.1"}],
        "tolerations": [{"operator": "Exists"}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": "node-exporter", "namespace": "kube-system", "labels": labels}
    return {"metadata": metadata, "spec": {"selector": {"matchLabels": labels}, "template": template}}
