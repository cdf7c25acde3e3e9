"""Alertmanager: groups the alerts that it receives and sends notifications to one webhook."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from sandbox.alertmanager.shapes import encode, notification
from sandbox.alertmanager.state import Alert, Group, Route, Silences, fingerprint
from sandbox.clock import Clock

RESOLVE_TIMEOUT = timedelta(minutes=5)  # an alert without an end resolves then, unless it is sent again
TIMEOUT = aiohttp.ClientTimeout(total=10)  # real seconds
RETRY_DELAY = 0.5  # real seconds, half as long again each time
MAX_RETRY_DELAY = 30.0
WEBHOOK_TOKEN = "sandbox-alertmanager-token"


@dataclass(frozen=True)
class Delivery:
    """One attempt to call the receiver: its time, body and HTTP status (0: no answer)."""

    at: datetime
    body: bytes
    status: int


class Alertmanager:
    """One Alertmanager with one route; it calls `url` with `token` as the bearer token.

    Groups wait on the world's clock, retries on the real one. Without a `url` nothing is sent until it is set.
    `also_notify` is another receiver, told of what the first one has accepted.
    """

    def __init__(
        self,
        clock: Clock,
        route: Route,
        *,
        url: str | None = None,
        token: str = WEBHOOK_TOKEN,
        external_url: str = "https://alertmanager.tamv.world",
        retry_delay: float = RETRY_DELAY,
    ) -> None:
        self.clock = clock
        self.route = route
        self.url = url
        self.token = token
        self.external_url = external_url
        self.also_notify: Callable[[dict[str, Any]], None] = lambda notification: None
        self.silences = Silences()
        self.deliveries: list[Delivery] = []
        self.alerts: dict[str, Alert] = {}
        self.groups: dict[tuple[tuple[str, str], ...], Group] = {}
        self._retry_delay = retry_delay
        self._tasks: dict[tuple[tuple[str, str], ...], asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    def receive(self, alerts: Iterable[Alert]) -> None:
        """Receive alerts, new or updated. Call it inside the running event loop."""
        now = self.clock.now()
        for received in alerts:
            key = fingerprint(received.labels)
            previous = self.alerts.get(key)
            if previous is None and received.is_resolved(now):
                continue
            alert = received if previous is None else received.merge_into(previous, now)
            self.alerts[key] = alert
            labels = self._group_labels(alert)
            group = self.groups.setdefault(labels, Group(dict(labels)))
            group.add(alert)
            if labels not in self._tasks:
                self._tasks[labels] = asyncio.create_task(self._run_group(labels, group), name=f"alert group {labels}")

    async def aclose(self) -> None:
        """Stop sending notifications."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _group_labels(self, alert: Alert) -> tuple[tuple[str, str], ...]:
        names = self.route.group_by
        return tuple(sorted((k, v) for k, v in alert.labels.items() if names is None or k in names))

    async def _run_group(self, labels: tuple[tuple[str, str], ...], group: Group) -> None:
        """Notify of a group for as long as it has alerts. An alert older than group_wait is sent at once."""
        oldest = min(alert.starts_at for alert in group.alerts.values())
        wait = oldest + self.route.group_wait - self.clock.now()
        await self.clock.sleep(max(wait.total_seconds(), 0.0))
        while group.alerts:
            await self._flush(group)
            if group.alerts:
                await self.clock.sleep(self.route.group_interval.total_seconds())
        del self._tasks[labels], self.groups[labels]

    async def _flush(self, group: Group) -> None:
        now = self.clock.now()
        alerts = [alert for alert in group.alerts.values() if not self.silences.silencing(alert.labels, now)]
        if alerts and group.needs_notification(alerts, self.route, now):
            sent = alerts if self.route.send_resolved else [alert for alert in alerts if not alert.is_resolved(now)]
            body = notification(self.route.receiver, group.labels, sent, external_url=self.external_url, now=now)
            if not await self._deliver(encode(body)):
                return
            self.also_notify(body)
            group.mark_notified(alerts, now)
        group.drop_resolved(now)
        self.alerts = {k: alert for k, alert in self.alerts.items() if not alert.is_resolved(now)}

    async def _deliver(self, body: bytes) -> bool:
        """Call the receiver until it accepts or rejects the body, or the next flush is due."""
        give_up_after = max(self.route.group_interval.total_seconds() / self.clock.speed, MAX_RETRY_DELAY)
        delay = self._retry_delay
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(give_up_after):
                while self.url is not None:
                    status = await self._post(self.url, body)
                    self.deliveries.append(Delivery(self.clock.now(), body, status))
                    if 200 <= status < 300:
                        return True
                    if 400 <= status < 500:
                        return False
                    await asyncio.sleep(delay)
                    delay = min(delay * 1.5, MAX_RETRY_DELAY)
        return False

    async def _post(self, url: str, body: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, headers={"User-Agent": "Alertmanager/sandbox"})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
