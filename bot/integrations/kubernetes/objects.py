"""Objects from manifests in the repository (never from outside their folder), and ExternalSecrets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.domain.errors import BadInput, NotFound, Refused, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import (
    ALL,
    FIELD_MANAGER,
    Cluster,
    client,
    diff,
    strip_server_fields,
    with_warnings,
)
from bot.yaml_text import load_all

# Kinds that may be applied and deleted, with their plural: useful in drills and runbooks, none that holds a secret or
# grants permissions. The Role in deploy/kubernetes lists the same kinds.
PLURALS = {
    "networking.k8s.io/v1 NetworkPolicy": "networkpolicies",
    "policy/v1 PodDisruptionBudget": "poddisruptionbudgets",
    "autoscaling/v2 HorizontalPodAutoscaler": "horizontalpodautoscalers",
}
JOB = "batch/v1 Job"
FILE_LIMIT = 256 * 1024  # bytes; a manifest that people review is shorter

APPLY = "application/apply-patch+yaml"
Content = dict[str, Any]
GROUP, VERSIONS = "external-secrets.io", ("v1", "v1beta1")  # those before its release 0.16 have only the second
PLURAL = "externalsecrets"
FORCE_SYNC = "force-sync"
POLL_SECONDS = 1.0
REPLACE_ATTEMPTS = 5
CONFLICT = 409  # HTTP: somebody has written the object since it was read


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a manifest file. `body` has no namespace: the run sets it."""

    kind: str
    name: str
    body: dict[str, Any]


def read(folder: Path, path: str, kinds: Collection[str]) -> list[Manifest]:
    """Return the objects of the file `folder/path`, in order. `kinds` are the allowed ones, like `batch/v1 Job`.

    Raises BadInput for a path outside the folder (by `..` or a symbolic link), a file that is missing or invalid, an
    object of another kind, and an object with a namespace.
    """
    objects = _parse(path, _text(folder, path))
    if not objects:
        raise BadInput("manifest_wrong", path=path, why="no object")
    return [_validate(path, document, kinds) for document in objects]


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
    if file.stat().st_size > FILE_LIMIT:
        raise BadInput("manifest_wrong", path=path, why=f"more than {FILE_LIMIT // 1024} KiB")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise BadInput("manifest_wrong", path=path, why=type(unreadable).__name__) from None


