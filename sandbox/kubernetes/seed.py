"""TAMV's cluster as it is at the start: nodes, releases with a history, pods that have long been up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox import yaml_file
from sandbox.kubernetes import charts, managed_fields
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    annotations_of,
    deep_copy,
    name_of,
    name_suffix,
    owner_reference,
    timestamp,
)
from sandbox.kubernetes.production import apply_world_template
from sandbox.kubernetes.resources.autoscaling import AUTOSCALER
from sandbox.kubernetes.resources.basic import NAMESPACE, SECRET, SERVICE, SERVICE_ACCOUNT
from sandbox.kubernetes.resources.batch import CRON_JOB
from sandbox.kubernetes.resources.daemon_sets import DAEMON_SET
from sandbox.kubernetes.resources.deployments import DEPLOYMENT, REPLICA_SET, REVISION, replica_set_for
from sandbox.kubernetes.resources.external_secrets import EXTERNAL_SECRET
from sandbox.kubernetes.resources.litmus import CHAOS_EXPERIMENT, EXPERIMENTS, experiment
from sandbox.kubernetes.resources.nodes import GENERAL_NODES, NODE, general_node, gpu_node
from sandbox.kubernetes.resources.pods import POD, pod_status
from sandbox.kubernetes.resources.policy import DISRUPTION_BUDGET
from sandbox.kubernetes.state import Store, WriteOptions, Writer
from sandbox.world.deployments import Deployment
from sandbox.world.services import GPU_NODES, SERVICES, Service
from sandbox.world.services import NAMESPACE as PRODUCTION
from sandbox.world.world import World

COMPANY = Path(__file__).with_name("company.yaml")
STAGING = "tamv-staging"
NAMESPACES = ("default", "kube-system", PRODUCTION, STAGING)
CLUSTER_AGE = timedelta(days=400)
EXTRAS_AGE = timedelta(days=30)
POD_AGE = timedelta(days=2)


def write_charts(folder: Path) -> None:
    """Write the charts of all services, as production's releases were installed from them."""
    secrets = _company()["secrets"]
    for service in SERVICES:
        charts.write(service, service.replicas, folder, f"{service.name}-secrets" if service.name in secrets else "")


def _company() -> Any:
    return yaml_file.read(COMPANY)


