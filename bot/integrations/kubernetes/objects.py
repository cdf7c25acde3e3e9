"""Manifests that stand in the repository: read, and nothing outside their folder ever."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.domain.errors import BadInput, NotFound, Refused, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff, strip_server_fields

# What may be applied and deleted, with its plural: what a drill or a runbook has a use for, and nothing that holds a
# secret or gives rights. The Role in deploy/kubernetes names the same.
PLURALS = {
    "networking.k8s.io/v1 NetworkPolicy": "networkpolicies",
    "policy/v1 PodDisruptionBudget": "poddisruptionbudgets",
    "autoscaling/v2 HorizontalPodAutoscaler": "horizontalpodautoscalers",
}
JOB = "batch/v1 Job"
LARGEST = 256 * 1024  # bytes; none that a person has reviewed is longer

APPLY = "application/apply-patch+yaml"
Content = dict[str, Any]
KIND = ("external-secrets.io", "v1")
PLURAL = "externalsecrets"
FORCE_SYNC = "force-sync"
POLL_SECONDS = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as its file says it. `body` names no namespace: the run does."""

    kind: str
    name: str
    body: dict[str, Any]


def read(folder: Path, path: str, kinds: Collection[str]) -> list[Manifest]:
    """The objects of `folder/path`, in their order. `kinds` are those that may be meant, as `batch/v1 Job`.

    Raises BadInput for a path that leaves the folder (by `..`, by a symbolic link), a file that is not there or cannot
    be read, an object of another kind, and one that names a namespace of its own.
    """
    objects = _loaded(path, _text(folder, path))
    if not objects:
        raise BadInput("manifest_wrong", path=path, why="no object")
    return [_checked(path, document, kinds) for document in objects]


def _text(folder: Path, path: str) -> str:
    root = folder.resolve()
    try:
        file = (root / path).resolve()
    except (OSError, ValueError):
        raise BadInput("manifest_outside", path=path, folder=folder.name) from None
    if not file.is_relative_to(root) or file.suffix not in (".yaml", ".yml"):
        raise BadInput("manifest_outside", path=path, folder=folder.name)
    if not file.is_file():
        manifests = sorted(str(file.relative_to(root)) for file in root.rglob("*.y*ml"))
        raise BadInput("no_such_manifest", path=path, known=manifests)
    if file.stat().st_size > LARGEST:
        raise BadInput("manifest_wrong", path=path, why=f"more than {LARGEST // 1024} KiB")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise BadInput("manifest_wrong", path=path, why=type(unreadable).__name__) from None


def _loaded(path: str, text: str) -> list[Any]:
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None)
        position = f"line {mark.line + 1}: " if mark else ""
        raise BadInput("manifest_wrong", path=path, why=f"{position}{getattr(wrong, 'problem', 'not YAML')}") from None


def _checked(path: str, document: Any, kinds: Collection[str]) -> Manifest:
    try:
        api, kind, metadata = str(document["apiVersion"]), str(document["kind"]), dict(document["metadata"])
        name = str(metadata["name"])
    except (KeyError, TypeError, ValueError):
        raise BadInput("manifest_wrong", path=path, why="apiVersion, kind, metadata.name") from None
    if f"{api} {kind}" not in kinds:
        raise BadInput("manifest_kind", path=path, kind=f"{api} {kind}", known=sorted(kinds))
    if "namespace" in metadata:
        raise BadInput("manifest_wrong", path=path, why="metadata.namespace")
    return Manifest(f"{api} {kind}", name, document)


