"""V3 webhooks on their way out: signed, in order, tried again, and switched off when nobody takes them.

The rules are PagerDuty's: https://developer.pagerduty.com/docs/webhooks-behavior
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import timedelta

import aiohttp

from sandbox.clock import Clock
from sandbox.pagerduty.records import Delivery, Subscription

TIMEOUT = 5.0  # real seconds: the receiver is a real one
RETRY_DELAYS = (15.0, 60.0, 240.0, 900.0)  # world seconds; five attempts over about twenty minutes
DROPS_TO_DISABLE = 3
DISABLED_FOR = timedelta(hours=24)


def signature(body: bytes, secrets: Sequence[str]) -> str:
    """The value of X-PagerDuty-Signature: one HMAC-SHA256 of the raw body for each secret."""
    return ",".join(f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}" for secret in secrets)


class Deliverer:
    """Sends each subscription's webhooks one after the other, so that they arrive in order."""

    def __init__(self, clock: Clock, *, timeout: float = TIMEOUT, retry_delays: Sequence[float] = RETRY_DELAYS) -> None:
        self.log: list[Delivery] = []
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._retry_delays = tuple(retry_delays)
        self._workers: dict[str, asyncio.Task[None]] = {}

    def send(self, subscription: Subscription, delivery: Delivery) -> None:
        """Queue a webhook; it is dropped at once while the subscription is disabled."""
        self.log.append(delivery)
        if subscription.disabled_until and subscription.disabled_until > self._clock.now():
            delivery.state = "dropped"
            return
        subscription.disabled_until = None
        subscription.queue.append(delivery)
        if subscription.id not in self._workers:
            self._workers[subscription.id] = asyncio.create_task(self._work(subscription))

    async def idle(self) -> None:
        """Wait until every webhook that is queued has been delivered or dropped."""
        while self._workers:
            await asyncio.gather(*self._workers.values(), return_exceptions=True)

    async def aclose(self) -> None:
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers.clear()  # one that was cancelled before it began has not taken itself out

    async def _work(self, subscription: Subscription) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as http:
            try:
                while subscription.queue:
                    delivery = subscription.queue.popleft()
                    await self._deliver(http, subscription, delivery)
                    self._account(subscription, delivery)
            finally:  # before the session closes, or what is queued meanwhile would find a worker that is done
                del self._workers[subscription.id]

    async def _deliver(self, http: aiohttp.ClientSession, subscription: Subscription, delivery: Delivery) -> None:
        body = json.dumps({"event": delivery.event}, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "PagerDuty-Webhook/V3.0",
            "X-Webhook-Id": delivery.webhook_id,
            "X-Webhook-Subscription": subscription.id,
            "X-PagerDuty-Signature": signature(body, subscription.secrets),
            **dict(subscription.custom_headers),
        }
        for delay in (*self._retry_delays, None):
            try:
                async with http.post(subscription.url, data=body, headers=headers, allow_redirects=False) as answer:
                    delivery.attempts.append(answer.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                delivery.attempts.append(type(error).__name__)
            last = delivery.attempts[-1]
            if isinstance(last, int) and 200 <= last < 300:
                delivery.state = "delivered"
                return
            for_good = isinstance(last, int) and 400 <= last < 500 and last != 429
            if for_good or delay is None:
                break
            await self._clock.sleep(delay)
        delivery.state = "dropped"

    def _account(self, subscription: Subscription, delivery: Delivery) -> None:
        if delivery.state == "delivered":
            subscription.dropped_in_a_row = 0
            return
        subscription.dropped_in_a_row += 1
        if subscription.dropped_in_a_row >= DROPS_TO_DISABLE:
            subscription.disabled_until = self._clock.now() + DISABLED_FOR
            subscription.dropped_in_a_row = 0
            while subscription.queue:
                subscription.queue.popleft().state = "dropped"
