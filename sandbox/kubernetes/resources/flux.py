"""Flux: Kustomizations and HelmReleases, which keep workloads as files in Git say.

https://fluxcd.io/flux/components/kustomize/kustomizations/
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Key, Object, key_of
from sandbox.kubernetes.resources.argo_cd import Git, apply, drifted
from sandbox.kubernetes.state import Change

NAMESPACE = "flux-system"
GROUP = "kustomize.toolkit.fluxcd.io"
MANAGER = "kustomize-controller"
INTERVAL_SECONDS = 60.0  # of the Kustomizations here; people write from one minute to one hour

KUSTOMIZATION = Kind(GROUP, "v1", "kustomizations", "Kustomization", ("ks",), custom=True)
HELM_RELEASE = Kind("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", ("hr",), custom=True)
GIT_REPOSITORY = Kind("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository", ("gitrepo",), custom=True)
KINDS = (KUSTOMIZATION, HELM_RELEASE, GIT_REPOSITORY)


def kustomization(name: str, path: str, namespace: str) -> Object:
    """Build a Kustomization of a folder of the GitRepository `fleet`."""
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "interval": f"{INTERVAL_SECONDS:.0f}s",
            "path": f"./{path}",
            "prune": False,
            "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            "targetNamespace": namespace,
        },
    }


def git_repository(address: str, branch: str) -> Object:
    """Build the GitRepository `fleet` of a branch."""
    spec = {"interval": f"{INTERVAL_SECONDS:.0f}s", "url": address, "ref": {"branch": branch}}
    return {"metadata": {"name": "fleet", "namespace": NAMESPACE}, "spec": spec}


class Flux:
    """Applies what each Kustomization that is not suspended says, every interval."""

    def __init__(self, cluster: Cluster, git: Git) -> None:
        self._cluster = cluster
        self._git = git

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is KUSTOMIZATION and change.type != "DELETED":
            yield key_of(change.object)

    def reconcile(self, namespace: str, name: str) -> None:
        found = self._cluster.store.get(KUSTOMIZATION, namespace, name)
        if found is None:
            return
        spec = found["spec"]
        source = self._cluster.store.get(GIT_REPOSITORY, namespace, spec["sourceRef"]["name"])
        if source is not None and not spec.get("suspend"):
            _, files = self._git.files(str(source["spec"]["ref"]["branch"]))
            folder = str(spec["path"]).removeprefix("./")
            apply(self._cluster, list(drifted(self._cluster, folder, spec["targetNamespace"], files)), MANAGER)
        self._cluster.enqueue(self, (namespace, name), INTERVAL_SECONDS)
