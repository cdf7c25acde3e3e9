"""Tempo's trace search. Source: https://grafana.com/docs/tempo/latest/api_docs/#search"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from bot.domain.errors import Unavailable
from bot.integrations.base import HttpClient, http_error, invalid_response

SERVICE = "Tempo"
SEARCHED_TRACES = 500  # Tempo returns the newest traces; the slowest of these are kept


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace; `service` and `name` are those of its root span."""

    id: str
    service: str
    name: str
    began: datetime
    milliseconds: int


def slower_than(service: str, milliseconds: int) -> str:
    """Return TraceQL for a service's spans above a duration; the name is quoted, whatever it contains."""
    return f"{{ resource.service.name = {json.dumps(service, ensure_ascii=False)} && duration > {milliseconds}ms }}"


class Tempo(HttpClient):
    """One Tempo. Methods raise Unavailable and Refused."""

    service = SERVICE

    def __init__(self, url: str, timeout: float = 10.0, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(timeout=aiohttp.ClientTimeout(total=timeout), headers=headers)
        self._url = url.rstrip("/")

    async def search(self, query: str, begins: datetime, ends: datetime, limit: int) -> list[Trace]:
        """Return the slowest of the newest traces that match a TraceQL query between two times, the slowest first."""
        params = {"q": query, "start": int(begins.timestamp()), "end": int(ends.timestamp()), "limit": SEARCHED_TRACES}
        response = await self._get("/api/search", params)
        try:
            traces = [_trace(raw) for raw in response.get("traces") or []]
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise invalid_response(SERVICE, "search", writes=False) from problem
        return sorted(traces, key=lambda trace: trace.milliseconds, reverse=True)[:limit]

    async def _get(self, path: str, params: dict[str, Any]) -> Any:
        try:
            async with self._session.get(f"{self._url}{path}", params=params) as response:
                if response.status >= 400:
                    raise http_error(SERVICE, "search", response.status, (await response.text()).strip(), writes=False)
                return await response.json()
        except (aiohttp.ContentTypeError, ValueError) as problem:
            raise invalid_response(SERVICE, "search", writes=False) from problem
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise Unavailable("unreachable", service=SERVICE, what="search") from problem


def _trace(raw: dict[str, Any]) -> Trace:
    """Parse a trace. Tempo omits leading zeros of ids, and numbers that are zero."""
    began = datetime.fromtimestamp(int(raw["startTimeUnixNano"]) / 1e9, UTC)
    id = f"{int(raw['traceID'], 16):032x}"
    return Trace(id, raw.get("rootServiceName", ""), raw.get("rootTraceName", ""), began, int(raw.get("durationMs", 0)))
