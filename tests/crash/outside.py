"""What stands outside the bot, over HTTP: people who act, services that remember, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from bot.domain.errors import Unavailable
from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.alertmanager.state import fingerprint
from sandbox.deadline import deadline

T = TypeVar("T")
JSON = dict[str, Any]


@dataclass(frozen=True)
class Outside:
    session: aiohttp.ClientSession
    url: str
    bot_url: str

    async def state(self, service: str) -> JSON:
        """All that `slack`, `pagerduty` or `github` knows."""
        async with self.session.get(f"{self.url}/{service}/state") as answer:
            found: JSON = await answer.json()
            return found

    async def act(self, person: str, what: str, **how: Any) -> bool:
        """Do something as a person, and say whether the bot has acknowledged it."""
        async with self.session.post(f"{self.url}/console/api/{what}", json={"as": person, **how}) as answer:
            told: JSON = await answer.json()
            assert answer.status == 200, (what, how, told)
            return told.get("error") is None

    async def webhook(self, notification: JSON, bot_url: str | None = None) -> bool:
        """Call the bot as Alertmanager does, and say whether it took it."""
        try:
            async with self.session.post(
                f"{bot_url or self.bot_url}/webhooks/alertmanager",
                data=json.dumps(notification),
                headers={"Authorization": f"Bearer {WEBHOOK_TOKEN}"},
            ) as answer:
                return answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def fault(self, service: str, kind: str, match: str, **how: Any) -> None:
        body = {"service": service, "kind": kind, "match": match, **how}
        async with self.session.post(f"{self.url}/faults", json=body) as answer:
            assert answer.status == 201, await answer.text()

    async def faults_met(self) -> int:
        async with self.session.get(f"{self.url}/faults") as answer:
            return sum(fault["used"] for fault in await answer.json())

    async def no_faults(self) -> None:
        async with self.session.delete(f"{self.url}/faults"):
            pass

    async def channel(self, prefix: str) -> JSON | None:
        """The channel whose name begins so, with its messages and members."""
        slack = await self.state("slack")
        return next((one for one in slack["channels"] if one.get("name", "").startswith(prefix)), None)


async def until(true: Callable[[], Awaitable[T | None]], seconds: float, what: str = "") -> T:
    """Return what `true` gives once it gives something. TimeoutError, which says `what` was waited for.

    A database that does not answer on a busy machine is asked again.
    """
    found: T | None = None
    try:
        async with deadline(seconds):
            while not found:
                with contextlib.suppress(Unavailable):
                    found = await true()
                if not found:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds} s: {what or true}") from None
    return found


async def until_complete(missing: Callable[[], Awaitable[list[str]]], seconds: float, log: Callable[[], str]) -> None:
    """Wait until nothing is missing; AssertionError with what still is, and the end of the bot's log."""
    left: list[str] = []

    async def complete() -> bool:
        nonlocal left
        left = await missing()
        return not left

    try:
        await until(complete, seconds)
    except TimeoutError:
        raise AssertionError(f"missing after {seconds} s: {left}\n{log()[-6000:]}") from None


def notification(status: str = "firing", **labels: str) -> JSON:
    """A webhook of Alertmanager's, version 4, about one alert of xr-engine."""
    labels = {"alertname": "HighLatency", "service": "xr-engine", "severity": "critical", **labels}
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "p95 sobre 500 ms"},
        "startsAt": "2026-01-07T10:00:00Z",
        "endsAt": "2026-01-07T10:20:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": fingerprint(labels),
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{labels["alertname"]}", service="{labels["service"]}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "tamv-bot",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": alert["annotations"],
        "externalURL": "http://alertmanager.example",
        "alerts": [alert],
    }


def keys(channel: JSON) -> list[str]:
    """The key of each message of the bot's that stands in a channel."""
    payloads = [(message.get("metadata") or {}).get("event_payload") or {} for message in channel["messages"]]
    return [payload["key"] for payload in payloads if "key" in payload]


def files(channel: JSON, suffix: str) -> list[str]:
    """The names of the files that were shared in a channel and end so."""
    shared = [file["name"] for message in channel["messages"] for file in message.get("files") or []]
    return [name for name in shared if name.endswith(suffix)]
