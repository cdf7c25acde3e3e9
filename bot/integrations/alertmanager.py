"""Alertmanager's API v2: silences. Specification: `api/v2/openapi.yaml` of prometheus/alertmanager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from bot.domain.errors import Refused, Unavailable
from bot.integrations.base import HttpClient
from bot.integrations.effects import effect

SERVICE = "Alertmanager"


@dataclass(frozen=True, slots=True)
class Matcher:
    """Matches alerts with this label and value: `name="value"`."""

    name: str
    value: str

    def __str__(self) -> str:
        return f'{self.name}="{self.value}"'


class Alertmanager(HttpClient):
    """Silences of one Alertmanager. Methods raise Unavailable and Refused."""

    service = SERVICE

    def __init__(self, url: str, timeout: float = 5.0, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(timeout=aiohttp.ClientTimeout(total=timeout), headers=headers)
        self._url = url.rstrip("/")

    @effect("alertmanager.silence")
    async def silence(
        self, matchers: Sequence[Matcher], begins: datetime, ends: datetime, reason: str, by: str, key: str
    ) -> str:
        """Silence alerts and return the silence's id.

        `key` is written into the comment: a second call with the same key returns the first silence while it is active.
        """
        mark = f"[{key}]"
        for existing in await self._request("GET", "/silences"):
            if existing.get("comment", "").endswith(mark) and existing.get("status", {}).get("state") != "expired":
                return str(existing["id"])
        body = {
            "matchers": [
                {"name": matcher.name, "value": matcher.value, "isRegex": False, "isEqual": True}
                for matcher in matchers
            ],
            "startsAt": begins.isoformat(),
            "endsAt": ends.isoformat(),
            "createdBy": by,
            "comment": f"{reason} {mark}",
        }
        created = await self._request("POST", "/silences", body)
        return str(created["silenceID"])

    @effect("alertmanager.expire")
    async def expire(self, id: str) -> None:
        """End a silence. Does nothing if it has ended or does not exist."""
        if await self.state(id) in (None, "expired"):
            return
        await self._request("DELETE", f"/silence/{id}")

    async def state(self, id: str) -> str | None:
        """Return active, pending or expired; None if there is no such silence."""
        try:
            silence = await self._request("GET", f"/silence/{id}")
        except Refused as problem:
            if problem.facts.get("status") == 404:
                return None
            raise
        return str(silence["status"]["state"])

    async def config(self) -> str:
        """Return the configuration as YAML, as it was loaded; secrets are hidden by Alertmanager."""
        status = await self._request("GET", "/status") or {}
        return str((status.get("config") or {}).get("original") or "")

    async def check(self) -> str:
        """Return the version; read-only."""
        status = await self._request("GET", "/status")
        return f"{self._url}, version {(status.get('versionInfo') or {}).get('version', '?')}"

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            async with self._session.request(method, f"{self._url}/api/v2{path}", json=body) as response:
                if response.status == 429 or response.status >= 500:
                    raise Unavailable("unreachable", service=SERVICE, status=response.status)
                if response.status >= 400:
                    why = (await response.text())[:200]
                    raise Refused("refused", service=SERVICE, status=response.status, why=why)
                return await response.json() if response.content_type == "application/json" else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
            uncertain = method != "GET"
            raise Unavailable("unreachable", service=SERVICE, uncertain=uncertain) from problem
