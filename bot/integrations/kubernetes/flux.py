"""Flux's Kustomizations and HelmReleases: where in Git what they apply stands, and whether they put changes back.

Sources: https://fluxcd.io/flux/components/kustomize/kustomizations/, https://fluxcd.io/flux/components/helm/helmreleases/
and https://fluxcd.io/flux/components/source/gitrepositories/
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Refused
from bot.integrations.kubernetes.applications import Source
from bot.integrations.kubernetes.cluster import Cluster, client

KUSTOMIZE, HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
KUSTOMIZATION = (KUSTOMIZE, "v1", "kustomizations")
HELM_RELEASE = (HELM, "v2", "helmreleases")
GIT_REPOSITORY = ("source.toolkit.fluxcd.io", "v1", "gitrepositories")
NAMESPACE = "flux-system"  # where Flux puts its own objects unless it is told otherwise
DEFAULT_BRANCH = "master"  # of a GitRepository without `ref`
REWRITES = ("patches", "images", "components", "postBuild", "namePrefix", "nameSuffix")  # what Git says is not applied


@dataclass(frozen=True, slots=True)
class Applied:
    """What Flux says of an object that it applies: `heals` is False if a change by hand stays until the next commit or
    release; `source` is None if its place in Git is not known.
    """

    heals: bool
    source: Source | None


class Flux:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def find(self, group: str, name: str, namespace: str) -> Applied | None:
        """Return what the Kustomization or HelmRelease says; None if it is gone or may not be read."""
        if group == HELM:
            return await self._release(name, namespace)
        found = await self._get(KUSTOMIZATION, name, namespace)
        if found is None:
            return None
        return Applied(not found["spec"].get("suspend"), await self._source(found))

    async def _release(self, name: str, namespace: str) -> Applied | None:
        """A HelmRelease corrects drift only where it is told to, and stands in Git where its Kustomization is."""
        found = await self._get(HELM_RELEASE, name, namespace)
        if found is None:
            return None
        spec, labels = found["spec"], found["metadata"].get("labels") or {}
        heals = not spec.get("suspend") and (spec.get("driftDetection") or {}).get("mode") == "enabled"
        parent = await self._get(
            KUSTOMIZATION, labels.get(f"{KUSTOMIZE}/name"), labels.get(f"{KUSTOMIZE}/namespace") or NAMESPACE
        )
        return Applied(heals, await self._source(parent, f"{namespace}/{name}") if parent else None)

    async def _source(self, kustomization: Mapping[str, Any], release: str = "") -> Source | None:
        """Return the place of a Kustomization's manifests; None if they are in no Git or are applied otherwise."""
        spec, own = kustomization["spec"], kustomization["metadata"]["namespace"]
        reference = spec["sourceRef"]
        if reference["kind"] != "GitRepository" or any(spec.get(name) for name in REWRITES):
            return None
        found = await self._get(GIT_REPOSITORY, reference["name"], reference.get("namespace") or own)
        if found is None:
            return None
        wanted = found["spec"].get("ref") or {"branch": DEFAULT_BRANCH}
        # by precedence: https://fluxcd.io/flux/components/source/gitrepositories/#reference
        given = (wanted.get(key) for key in ("commit", "name", "semver", "tag", "branch"))
        revision = next((str(value) for value in given if value), "")
        path = posixpath.normpath(str(spec.get("path") or "."))
        return Source(str(found["spec"]["url"]), path, revision.removeprefix("refs/heads/"), release=release)

    async def _get(self, kind: tuple[str, str, str], name: str | None, namespace: str) -> Mapping[str, Any] | None:
        if name is None:
            return None
        group, version, plural = kind
        try:
            found: Mapping[str, Any] = await self._cluster.ask(
                f"{plural} {namespace}/{name}", client.CustomObjectsApi(self._cluster.api).get_namespaced_custom_object,
                group, version, namespace, plural, name,
            )  # fmt: skip
        except (NotFound, Refused):
            return None
        return found
