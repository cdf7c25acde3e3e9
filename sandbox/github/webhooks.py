"""Webhooks on their way out: signed, ten seconds to answer, never tried again by themselves.

https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque

import aiohttp

from sandbox.github.records import Delivery

TIMEOUT = 10.0  # real seconds: the receiver is a real one


def signature(body: bytes, secret: str) -> str:
    """The value of X-Hub-Signature-256: the HMAC-SHA256 of the raw body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


class Deliverer:
    """Sends webhooks in the background, in the order in which they came up."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self.log: list[Delivery] = []
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._queue: deque[Delivery] = deque()
        self._worker: asyncio.Task[None] | None = None

    def send(self, delivery: Delivery) -> None:
        self.log.append(delivery)
        self._queue.append(delivery)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def idle(self) -> None:
        """Wait until every webhook that is queued was sent."""
        while self._worker:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def aclose(self) -> None:
        if self._worker:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None  # one that was cancelled before it began has not taken itself out

    async def _work(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as http:
            try:
                while self._queue:
                    await self._deliver(http, self._queue.popleft())
            finally:  # before the session closes, or what is queued meanwhile would find a worker that is done
                self._worker = None

    async def _deliver(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        hook = delivery.hook
        body = json.dumps(delivery.payload, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/sandbox",
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature-256": signature(body, hook.secret),
        }
        try:
            async with http.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                delivery.answer = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            delivery.answer = type(error).__name__
