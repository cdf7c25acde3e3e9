"""External Secrets: read again from Vault, and waited for, or pods would start with the old secret.

https://external-secrets.io/latest/introduction/faq/#can-i-manually-trigger-a-secret-refresh
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from kubernetes.aio import client

from bot.domain.errors import Refused, Unavailable
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster

KIND = ("external-secrets.io", "v1")
PLURAL = "externalsecrets"
FORCE_SYNC = "force-sync"
POLL_SECONDS = 1.0  # seconds


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