class Seed:
    """Puts the company's objects into a store. Pods of production are the world's, by the same names."""

    def __init__(self, store: Store, world: World, now: datetime) -> None:
        self._store = store
        self._world = world
        self._now = now
        self._company = _company()

    def create(self) -> None:
        writer = self._writer(CLUSTER_AGE)
        for name in GENERAL_NODES:
            writer.create(NODE, general_node(name, self._now))
        for node in GPU_NODES:
            writer.create(NODE, gpu_node(node, self._now))
        for name in NAMESPACES:
            writer.create(NAMESPACE, {"metadata": {"name": name}})
        for deployment in self._world.deployments.values():
            self._create_release(deployment.service, PRODUCTION, deployment)
            self._create_release(deployment.service, STAGING, None)
        for namespace in (PRODUCTION, STAGING):
            self._create_extras(namespace)

    def secret_store(self) -> dict[str, dict[str, str]]:
        """Return what External Secrets reads, by path, if there is no Vault."""
        store: dict[str, dict[str, str]] = {}
        for namespace in (PRODUCTION, STAGING):
            for location in (location for keys in self._company["secrets"].values() for location in keys.values()):
                path, _, entry = location.partition("/")
                store.setdefault(f"{namespace}/{path}", {})[entry] = name_suffix(f"{namespace}/{location}", 32)
        return store

    def _writer(self, age: timedelta) -> Writer:
        """Return a writer whose objects are of that age."""
        return Writer(self._store, lambda: self._now - age)

    # --- releases

    def _create_release(self, service: Service, namespace: str, live: Deployment | None) -> None:
        """Create a release with its revisions, and what the last of them has installed."""
        history = self._company["releases"][service.name]
        secrets = f"{service.name}-secrets" if service.name in self._company["secrets"] else ""
        replicas = service.replicas if live is not None else 1
        values = charts.values(service, replicas, secrets)
        first = self._now - timedelta(days=history[0]["days"])
        for number, past in enumerate(history, 1):
            age = timedelta(days=past["days"])
            secret = charts.revision(
                service.name, namespace, number, past["tag"], values, past["status"], self._now - age, first
            )
            self._writer(age).create(SECRET, secret)
        service_manifest, manifest = charts.manifests(service.name, values, history[-1]["tag"])
        writer = self._writer(self._now - first)
        self._install(writer, SERVICE, service.name, namespace, service_manifest)
        deployment = self._install(writer, DEPLOYMENT, service.name, namespace, manifest)
        installed = [past["tag"] for past in history if past["status"] != "failed"]
        deployment = self._bring_up_to_date(deployment, live, len(installed))
        self._create_past_replica_sets(deployment, installed[:-1])
        if live is None:
            self._create_pods(deployment, replicas)
        else:
            self._create_world_pods(deployment, live)

    def _install(self, writer: Writer, kind: Kind, name: str, namespace: str, manifest: Object) -> Object:
        wanted = charts.installed(name, namespace, manifest)
        applied = managed_fields.apply(kind, None, wanted, "helm", force=False, now=timestamp(writer.now()))
        return writer.create(kind, applied, WriteOptions(field_manager="helm", is_applied=True))

    def _bring_up_to_date(self, deployment: Object, live: Deployment | None, revision: int) -> Object:
        """Change the deployment to what the world has by now, where somebody has changed what was installed."""
        installed = deep_copy(deployment)
        installed["metadata"]["annotations"][REVISION] = str(revision)
        installed = self._store.put(DEPLOYMENT, installed)
        if live is None:
            return installed
        edited = deep_copy(installed)
        edited["spec"]["replicas"] = live.replicas
        apply_world_template(edited["spec"]["template"], live.template)
        options = WriteOptions(field_manager="kubectl-edit")
        return self._writer(timedelta()).replace(DEPLOYMENT, installed, edited, options)

    def _create_past_replica_sets(self, deployment: Object, tags: Sequence[str]) -> None:
        """Create the ReplicaSets of earlier revisions, without pods."""
        for number, tag in enumerate(tags, 1):
            past = deep_copy(deployment)
            container = past["spec"]["template"]["spec"]["containers"][0]
            container["image"] = f"{container['image'].rpartition(':')[0]}:{tag}"
            self._create_replica_set(past, number, 0)

    def _create_replica_set(
        self, deployment: Object, revision: int, replicas: int, template_hash: str | None = None
    ) -> Object:
        annotations = {**annotations_of(deployment), REVISION: str(revision)}
        replica_set = replica_set_for(deployment, annotations, template_hash)
        replica_set["spec"]["replicas"] = replicas
        replica_set["status"] = {"replicas": replicas, "observedGeneration": 1}
        return self._writer(timedelta(days=1)).create(REPLICA_SET, replica_set)

    # --- pods

    def _create_pods(self, deployment: Object, replicas: int) -> None:
        """Create pods with names of their own on the general nodes."""
        replica_set = self._create_replica_set(deployment, int(annotations_of(deployment)[REVISION]), replicas)
        for index in range(replicas):
            name = f"{name_of(replica_set)}-{name_suffix(f'{name_of(replica_set)}/{index}', 5)}"
            node = GENERAL_NODES[sum(map(ord, name)) % len(GENERAL_NODES)]
            self._create_pod(replica_set, name, node, self._now - POD_AGE, ready=True)

    def _create_world_pods(self, deployment: Object, live: Deployment) -> None:
        """Create the world's pods, those of each template in a ReplicaSet of their own."""
        revision = int(annotations_of(deployment)[REVISION])
        current = live.template.hash
        old_hashes = dict.fromkeys(pod.template.hash for pod in live.pods if pod.template.hash != current)
        for template_hash in (*old_hashes, current):
            pods = [pod for pod in live.pods if pod.template.hash == template_hash]
            owner = deep_copy(deployment)
            apply_world_template(owner["spec"]["template"], pods[0].template if pods else live.template)
            number = revision if template_hash == current else revision - 1
            replica_set = self._create_replica_set(owner, number, len(pods), template_hash)
            for pod in pods:
                started = datetime.fromtimestamp(pod.started / 1000, self._now.tzinfo)
                self._create_pod(replica_set, pod.name, pod.node, started, ready=pod.is_ready(self._world.at))

    def _create_pod(self, replica_set: Object, name: str, node: str, started: datetime, *, ready: bool) -> None:
        template = replica_set["spec"]["template"]
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": replica_set["metadata"]["namespace"],
            "ownerReferences": [owner_reference(replica_set)],
        }
        spec = {**template["spec"], "nodeName": node}
        pod = self._writer(self._now - started).create(POD, {"metadata": metadata, "spec": spec})
        if ready:
            self._store.put(POD, {**pod, "status": pod_status(pod, started, "Running")})

    # --- what is in a namespace besides its releases

    def _create_extras(self, namespace: str) -> None:
        writer = self._writer(EXTRAS_AGE)
        for service, keys in self._company["secrets"].items():
            writer.create(EXTERNAL_SECRET, _external_secret(service, namespace, keys))
        for name in EXPERIMENTS:
            writer.create(CHAOS_EXPERIMENT, experiment(name, namespace))
            writer.create(SERVICE_ACCOUNT, {"metadata": {"name": f"{name}-sa", "namespace": namespace}})
        cron_job = writer.create(CRON_JOB, _maintenance(namespace))
        writer.set_status(CRON_JOB, cron_job, {"lastScheduleTime": timestamp(self._now)})
        if namespace != PRODUCTION:
            return
        for service in self._company["releases"]:
            writer.create(DISRUPTION_BUDGET, _disruption_budget(service, namespace))
        for service, bounds in self._company["autoscaled"].items():
            writer.create(AUTOSCALER, _autoscaler(service, namespace, bounds))
        writer.create(DAEMON_SET, _node_exporter())


