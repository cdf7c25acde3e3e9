"""TAMV's cluster as it stands when one first looks at it: nodes, releases with a past, pods that have long been up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from sandbox.kubernetes import charts, extras
from sandbox.kubernetes.controllers.deployments import REVISION, replica_set_of
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.machines import GENERAL, general_node, gpu_node
from sandbox.kubernetes.objects import Object, annotations_of, copied, name_of, owned_by
from sandbox.kubernetes.ownership import applied
from sandbox.kubernetes.pod_status import pod_status
from sandbox.kubernetes.production import fill
from sandbox.kubernetes.resources.apps import DEPLOYMENT, REPLICA_SET
from sandbox.kubernetes.resources.main import NAMESPACE, NODE, SECRET, SERVICE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.writes import Options, Writer, suffix
from sandbox.world import World
from sandbox.world.deployments import Deployment, Pod
from sandbox.world.services import GPU_NODES, SERVICES, Service
from sandbox.world.services import NAMESPACE as PRODUCTION

SEED = Path(__file__).with_name("company.yaml")
STAGING = "tamv-staging"
NAMESPACES = ("default", "kube-system", PRODUCTION, STAGING)
CLUSTER_AGE = timedelta(days=400)


def company() -> Any:
    return yaml.safe_load(SEED.read_text("utf-8"))


def write_charts(folder: Path) -> None:
    """The charts of all services, as production's releases were installed from them."""
    secrets = company()["secrets"]
    for service in SERVICES:
        charts.write(service, service.replicas, folder, f"{service.name}-secrets" if service.name in secrets else "")


