"""Atlassian Statuspage: incidents of one page. Source: https://developer.statuspage.io/

An API key may ask once a second; the list of incidents has no filter, and creating one takes no idempotency key. Every
incident of ours therefore carries our own id in its metadata, by which it is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from bot.integrations.base import HttpClient, connection_error, http_error, invalid_response, parse_retry_after

SERVICE = "Statuspage"
MARK = "tamv-bot"  # the key of our metadata
PAGE_SIZE = 100
CLOCK_SKEW = timedelta(minutes=10)  # between their clock and ours
TOO_MANY = (420, 429)


@dataclass(frozen=True, slots=True)
class PublicIncident:
    """An incident as the page shows it. `components` are ids of components → their status."""

    name: str
    status: str
    text: str
    components: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Published:
    """An incident on the page: its id and name there, status, components it affects → their status, and its address."""

    id: str
    name: str
    status: str
    components: Mapping[str, str]
    url: str | None


class Statuspage(HttpClient):
    """One page, by its id. Methods raise Unavailable and Refused."""

    service = SERVICE

    def __init__(self, url: str, key: str, timeout: float = 10.0) -> None:
        headers = {"Authorization": f"OAuth {key}", "User-Agent": "tamv-bot"}
        super().__init__(timeout=aiohttp.ClientTimeout(total=timeout), headers=headers)
        self._seconds = timeout
        self._url = url.rstrip("/")

    async def find(self, page: str, incident_id: str, since: datetime) -> list[Published]:
        """Return what is published of an incident that was declared at `since`, the oldest first."""
        found: list[tuple[datetime, Published]] = []
        number = 1
        while True:
            query = f"limit={PAGE_SIZE}&page={number}"
            listed = await self._request("GET", f"/pages/{page}/incidents?{query}", "incidents")
            try:
                for raw in listed:
                    mark = (raw.get("metadata") or {}).get(MARK) or {}
                    if mark.get("incident") == incident_id:
                        found.append((_created(raw), _published(raw)))
                past = any(_created(raw) < since - CLOCK_SKEW for raw in listed)
            except (AttributeError, KeyError, TypeError, ValueError) as problem:
                raise invalid_response(SERVICE, "incidents", writes=False) from problem
            if past or len(listed) < PAGE_SIZE:
                return [one for _, one in sorted(found, key=lambda pair: pair[0])]
            number += 1

    async def create(self, page: str, incident_id: str, wanted: PublicIncident, *, notify: bool) -> Published:
        """Publish an incident. `notify`: the page's subscribers get a message."""
        body = _body(wanted, notify=notify) | {"metadata": {MARK: {"incident": incident_id}}}
        created = await self._request("POST", f"/pages/{page}/incidents", "create", {"incident": body})
        return self._read(created, "create")

    async def update(self, page: str, id: str, wanted: PublicIncident, *, notify: bool) -> Published:
        """Add an update to a published incident."""
        body = {"incident": _body(wanted, notify=notify)}
        updated = await self._request("PATCH", f"/pages/{page}/incidents/{id}", "update", body)
        return self._read(updated, "update")

    async def delete(self, page: str, id: str) -> None:
        """Take an incident off the page, with all that was said of it."""
        await self._request("DELETE", f"/pages/{page}/incidents/{id}", "delete")

    async def components(self, page: str) -> dict[str, str]:
        """Return the page's components: id → name; read-only."""
        found: dict[str, str] = {}
        number = 1
        while True:
            query = f"per_page={PAGE_SIZE}&page={number}"
            listed = await self._request("GET", f"/pages/{page}/components?{query}", "components")
            try:
                found |= {str(raw["id"]): str(raw["name"]) for raw in listed}
            except (KeyError, TypeError) as problem:
                raise invalid_response(SERVICE, "components", writes=False) from problem
            if len(listed) < PAGE_SIZE:
                return found
            number += 1

    def _read(self, raw: Any, what: str) -> Published:
        try:
            return _published(raw)
        except (AttributeError, KeyError, TypeError) as problem:
            raise invalid_response(SERVICE, what, writes=True) from problem

    async def _request(self, method: str, path: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        writes = method != "GET"
        try:
            async with self._session.request(method, f"{self._url}{path}", json=body) as response:
                if response.status >= 400:
                    status = 429 if response.status in TOO_MANY else response.status
                    wait, why = parse_retry_after(response.headers, "Retry-After"), await _reason(response)
                    raise http_error(SERVICE, what, status, why, retry_after=wait, writes=writes)
                return await response.json()
        except (aiohttp.ContentTypeError, ValueError) as problem:
            raise invalid_response(SERVICE, what, writes=writes) from problem
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise connection_error(SERVICE, what, problem, seconds=self._seconds, writes=writes) from problem


def _body(wanted: PublicIncident, *, notify: bool) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "status": wanted.status,
        "body": wanted.text,
        "component_ids": list(wanted.components),
        "components": dict(wanted.components),
        "deliver_notifications": notify,
    }


def _published(raw: Mapping[str, Any]) -> Published:
    components = {str(one["id"]): str(one["status"]) for one in raw.get("components") or []}
    return Published(str(raw["id"]), str(raw["name"]), str(raw["status"]), components, raw.get("shortlink"))


def _created(raw: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(raw["created_at"]))


async def _reason(response: aiohttp.ClientResponse) -> str:
    """Return Statuspage's own message: `error` is a sentence or a list of them."""
    try:
        said = (await response.json(content_type=None)).get("error")
    except (aiohttp.ClientError, ValueError, AttributeError):
        return ""
    return "; ".join(map(str, said)) if isinstance(said, list) else str(said or "")
