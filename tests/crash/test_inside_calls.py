"""kill -9 while a call is on its way, and answers that are lost: what the services did, they did once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from bot.domain.timeline import first_broken_link
from bot.store.database import Database
from bot.store.store import Store
from demo.bot_process import free_port
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.crash.outside import Outside, files, keys, notification, until, until_complete
from tests.crash.processes import EVENTS, BotProcess, environment

CALLS = (
    ("pagerduty", "POST /events/v2/enqueue"),  # first: the team's next pages are held back for a minute
    ("slack", "conversations.create"),
    ("slack", "chat.postMessage"),
    ("slack", "conversations.invite"),
    ("slack", "conversations.setTopic"),
    ("slack", "bookmarks.add"),
    ("slack", "pins.add"),
    ("slack", "chat.update"),
    ("slack", "files.completeUploadExternal"),
)
ON_ITS_WAY = 0.6  # seconds: it is done after the bot has been killed, while the next one starts
WHOLE = 150.0  # with the pages that are held back for a minute


@dataclass
class Place:
    bot: BotProcess
    sandbox: Sandbox
    outside: Outside
    store: Store

    async def declared(self, number: int) -> None:
        assert await self.outside.webhook(notification(alertname=f"Alert{number}"))

    async def ended(self, number: int) -> None:
        """The alert ends once the incident's card is there, which is then drawn anew."""
        id = f"INC-{time.gmtime().tm_year}-{number + 1:04d}"

        async def carded() -> bool:
            return f"{id}/card" in keys(await self.outside.channel(id.lower()) or {"messages": []})

        await until(carded, 20, "the card")
        assert await self.outside.webhook(notification("resolved", alertname=f"Alert{number}"))

    async def complete(self, incidents: int) -> None:
        """Come back when every incident has all that a declaration brings with it."""
        await until_complete(lambda: self._missing(incidents), WHOLE, lambda: self.bot.log)

    async def _missing(self, incidents: int) -> list[str]:
        slack = await self.outside.state("slack")
        channels = [one for one in slack["channels"] if one.get("name", "").startswith("inc-")]
        pages = {page.key or "" for page in self.sandbox.pagerduty.incidents.values()}
        ids = await self.store.incidents.ids()
        return [
            *([f"incidents: {ids}"] if len(ids) < incidents else []),
            *(f"{id}: channel" for id in ids if not any(c["name"].startswith(id.lower()) for c in channels)),
            *(f"{c['name']}: charts" for c in channels if len(files(c, ".png")) < 4),
            *(f"{c['name']}: pin" for c in channels if not c["pins"]),
            *(f"{c['name']}: topic" for c in channels if not c["topic"]["value"]),
            *(f"{c['name']}: bookmarks" for c in channels if len(c["bookmarks"]) < 2),
            *(f"{c['name']}: people" for c in channels if len(c["members"]) < 3),
            *(f"{id}: page" for id in ids if id not in pages),
            *(["owed"] if await self.store.outbox.pending() else []),
        ]


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    sandbox = Sandbox()
    sandbox.slack.subscriptions = set(EVENTS)
    async with sandbox.serving(free_port()) as url, aiohttp.ClientSession() as session:
        bot = BotProcess(environment(url, database_url), tmp_path)
        sandbox.slack.bot_url = bot.url
        database = Database(database_url)
        try:
            await bot.started(session)
            yield Place(bot, sandbox, Outside(session, url, bot.url), Store(database, "test"))
        finally:
            bot.kill()
            await database.close()


async def test_killed_inside_each_call(place: Place) -> None:
    for number, (service, call) in enumerate(CALLS):
        held = place.sandbox.faults.add(service, "slow", call, seconds=ON_ITS_WAY)
        await place.declared(number)
        if call == "chat.update":
            await place.ended(number)
        async with deadline(60):
            await held.met.wait()
        await asyncio.sleep(ON_ITS_WAY / 4)
        place.bot.kill()
        await place.bot.started(place.outside.session)
    assert place.bot.killed == len(CALLS)
    await place.complete(len(CALLS))
    await everything_once(place, len(CALLS))


async def test_each_answer_lost_once(place: Place) -> None:
    for number, (service, call) in enumerate(CALLS):
        lost = place.sandbox.faults.add(service, "drop_after", call)
        await place.declared(number)
        if call == "chat.update":
            await place.ended(number)
        async with deadline(60):
            await lost.met.wait()
    await place.complete(len(CALLS))
    await everything_once(place, len(CALLS))


async def everything_once(place: Place, incidents: int) -> None:
    slack = await place.outside.state("slack")
    channels = [one for one in slack["channels"] if one.get("name", "").startswith("inc-")]
    (team,) = (one for one in slack["channels"] if one.get("name") == "tamv-incidents")
    ids = list(await place.store.incidents.ids())
    assert len(channels) == len(ids) == incidents
    assert _twice([key for channel in [*channels, team] for key in keys(channel)]) == []
    assert {f"{id}/headline" for id in ids} <= set(keys(team))
    for channel in channels:
        assert _twice([bookmark["link"] for bookmark in channel["bookmarks"]]) == []
        assert _twice(files(channel, ".png")) == []
        assert len(channel["pins"]) == 1
    pages = [page.key or "" for page in place.sandbox.pagerduty.incidents.values()]
    assert sorted(pages) == sorted(ids)
    for id in ids:
        assert first_broken_link(id, await place.store.incidents.timeline(id)) is None


def _twice(things: list[str]) -> list[str]:
    return [thing for thing, count in Counter(things).items() if count > 1]
