"""Argo CD's Applications: what they keep as Git says, from where, and whether they put changes back by themselves.

Source: https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Refused
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client

GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "applications"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where manifests are: repository, folder and revision in Git; `chart` is a folder that is a Helm chart by its
    settings, `release` the `NAMESPACE/NAME` of the HelmRelease there that has the workload's values.
    """

    repository: str
    path: str
    revision: str
    chart: bool = False
    release: str = ""


@dataclass(frozen=True, slots=True)
class Application:
    """`automated` is its policy of syncing by itself; None if it does so only when somebody asks.

    `source` is None if it has several sources or none in Git. `parent` is what else writes it, such as
    `ApplicationSet/shops`.
    """

    name: str
    namespace: str
    automated: Mapping[str, Any] | None
    source: Source | None
    parent: str | None = None

    @property
    def heals(self) -> bool:
        """True if it puts back by itself what is changed by hand."""
        policy = self.automated
        return policy is not None and policy.get("enabled", True) is not False and bool(policy.get("selfHeal"))


class Applications:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def get(self, name: str, namespace: str) -> Application:
        """Return an Application; `name` may be `NAMESPACE_NAME`, as Argo CD marks those of other namespaces.

        Raises NotFound, and Refused if the bot may not read it.
        """
        first, underscore, rest = name.partition("_")
        where, bare = (first, rest) if underscore else (namespace, name)
        found = await self._cluster.ask(
            f"application {where}/{bare}", client.CustomObjectsApi(self._cluster.api).get_namespaced_custom_object,
            GROUP, VERSION, where, PLURAL, bare,
        )  # fmt: skip
        return _application(found)

    async def find(self, name: str, namespace: str) -> Application | None:
        """Return the Application, None if it is not there or the bot may not read it."""
        try:
            return await self.get(name, namespace)
        except (NotFound, Refused):
            return None

    @effect("argocd.pause_sync")
    async def pause_sync(
        self, application: str, namespace: str, parent: str | None = None, *, dry_run: bool = False
    ) -> str:
        """Let the Application sync only when somebody asks, as `argocd app set --sync-policy none` does."""
        await self._patch(application, namespace, None, dry_run)
        return ""

    @effect("argocd.resume_sync")
    async def resume_sync(
        self, application: str, namespace: str, automated: Mapping[str, Any], *, dry_run: bool = False
    ) -> str:
        """Give the Application its policy of syncing by itself back."""
        await self._patch(application, namespace, automated, dry_run)
        return ""

    async def _patch(self, name: str, namespace: str, automated: Mapping[str, Any] | None, dry_run: bool) -> None:
        patch = client.CustomObjectsApi(self._cluster.api).patch_namespaced_custom_object
        await self._cluster.ask(
            f"application {namespace}/{name}", patch,
            GROUP, VERSION, namespace, PLURAL, name, {"spec": {"syncPolicy": {"automated": automated}}},
            dry_run=ALL if dry_run else None, field_manager=FIELD_MANAGER, _content_type=MERGE,
        )  # fmt: skip


def _application(found: Mapping[str, Any]) -> Application:
    metadata, spec = found["metadata"], found.get("spec") or {}
    source = spec.get("source") or {}
    in_git = bool(source.get("path")) and not source.get("chart") and not spec.get("sources")
    place = None
    if in_git:
        revision = str(source.get("targetRevision") or "HEAD")
        place = Source(str(source.get("repoURL") or ""), str(source["path"]), revision, bool(source.get("helm")))
    owner = next(iter(metadata.get("ownerReferences") or ()), None)
    tracked = (metadata.get("annotations") or {}).get("argocd.argoproj.io/tracking-id") or ""
    parent = f"{owner['kind']}/{owner['name']}" if owner else tracked.partition(":")[0] or None
    policy = spec.get("syncPolicy") or {}
    return Application(metadata["name"], metadata["namespace"], policy.get("automated"), place, parent)
