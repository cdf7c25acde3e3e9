"""Argo CD: Applications, which keep workloads as files in Git say.

https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import yaml

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import Kind, path_column
from sandbox.kubernetes.objects import Key, Object, annotations_of, deep_copy, key_of, status_of, timestamp
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.kubernetes.state import Change, WriteOptions

NAMESPACE = "argocd"
TRACKING_ID = "argocd.argoproj.io/tracking-id"
MANAGER = "argocd-controller"
SELF_HEAL_SECONDS = 5.0  # --self-heal-timeout-seconds
GIT_POLL_SECONDS = 180.0  # timeout.reconciliation

APPLICATION = Kind(
    "argoproj.io",
    "v1alpha1",
    "applications",
    "Application",
    ("app", "apps"),
    columns=(path_column("Sync Status", "status.sync.status"), path_column("Health Status", "status.health.status")),
    custom=True,
)
KINDS = (APPLICATION,)
WORKLOADS = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET)}


class Git(Protocol):
    """A repository: its address, its files at a revision with the commit, and a commit of one file."""

    @property
    def address(self) -> str: ...

    def files(self, revision: str) -> tuple[str, Mapping[str, str]]: ...

    def commit(self, path: str, text: str, message: str) -> None: ...


class NoGit:
    """A repository without files, for a cluster by itself."""

    address = "https://git.invalid/none"

    def files(self, revision: str) -> tuple[str, Mapping[str, str]]:
        return "", {}

    def commit(self, path: str, text: str, message: str) -> None:
        raise LookupError("there is no repository")


def application(name: str, address: str, path: str, namespace: str) -> Object:
    """Build an Application that syncs by itself and puts back what is changed by hand."""
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "project": "default",
            "source": {"repoURL": address, "path": path, "targetRevision": "HEAD"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": {"automated": {"prune": False, "selfHeal": True}},
        },
    }


class ArgoCD:
    """Compares the workloads of each Application with Git.

    A new commit is applied where the sync is automated; a change by hand is put back where it heals itself, too.
    """

    def __init__(self, cluster: Cluster, git: Git) -> None:
        self._cluster = cluster
        self._git = git
        self._healing: dict[Key, datetime] = {}  # when the drift of an application is put back

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is APPLICATION and change.type != "DELETED":
            yield key_of(change.object)
        elif kind in WORKLOADS.values():
            name = annotations_of(change.object).get(TRACKING_ID, "").partition(":")[0]
            if name:
                yield NAMESPACE, name

    def reconcile(self, namespace: str, name: str) -> None:
        app = self._cluster.store.get(APPLICATION, namespace, name)
        if app is None:
            return
        revision, files = self._git.files(str(app["spec"]["source"].get("targetRevision") or "HEAD"))
        spec = app["spec"]
        found = list(drifted(self._cluster, spec["source"]["path"], spec["destination"]["namespace"], files))
        policy = (app["spec"].get("syncPolicy") or {}).get("automated")
        policy = {"enabled": False} if policy is None else policy
        is_new = status_of(app).get("sync", {}).get("revision") != revision
        heals = policy.get("enabled", True) and (is_new or policy.get("selfHeal", False))
        key, now = (namespace, name), self._cluster.now()
        if not found or not heals:
            self._healing.pop(key, None)
        elif is_new or self._healing.setdefault(key, now + timedelta(seconds=SELF_HEAL_SECONDS)) <= now:
            self._healing.pop(key, None)
            apply(self._cluster, found, MANAGER)
            found = []
        else:
            self._cluster.enqueue(self, key, (self._healing[key] - now).total_seconds())
        synced = revision if not found else status_of(app).get("sync", {}).get("revision", "")
        self._set_status(app, "OutOfSync" if found else "Synced", synced)
        self._cluster.enqueue(self, key, GIT_POLL_SECONDS)

    def _set_status(self, app: Object, sync: str, revision: str) -> None:
        before = status_of(app)
        status = {"sync": {"status": sync, "revision": revision}, "health": {"status": "Healthy"}}
        if {name: before.get(name) for name in status} != status:
            now = timestamp(self._cluster.now())
            self._cluster.store.put(APPLICATION, {**deep_copy(app), "status": {**status, "reconciledAt": now}})


def drifted(
    cluster: Cluster, path: str, namespace: str, files: Mapping[str, str]
) -> Iterator[tuple[Kind, Object, Object]]:
    """Yield the workloads that are not as the files of a folder say, each with the spec that it would have."""
    folder = f"{path.strip('/')}/"
    for file, text in sorted(files.items()):
        if not file.startswith(folder) or not file.endswith((".yaml", ".yml")):
            continue
        for manifest in yaml.safe_load_all(text):
            kind = WORKLOADS.get((manifest or {}).get("kind", ""))
            if kind is None:
                continue
            metadata = manifest["metadata"]
            live = cluster.store.get(kind, metadata.get("namespace") or namespace, metadata["name"])
            if live is None:
                continue
            wanted = _merged(live["spec"], manifest["spec"])
            if wanted != live["spec"]:
                yield kind, live, wanted


def apply(cluster: Cluster, found: Iterable[tuple[Kind, Object, Object]], manager: str) -> None:
    """Give workloads the specs that they would have."""
    for kind, live, wanted in found:
        cluster.writer.replace(kind, live, {**deep_copy(live), "spec": wanted}, WriteOptions(field_manager=manager))


def _merged(live: Any, wanted: Any) -> Any:
    """Return what an apply makes of a value: named items of a list are matched, what Git does not say stays."""
    if isinstance(wanted, dict):
        kept = dict(live) if isinstance(live, dict) else {}
        return kept | {name: _merged(kept.get(name), value) for name, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(live, list) and all("name" in one for one in wanted if _is_object(one)):
        if not all(_is_object(one) for one in [*wanted, *live]):
            return wanted
        named = {one["name"]: one for one in wanted}
        there = {one.get("name") for one in live}
        kept_items = [_merged(one, named[one["name"]]) if one.get("name") in named else one for one in live]
        return [*kept_items, *(one for one in wanted if one["name"] not in there)]
    return wanted


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