class Seed:
    """Puts the company's objects into a store. Pods of production are the world's, by the same names."""

    def __init__(self, store: Store, world: World, now: datetime) -> None:
        self._store = store
        self._world = world
        self._now = now
        self._company = company()

    def plant(self) -> None:
        old = self._writer(CLUSTER_AGE)
        for name in GENERAL:
            old.create(NODE, general_node(name, self._now))
        for node in GPU_NODES:
            old.create(NODE, gpu_node(node, self._now))
        for name in NAMESPACES:
            old.create(NAMESPACE, {"metadata": {"name": name}})
        for deployment in self._world.deployments.values():
            self._release(deployment.service, PRODUCTION, deployment)
            self._release(deployment.service, STAGING, None)
        for namespace in (PRODUCTION, STAGING):
            extras.plant(self._writer(timedelta(days=30)), namespace, self._company, self._now)

    def vault(self) -> dict[str, dict[str, str]]:
        """What External Secrets finds, by path, where there is no Vault."""
        found: dict[str, dict[str, str]] = {}
        for namespace in (PRODUCTION, STAGING):
            for place in (place for keys in self._company["secrets"].values() for place in keys.values()):
                path, _, entry = place.partition("/")
                found.setdefault(f"{namespace}/{path}", {})[entry] = suffix(f"{namespace}/{place}", 32)
        return found

    def _writer(self, ago: timedelta) -> Writer:
        """A writer whose objects are so old."""
        return Writer(self._store, lambda: self._now - ago)

    # --- releases

    def _release(self, service: Service, namespace: str, live: Deployment | None) -> None:
        """A release with its revisions, and what the last of them has installed."""
        history = self._company["releases"][service.name]
        secrets = f"{service.name}-secrets" if service.name in self._company["secrets"] else ""
        replicas = service.replicas if live is not None else 1
        values = charts.values(service, replicas, secrets)
        first = self._now - timedelta(days=history[0]["days"])
        for number, past in enumerate(history, 1):
            at = self._now - timedelta(days=past["days"])
            secret = charts.revision(service.name, namespace, number, past["tag"], values, past["status"], at, first)
            self._writer(self._now - at).create(SECRET, secret)
        writer = self._writer(self._now - first)
        manifests = charts.manifests(service.name, values, history[-1]["tag"])
        for kind, manifest in zip((SERVICE, DEPLOYMENT), manifests, strict=True):
            made = self._installed(writer, kind, service.name, namespace, manifest)
        made = self._as_it_is(made, live, history)
        good = [past["tag"] for past in history if past["status"] != "failed"]
        self._past_sets(made, good)
        if live is None:
            self._stand(made, replicas)
        else:
            self._stand_as_in(made, live)

    def _installed(self, writer: Writer, kind: Kind, name: str, namespace: str, manifest: Object) -> Object:
        wanted = charts.installed(name, namespace, manifest)
        now = writer.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        shared = applied(kind, None, wanted, "helm", force=False, now=now)
        return writer.create(kind, shared, Options(manager="helm", applied=True))

    def _as_it_is(self, made: Object, live: Deployment | None, history: Sequence[Any]) -> Object:
        """The deployment as the world has it by now, where somebody has changed what was installed."""
        known = copied(made)
        known["metadata"]["annotations"][REVISION] = str(sum(past["status"] != "failed" for past in history))
        known = self._store.put(DEPLOYMENT, known)
        if live is None:
            return known
        there = copied(known)
        there["spec"]["replicas"] = live.replicas
        fill(there["spec"]["template"], live.template)
        return self._writer(timedelta()).replace(DEPLOYMENT, known, there, Options(manager="kubectl-edit"))

    def _past_sets(self, deployment: Object, tags: Sequence[str]) -> None:
        """The ReplicaSets of earlier revisions, without pods."""
        for number, tag in enumerate(tags[:-1], 1):
            earlier = copied(deployment)
            container = earlier["spec"]["template"]["spec"]["containers"][0]
            container["image"] = f"{container['image'].rpartition(':')[0]}:{tag}"
            self._set(earlier, number, 0)

    def _set(self, deployment: Object, number: int, replicas: int, hashed: str | None = None) -> Object:
        annotations = {**annotations_of(deployment), REVISION: str(number)}
        made = replica_set_of(deployment, annotations, hashed)
        made["spec"]["replicas"] = replicas
        made["status"] = {"replicas": replicas, "observedGeneration": 1}
        return self._writer(timedelta(days=1)).create(REPLICA_SET, made)

    # --- pods

    def _stand(self, deployment: Object, replicas: int) -> None:
        """Pods of a new name each, on the general nodes."""
        number = int(annotations_of(deployment)[REVISION])
        replica_set = self._set(deployment, number, replicas)
        for index in range(replicas):
            name = f"{name_of(replica_set)}-{suffix(f'{name_of(replica_set)}/{index}', 5)}"
            offset = sum(map(ord, name)) % len(GENERAL)
            self._pod(replica_set, name, GENERAL[offset], self._now - timedelta(days=2), ready=True)

    def _stand_as_in(self, deployment: Object, live: Deployment) -> None:
        """The world's pods, those of each template in a ReplicaSet of their own."""
        number = int(annotations_of(deployment)[REVISION])
        templates = list(dict.fromkeys(pod.template.hash for pod in live.pods))
        current = live.template.hash
        for hashed in sorted({*templates, current}, key=lambda one: one == current):
            pods = [pod for pod in live.pods if pod.template.hash == hashed]
            of = copied(deployment)
            fill(of["spec"]["template"], pods[0].template if pods else live.template)
            replica_set = self._set(of, number if hashed == current else number - 1, len(pods), hashed)
            for pod in pods:
                self._world_pod(replica_set, pod)

    def _world_pod(self, replica_set: Object, pod: Pod) -> None:
        started = datetime.fromtimestamp(pod.started / 1000, self._now.tzinfo)
        self._pod(replica_set, pod.name, pod.node, started, ready=pod.is_ready(self._world.at))

    def _pod(self, replica_set: Object, name: str, node: str, started: datetime, *, ready: bool) -> None:
        template = replica_set["spec"]["template"]
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": replica_set["metadata"]["namespace"],
            "ownerReferences": [owned_by(replica_set)],
        }
        writer = self._writer(self._now - started)
        made = writer.create(POD, {"metadata": metadata, "spec": {**template["spec"], "nodeName": node}})
        if ready:
            self._store.put(POD, {**made, "status": pod_status(made, started, "Running")})
