"""The database locked, or gone for a while: a clear answer, nothing half-saved, and recovery without anybody's help."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from bot.domain.timeline import Kind, first_broken_link
from bot.store.database import Database
from bot.store.store import Store
from demo.bot_process import free_port
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel
from tests.crash.outside import Outside, keys, notification, until
from tests.crash.processes import EVENTS, BotProcess, environment
from tests.real.parts import require
from tests.real.postgresql import postgresql

INCIDENT = f"INC-{time.gmtime().tm_year}-0001"
AWAY = 8.0  # seconds
NOTHING_SAVED = "no se guardó nada"


@dataclass
class Place:
    bot: BotProcess
    sandbox: Sandbox
    outside: Outside
    store: Store

    async def furnished(self) -> Channel:
        slack = self.sandbox.slack

        async def there() -> bool:
            found = await self.outside.channel(INCIDENT.lower())
            return bool(found and f"{INCIDENT}/card" in keys(found) and "U0ANA00001" in found["members"])

        await until(there, 30, "the channel")
        return next(channel for channel in slack.channels.values() if channel.name.startswith(INCIDENT.lower()))

    async def told(self, who: str, words: str, channel: str = "tamv-incidents") -> None:
        """Wait until a person has been shown this."""
        person = Person(self.sandbox.slack, who)

        async def shown() -> bool:
            return any(words in message.all_text() for message in await person.messages(channel))

        await until(shown, 10, words)

    async def whole(self) -> None:
        """Everything that is on the timeline is in the channel, and the timeline holds."""

        async def out() -> bool:
            found = await self.outside.channel(INCIDENT.lower())
            timeline = await self.store.incidents.timeline(INCIDENT)
            told = {f"{INCIDENT}/{event.seq}" for event in timeline if event.kind is Kind.UPDATE}
            return bool(
                found and told <= set(keys(found)) and told and not await self.store.outbox.pending()
                and await self.store.deliveries.count_pending() == 0
            )  # fmt: skip

        await until(out, 30, "what is on the timeline")
        assert first_broken_link(INCIDENT, await self.store.incidents.timeline(INCIDENT)) is None


@asynccontextmanager
async def at(url: str, folder: Path) -> AsyncIterator[Place]:
    sandbox = Sandbox()
    sandbox.slack.subscriptions = set(EVENTS)
    async with sandbox.serving(free_port()) as address, aiohttp.ClientSession() as session:
        bot = BotProcess(environment(address, url), folder)
        sandbox.slack.bot_url = bot.url
        database = Database(url)
        try:
            await bot.started(session)
            yield Place(bot, sandbox, Outside(session, address, bot.url), Store(database, "test"))
        finally:
            bot.kill()
            await database.close()


async def test_sqlite_is_locked(tmp_path: Path) -> None:
    async with at(f"sqlite:///{tmp_path}/bot.db", tmp_path) as place:
        assert await place.outside.webhook(notification())
        channel = await place.furnished()
        with closing(sqlite3.connect(tmp_path / "bot.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reply = await Person(place.sandbox.slack, "ana").run("/incident update A", channel.name)
            assert reply.status == 200 and reply.milliseconds < 3000
            await place.told("ana", NOTHING_SAVED, channel.name)
            assert not await place.outside.webhook(notification("resolved"))
            other.execute("ROLLBACK")
        reply = await Person(place.sandbox.slack, "ana").run("/incident update B", channel.name)
        assert reply.status == 200
        await place.whole()
        timeline = await place.store.incidents.timeline(INCIDENT)
        assert [event.facts["text"] for event in timeline if event.kind is Kind.UPDATE] == ["B"]


@pytest.mark.real("postgresql")
async def test_postgresql_is_gone_for_a_while(tmp_path: Path) -> None:
    require("postgresql")
    with postgresql() as server:
        async with at(server.new_database(), tmp_path) as place:
            await _gone_and_back(place, server.stop, server.start)


async def _gone_and_back(place: Place, stop: Callable[[], None], start: Callable[[], None]) -> None:
    slack = place.sandbox.slack
    assert await place.outside.webhook(notification())
    channel = await place.furnished()
    ana, bruno = Person(slack, "ana"), Person(slack, "bruno")
    said = await ana.say(channel.name, "El pico empezó con la 2.1.0")
    # Slack keeps the bot waiting with what it was about, and meanwhile the database goes.
    held = place.sandbox.faults.add("slack", "slow", "chat.postMessage", seconds=2.0)
    assert (await ana.run("/incident update Antes", channel.name)).status == 200
    await asyncio.wait_for(held.met.wait(), 10)
    await asyncio.to_thread(stop)
    gone = time.monotonic()
    reply = await ana.run("/incident update Durante", channel.name)
    assert reply.status == 200 and reply.milliseconds < 3000
    await place.told("ana", NOTHING_SAVED, channel.name)
    assert not await place.outside.webhook(notification("resolved"))
    await bruno.react(said, "pushpin")  # Slack sends it again until it is taken
    await asyncio.sleep(AWAY - (time.monotonic() - gone))
    assert place.bot.running
    await asyncio.to_thread(start)
    back = time.monotonic()

    async def again() -> bool:
        await ana.run("/incident update Después", channel.name)
        await asyncio.sleep(0.5)
        return "Después" in [e.facts.get("text") for e in await place.store.incidents.timeline(INCIDENT)]

    await until(again, 15, "a command that is taken")
    await place.whole()
    sys.stdout.write(f"whole again {time.monotonic() - back:.1f} s after the database was back\n")
    timeline = await place.store.incidents.timeline(INCIDENT)
    texts = [event.facts["text"] for event in timeline if event.kind is Kind.UPDATE]
    assert texts.count("Antes") == 1 and "Durante" not in texts

    async def pinned() -> bool:
        return Kind.MESSAGE_ADDED in [e.kind for e in await place.store.incidents.timeline(INCIDENT)]

    await until(pinned, 20, "the pinned message")
    assert place.bot.running and place.bot.starts == 1
