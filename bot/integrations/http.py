"""Plain HTTP: the health endpoints of the team's file, and no other address."""

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
    """`seconds` from the question to the last byte that was read; `body` holds no more than LONGEST_BODY bytes."""

    status: int
    seconds: float
    body: str


class Http(HttpClient):
    """Asks and follows no redirection. With a `gateway`, `https://host/path` is asked for as `gateway/host/path`."""

    service = SERVICE

    def __init__(self, gateway: str | None = None) -> None:
        super().__init__(headers={"User-Agent": "tamv-bot"})
        self._gateway = gateway.rstrip("/") if gateway else None

    async def get(self, url: str, deadline: float) -> HttpResponse:
        """What is answered within `deadline` seconds, whatever the status. Raises Unavailable."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(deadline), self._session.get(self._way(url), allow_redirects=False) as answer:
                body = await answer.content.read(BODY_LIMIT)
                return HttpResponse(answer.status, time.monotonic() - began, body.decode("utf-8", "replace"))
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=_host(url), seconds=deadline) from slow
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise Unavailable("unreachable", service=_host(url)) from problem

    def _way(self, url: str) -> str:
        if self._gateway is None:
            return url
        parts = urlsplit(url)
        return f"{self._gateway}/{parts.netloc}{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _host(url: str) -> str:
    return urlsplit(url).netloc
