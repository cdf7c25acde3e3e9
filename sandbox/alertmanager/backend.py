"""The state of the sandbox's Alertmanager, and how it calls the receiver."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp

from sandbox.alertmanager.alerts import Alert, fingerprint
from sandbox.alertmanager.config import Route
from sandbox.alertmanager.groups import Group
from sandbox.alertmanager.notification import encoded, notification
from sandbox.alertmanager.silences import Silences
from sandbox.clock import Clock

RESOLVE_TIMEOUT = timedelta(minutes=5)  # an alert that names no end and is not told again ends then
TIMEOUT = aiohttp.ClientTimeout(total=10)  # real seconds: the receiver is a real one
FIRST_RETRY = 0.5  # real seconds, half as long again each time
LAST_RETRY = 30.0
WEBHOOK_TOKEN = "sandbox-alertmanager-token"


@dataclass(frozen=True)
class Delivery:
    """One attempt to call the receiver: when, what, and its HTTP status (0: no answer)."""

    at: datetime
    body: bytes
    status: int


class Alertmanager:
    """Groups the alerts that it receives by the route and calls `url` with `token` as the bearer token.

    Waiting is done on the world's clock, retries on the real one. Without a `url` nothing is sent until it is set.
    """

    def __init__(
        self,
        clock: Clock,
        route: Route,
        *,
        url: str | None = None,
        token: str = WEBHOOK_TOKEN,
        external_url: str = "https://alertmanager.tamv.world",
        first_retry: float = FIRST_RETRY,
    ) -> None:
        self.clock = clock
        self.route = route
        self.url = url
        self.token = token
        self.external_url = external_url
        self.silences = Silences()
        self.deliveries: list[Delivery] = []
        self.alerts: dict[str, Alert] = {}
        self.groups: dict[tuple[tuple[str, str], ...], Group] = {}
        self._first_retry = first_retry
        self._tasks: dict[tuple[tuple[str, str], ...], asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    def receive(self, alerts: Iterable[Alert]) -> None:
        """Take alerts in, new ones and news of known ones. Call it inside the running loop."""
        now = self.clock.now()
        for given in alerts:
            key = fingerprint(given.labels)
            known = self.alerts.get(key)
            if known is None and given.is_resolved(now):
                continue
            alert = given if known is None else given.merged_into(known, now)
            self.alerts[key] = alert
            labels = self._group_labels(alert)
            group = self.groups.setdefault(labels, Group(dict(labels)))
            group.add(alert)
            if labels not in self._tasks:
                self._tasks[labels] = asyncio.create_task(self._attend(labels, group), name=f"alert group {labels}")

    async def aclose(self) -> None:
        """Stop calling the receiver."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _group_labels(self, alert: Alert) -> tuple[tuple[str, str], ...]:
        wanted = self.route.group_by
        return tuple(sorted((k, v) for k, v in alert.labels.items() if wanted is None or k in wanted))

    async def _attend(self, labels: tuple[tuple[str, str], ...], group: Group) -> None:
        """Tell the receiver of a group as long as it has alerts; an alert that is not new does not wait."""
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
        heard = [each for each in group.alerts.values() if not self.silences.silencing(each.labels, now)]
        if heard and group.must_tell(heard, self.route, now):
            told = heard if self.route.send_resolved else [each for each in heard if not each.is_resolved(now)]
            body = notification(self.route.receiver, group.labels, told, external_url=self.external_url, now=now)
            if not await self._deliver(encoded(body)):
                return
            group.tell(heard, now)
        group.forget_resolved(now)
        self.alerts = {k: alert for k, alert in self.alerts.items() if not alert.is_resolved(now)}

    async def _deliver(self, body: bytes) -> bool:
        """Call the receiver until it takes the body, refuses it, or the next flush is due."""
        patience = max(self.route.group_interval.total_seconds() / self.clock.speed, LAST_RETRY)
        delay = self._first_retry
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.url is not None:
                    status = await self._post(self.url, body)
                    self.deliveries.append(Delivery(self.clock.now(), body, status))
                    if 200 <= status < 300:
                        return True
                    if 400 <= status < 500:
                        return False
                    await asyncio.sleep(delay)
                    delay = min(delay * 1.5, LAST_RETRY)
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