class Objects:
    """`kind` is one of PLURALS everywhere. What an object says is its content: without status and the server's own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def content(self, kind: str, name: str, namespace: str) -> Content | None:
        """What it says now; None when it is not there."""
        try:
            return strip_server_fields(await self._ask("get", kind, name, namespace, name))
        except NotFound:
            return None

    async def applied(self, kind: str, name: str, namespace: str, body: Mapping[str, Any]) -> Content:
        """What it would say after `apply`: the server is asked, and keeps nothing."""
        there = await self.content(kind, name, namespace)
        return strip_server_fields(
            await self._apply(kind, name, namespace, body, there=there is not None, dry_run=True)
        )

    @effect("kubernetes.apply", hidden=("body",))
    async def apply(
        self, kind: str, name: str, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> str:
        """Server-side apply: what the manifest says becomes so, whoever said otherwise; the rest stays."""
        before = await self.content(kind, name, namespace)
        after = await self._apply(kind, name, namespace, body, there=before is not None, dry_run=dry_run)
        return diff(before or {}, after) if dry_run else ""

    @effect("kubernetes.delete")
    async def delete(self, kind: str, name: str, namespace: str, *, dry_run: bool = False) -> str:
        """Also when it is gone already."""
        before = await self.content(kind, name, namespace) if dry_run else None
        try:
            await self._ask("delete", kind, name, namespace, name, dry_run=ALL if dry_run else None)
        except NotFound:
            return ""
        return diff(before or {}, {}) if dry_run else ""

    @effect("kubernetes.put_back", hidden=("content",))
    async def restore(self, kind: str, name: str, namespace: str, content: Mapping[str, Any]) -> None:
        """Let it say exactly this, whether it is there or not."""
        try:
            current = await self._ask("get", kind, name, namespace, name)
        except NotFound:
            await self._ask("create", kind, name, namespace, dict(content), field_manager=FIELD_MANAGER)
            return
        version = {"resourceVersion": current["metadata"]["resourceVersion"]}
        body = {**content, "metadata": {**content["metadata"], **version}}
        await self._ask("replace", kind, name, namespace, name, body, field_manager=FIELD_MANAGER)

    async def _apply(
        self, kind: str, name: str, namespace: str, body: Mapping[str, Any], *, there: bool, dry_run: bool
    ) -> dict[str, Any]:
        """The client drops the answer to an apply that creates (201), so that is asked for by its own verb."""
        how: dict[str, Any] = {"dry_run": ALL if dry_run else None, "field_manager": FIELD_MANAGER}
        if not there:
            return await self._ask("create", kind, name, namespace, dict(body), **how)
        how |= {"force": True, "_content_type": APPLY}
        return await self._ask("patch", kind, name, namespace, name, dict(body), **how)

    async def _ask(
        self, verb: str, kind: str, name: str, namespace: str, *arguments: Any, **how: Any
    ) -> dict[str, Any]:
        """One call of the API. For groups other than the core's, it takes and gives plain JSON."""
        call = getattr(client.CustomObjectsApi(self._cluster.api), f"{verb}_namespaced_custom_object")
        group, version = kind.partition(" ")[0].split("/")
        what = f"{kind.rpartition(' ')[2]} {namespace}/{name}"
        content: dict[str, Any] = await self._cluster.ask(
            what, call, group, version, namespace, PLURALS[kind], *arguments, **how
        )
        return content


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What External Secrets says: which state of the object it has synced (`version`), when, and if that went well."""

    version: str
    at: str
    ready: bool
    why: str


class ExternalSecrets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def sync_status(self, name: str, namespace: str) -> SyncStatus:
        secret = await self._ask(name, namespace, "get_namespaced_custom_object")
        status = secret.get("status") or {}
        ready: dict[str, Any] = next(
            (condition for condition in status.get("conditions") or [] if condition.get("type") == "Ready"), {}
        )
        return SyncStatus(
            str(status.get("syncedResourceVersion", "")),
            str(status.get("refreshTime", "")),
            ready.get("status") == "True",
            str(ready.get("message", "")),
        )

    @effect("kubernetes.refresh_external_secret")
    async def refresh(self, secret: str, namespace: str, mark: str, *, dry_run: bool = False) -> str:
        """Ask for a synchronisation. The same `mark` again asks for nothing more."""
        await self._ask(
            secret,
            namespace,
            "patch_namespaced_custom_object",
            {"metadata": {"annotations": {FORCE_SYNC: mark}}},
            dry_run=ALL if dry_run else None,
            field_manager=FIELD_MANAGER,
            _content_type="application/merge-patch+json",
        )
        return f"+  {FORCE_SYNC}: {mark}"

    async def wait_until_refreshed(self, secret: str, namespace: str, before: str) -> SyncStatus:
        """Wait until another state is synced than the version `before`; the caller sets the deadline.

        Refused (`secret_not_synced`) when External Secrets says that it could not.
        """
        while True:
            try:
                sync_status = await self.sync_status(secret, namespace)
            except Unavailable:
                sync_status = None
            if sync_status and sync_status.version != before and sync_status.version:
                if not sync_status.ready:
                    raise Refused("secret_not_synced", secret=secret, namespace=namespace, why=sync_status.why[:300])
                return sync_status
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, name: str, namespace: str, method: str, *body: Any, **how: Any) -> dict[str, Any]:
        call = getattr(client.CustomObjectsApi(self._cluster.api), method)
        content: dict[str, Any] = await self._cluster.ask(
            f"external secret {namespace}/{name}", call, *KIND, namespace, PLURAL, name, *body, **how
        )
        return content
