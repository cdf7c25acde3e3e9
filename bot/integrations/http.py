"""Plain HTTP, for health endpoints only: those of the team file, and the doctor's look at Grafana."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from bot.domain.errors import Unavailable
from bot.integrations.base import HttpClient

SERVICE = "HTTP"
BODY_LIMIT = 65_536


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response. `seconds` is the time until the last byte that was read; `body` has at most BODY_LIMIT bytes."""

    status: int
    seconds: float
    body: str


class Http(HttpClient):
    """GET requests without redirects. With a `gateway`, `https://host/path` is requested as `gateway/host/path`."""

    service = SERVICE

    def __init__(self, gateway: str | None = None) -> None:
        super().__init__(headers={"User-Agent": "tamv-bot"})
        self._gateway = gateway.rstrip("/") if gateway else None

    async def get(self, url: str, deadline: float) -> HttpResponse:
        """Return the response, whatever its status. Raises Unavailable after `deadline` seconds."""
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout(deadline),
                self._session.get(self._route(url), allow_redirects=False) as response,
            ):
                body = await response.content.read(BODY_LIMIT)
                return HttpResponse(response.status, time.monotonic() - started, body.decode("utf-8", "replace"))
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=_host(url), seconds=deadline) from slow
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise Unavailable("unreachable", service=_host(url)) from problem

    async def probe(self, url: str, deadline: float) -> HttpResponse:
        """Return the response to one request of a session of its own. Raises as `get`."""
        async with self:
            return await self.get(url, deadline)

    def _route(self, url: str) -> str:
        if self._gateway is None:
            return url
        parts = urlsplit(url)
        return f"{self._gateway}/{parts.netloc}{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _host(url: str) -> str:
    return urlsplit(url).netloc