def _parse(path: str, text: str) -> list[Any]:
    try:
        return load_all(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f"line {mark.line + 1}: " if mark else ""
        raise BadInput("manifest_wrong", path=path, why=f"{position}{getattr(error, 'problem', 'not YAML')}") from None


def _validate(path: str, document: Any, kinds: Collection[str]) -> Manifest:
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
    """Objects of the kinds in PLURALS. Their content is without status and fields that the server sets."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def content(self, kind: str, name: str, namespace: str) -> Content | None:
        """Return the object's content; None if it does not exist."""
        try:
            return strip_server_fields(await self._ask("get", kind, name, namespace, name))
        except NotFound:
            return None

    async def applied(self, kind: str, name: str, namespace: str, body: Mapping[str, Any]) -> Content:
        """Return the content that `apply` would produce, by a server-side dry run."""
        existing = await self.content(kind, name, namespace)
        return strip_server_fields(
            await self._apply(kind, name, namespace, body, there=existing is not None, dry_run=True)
        )

    async def contested(self, kind: str, name: str, namespace: str, body: Mapping[str, Any]) -> list[str]:
        """Return the fields that `apply` would take from others, with whose they are: `.spec.maxReplicas (kubectl)`."""
        if await self.content(kind, name, namespace) is None:
            return []
        try:
            await self._apply(kind, name, namespace, body, there=True, dry_run=True, force=False)
        except Refused as refused:
            if refused.key != "fields_contested":
                raise
            return [str(field) for field in refused.facts["fields"]]  # type: ignore[attr-defined]
        return []

    @effect("kubernetes.apply", hidden=("body",))
    async def apply(
        self,
        kind: str,
        name: str,
        namespace: str,
        body: Mapping[str, Any],
        taken: Sequence[str] = (),
        *,
        dry_run: bool = False,
    ) -> str:
        """Apply server-side: fields of the manifest win over other owners (`taken` from them), all others stay."""
        warnings: list[str] = []
        before = await self.content(kind, name, namespace)
        after = await self._apply(
            kind, name, namespace, body, there=before is not None, dry_run=dry_run, warnings=warnings
        )
        return with_warnings(diff(before or {}, after), warnings) if dry_run else ""

    @effect("kubernetes.delete")
    async def delete(self, kind: str, name: str, namespace: str, *, dry_run: bool = False) -> str:
        """Delete the object. Does nothing if it does not exist."""
        before = await self.content(kind, name, namespace) if dry_run else None
        try:
            await self._ask("delete", kind, name, namespace, name, dry_run=ALL if dry_run else None)
        except NotFound:
            return ""
        return diff(before or {}, {}) if dry_run else ""

    @effect("kubernetes.put_back", hidden=("content",))
    async def restore(self, kind: str, name: str, namespace: str, content: Mapping[str, Any]) -> None:
        """Make the object's content exactly this; creates it if it does not exist.

        A controller that writes the status meanwhile is no reason to give up: the object is read again.
        """
        for attempt in range(REPLACE_ATTEMPTS):
            try:
                current = await self._ask("get", kind, name, namespace, name)
            except NotFound:
                await self._ask("create", kind, name, namespace, dict(content), field_manager=FIELD_MANAGER)
                return
            version = {"resourceVersion": current["metadata"]["resourceVersion"]}
            body = {**content, "metadata": {**content["metadata"], **version}}
            try:
                await self._ask("replace", kind, name, namespace, name, body, field_manager=FIELD_MANAGER)
                return
            except Unavailable as conflict:
                if conflict.facts.get("status") != CONFLICT or attempt == REPLACE_ATTEMPTS - 1:
                    raise

    async def _apply(
        self, kind: str, name: str, namespace: str, body: Mapping[str, Any], *, there: bool, **options: Any
    ) -> dict[str, Any]:
        """Apply, or create if missing: the client discards the response of an apply that creates (201)."""
        options |= {"dry_run": ALL if options.get("dry_run") else None, "field_manager": FIELD_MANAGER}
        if not there:
            return await self._ask("create", kind, name, namespace, dict(body), **options)
        options = {"force": True, "_content_type": APPLY, **options}
        return await self._ask("patch", kind, name, namespace, name, dict(body), **options)

    async def _ask(
        self, verb: str, kind: str, name: str, namespace: str, *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        """Call the API for custom objects, which works for all groups but the core one, with plain JSON."""
        call = getattr(client.CustomObjectsApi(self._cluster.api), f"{verb}_namespaced_custom_object")
        group, version = kind.partition(" ")[0].split("/")
        what = f"{kind.rpartition(' ')[2]} {namespace}/{name}"
        content: dict[str, Any] = await self._cluster.ask(
            what, call, group, version, namespace, PLURALS[kind], *arguments, **options
        )
        return content


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Status of an ExternalSecret: the synced `version` of the object, the time, and whether it succeeded."""

    version: str
    at: str
    ready: bool
    why: str


class ExternalSecrets:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._version = VERSIONS[0]

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
        """Request a synchronisation. Repeating it with the same `mark` has no effect."""
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
        """Wait until another version than `before` is synced; the caller sets the deadline.

        Raises Refused (`secret_not_synced`) if the synchronisation failed.
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

    async def _ask(self, name: str, namespace: str, method: str, *body: Any, **options: Any) -> dict[str, Any]:
        """Ask in the version that the cluster has. Raises NotFound (`kubernetes_no_api`) if it has none."""
        what = f"external secret {namespace}/{name}"
        call = getattr(client.CustomObjectsApi(self._cluster.api), method)
        for version in dict.fromkeys((self._version, *VERSIONS)):
            try:
                content: dict[str, Any] = await self._cluster.ask(
                    what, call, GROUP, version, namespace, PLURAL, name, *body, **options
                )
            except NotFound as missing:
                if missing.key != "kubernetes_no_api" or version == VERSIONS[-1]:
                    raise
            else:
                self._version = version
                return content
        raise AssertionError("the last version raises")
