"""Objects of the kinds that manifests may hold: looked at, applied, put back as they were, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.aio import client

from bot.domain.errors import NotFound
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, diff, strip_server_fields
from bot.integrations.kubernetes.manifest import PLURALS

APPLY = "application/apply-patch+yaml"

Content = dict[str, Any]


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