def _external_secret(service: str, namespace: str, keys: dict[str, str]) -> Object:
    """Build the secrets of a service from what each is called, and where below `NAMESPACE/` it is in Vault."""
    name = f"{service}-secrets"
    data = []
    for key, location in keys.items():
        path, _, entry = location.partition("/")
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


def _disruption_budget(service: str, namespace: str) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": service}}}
    return {"metadata": {"name": service, "namespace": namespace}, "spec": spec}


def _autoscaler(service: str, namespace: str, bounds: Any) -> Object:
    target = {"type": "Utilization", "averageUtilization": bounds["cpu"]}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service},
        "minReplicas": bounds["min"],
        "maxReplicas": bounds["max"],
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {"metadata": {"name": service, "namespace": namespace}, "spec": spec}


def _maintenance(namespace: str) -> Object:
    """Build the integrity check of the database, which can also be run by hand."""
    container = {"name": "db-maintenance", "image": "registry.tamv.world/db-maintenance:v1.4.0", "args": ["--check"]}
    pod = {"containers": [container], "restartPolicy": "Never"}
    job = {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    metadata = {"name": "db-maintenance", "namespace": namespace}
    return {"metadata": metadata, "spec": {"schedule": "30 3 * * 0", "jobTemplate": job, "concurrencyPolicy": "Forbid"}}


def _node_exporter() -> Object:
    """Build a pod on every node, which a drain leaves where it is."""
    labels = {"app": "node-exporter"}
    pod = {
        "containers": [{"name": "node-exporter", "image": "quay.io/prometheus/node-exporter:v1.9.1"}],
        "tolerations": [{"operator": "Exists"}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": "node-exporter", "namespace": "kube-system", "labels": labels}
    return {"metadata": metadata, "spec": {"selector": {"matchLabels": labels}, "template": template}}
