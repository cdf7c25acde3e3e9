"""Two replicas on one PostgreSQL: both run workflows, one delivery to both is one effect, one goes on for both."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import select

from bot.domain.timeline import Kind
from bot.store.database import Database
from bot.store.outbox import NOTIFY
from bot.store.store import Store
from bot.store.tables import assignments
from demo.bot_process import free_port
from sandbox.server import Sandbox
from sandbox.slack.deliveries import Delivery
from sandbox.slack.person import Person
from tests.crash.outside import Outside, notification, until
from tests.crash.processes import EVENTS, BotProcess, environment, runner_and_other

INCIDENT = f"INC-{time.gmtime().tm_year}-0001"
NOBODY = "http://127.0.0.1:9"  # no bot listens there
TAKEN_OVER = 15.0  # seconds, of bars.md


@dataclass
class Replicas:
    bots: tuple[BotProcess, BotProcess]
    sandbox: Sandbox
    outside: Outside
    store: Store
    database: Database

    async def to_both(self, sent: list[Delivery]) -> None:
        """Deliver to both at the same moment, and once more afterwards, what nobody has got yet."""
        deliveries = self.sandbox.slack.deliveries
        for again in (None, 1):
            answers = await asyncio.gather(
                *(deliveries.redeliver(one, retry=again, to=bot.url) for one in sent for bot in self.bots)
            )
            assert [answer.status for answer in answers] == [200] * len(answers)

    async def lost(self) -> int:
        """Send what people do to nobody; gives how many deliveries there were before."""
        self.sandbox.slack.bot_url = NOBODY
        return len(self.sandbox.slack.deliveries.log)

    async def events(self, kind: Kind) -> int:
        return sum(event.kind is kind for event in await self.store.incidents.timeline(INCIDENT))

    async def both_run(self) -> bool:
        return all(bot.executors for bot in self.bots)

    async def assigned(self) -> list[str]:
        """The executor of each subject."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(assignments.c.executor))).scalars())

    async def held_in_the_middle(self) -> tuple[BotProcess, BotProcess]:
        """An incident whose channel Slack is slow to create: who waits for it, and the other, which Slack asks next."""
        await until(self.both_run, 20, "both to run workflows")
        held = self.sandbox.faults.add("slack", "slow", "conversations.create", seconds=1.5)
        assert await self.outside.webhook(notification())

        async def met() -> bool:
            return held.met.is_set()

        await until(met, 20, "the channel to be asked for")
        runner, other = await runner_and_other(self.bots, self.database, INCIDENT)
        self.sandbox.slack.bot_url = other.url
        return runner, other


@pytest.fixture
async def replicas(postgresql_url: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    sandbox = Sandbox()
    sandbox.slack.subscriptions = set(EVENTS)
    sandbox.slack.deliveries.retry_delays = ()
    async with sandbox.serving(port := free_port()) as url, aiohttp.ClientSession() as session:
        settings = environment(url, postgresql_url)
        bots = (BotProcess(settings, tmp_path, "one"), BotProcess(settings, tmp_path, "other"))
        assert url.endswith(str(port))
        database = Database(postgresql_url)
        try:
            await asyncio.gather(*(bot.started(session) for bot in bots))
            sandbox.slack.bot_url = bots[0].url
            yield Replicas(bots, sandbox, Outside(session, url, bots[0].url), Store(database, "test"), database)
        finally:
            for bot in bots:
                bot.kill()
            await database.close()


async def test_the_same_delivery_to_both_is_one_effect(replicas: Replicas) -> None:
    slack, log = replicas.sandbox.slack, replicas.sandbox.slack.deliveries.log
    ana = Person(slack, "ana")

    before = await replicas.lost()
    await ana.run("/incident declare Render lento sev=SEV2 service=xr-engine")
    await replicas.to_both(log[before:])
    channel = await slack.wait_for(
        lambda: next((c for c in slack.channels.values() if c.name.startswith("inc-") and ana.id in c.members), None),
        20,
    )
    card = await slack.wait_for(
        lambda: next((m for m in channel.messages.values() if "post_update" in str(m.blocks)), None), 20
    )

    before = await replicas.lost()
    await ana.press(card, "take_command")
    await replicas.to_both(log[before:])

    slack.bot_url = replicas.bots[1].url
    await ana.press(card, "post_update")
    await slack.wait_for(lambda: ana.view, 10)
    before = await replicas.lost()
    await ana.submit({"text": "Escalamos a 10 réplicas"})
    await replicas.to_both(log[before:])

    said = await ana.say(channel.name, "El pico empezó con la 2.1.0")
    before = await replicas.lost()
    await Person(slack, "bruno").react(said, "pushpin")
    await slack.deliveries.settled()
    await replicas.to_both(log[before:])

    async def told() -> bool:
        return bool(await replicas.events(Kind.UPDATE) and await replicas.events(Kind.MESSAGE_ADDED))

    await until(told, 10, "the update and the pin")
    assert list(await replicas.store.incidents.ids()) == [INCIDENT]
    for kind in (Kind.DECLARED, Kind.CHANNEL_OPENED, Kind.ACKNOWLEDGED, Kind.UPDATE, Kind.MESSAGE_ADDED):
        assert await replicas.events(kind) == 1, kind
    assert len([c for c in slack.channels.values() if c.name.startswith("inc-")]) == 1

    async def quiet() -> bool:
        return not await replicas.store.outbox.pending() and await replicas.store.deliveries.count_pending() == 0

    await until(quiet, 20, "the outbox and the inbox to be empty")
    keys = Counter(
        str(message.metadata["event_payload"]["key"])
        for channel in slack.channels.values()
        for message in channel.messages.values()
        if message.metadata
    )
    assert {key: count for key, count in keys.items() if count > 1} == {}
    assert keys[f"{INCIDENT}/headline"] == 1


async def test_one_group_of_alerts_told_to_both_at_once_is_one_incident(replicas: Replicas) -> None:
    urls = [bot.url for bot in replicas.bots] * 4
    assert all(await asyncio.gather(*(replicas.outside.webhook(notification(), url) for url in urls)))
    others = [notification(alertname=f"Other{number}") for number in range(5)]
    assert all(
        await asyncio.gather(*(replicas.outside.webhook(one, bot.url) for one in others for bot in replicas.bots))
    )

    async def declared() -> bool:
        return len(await replicas.store.incidents.ids()) >= 6 and await replicas.store.deliveries.count_pending() == 0

    await until(declared, 20, "six incidents")
    year = INCIDENT[4:8]
    assert list(await replicas.store.incidents.ids()) == [f"INC-{year}-{number:04d}" for number in range(1, 7)]
    assert await replicas.events(Kind.ALERT_FIRING) == 0


async def test_both_run_workflows_each_those_of_its_own_subjects(replicas: Replicas) -> None:
    await until(replicas.both_run, 20, "both to run workflows")
    both = {bot.executors[-1] for bot in replicas.bots}
    numbers = itertools.count()

    async def spread() -> Counter[str] | None:
        """Eight more subjects at a time, until each replica has heard of the other by a heartbeat."""
        for number in itertools.islice(numbers, 8):
            await replicas.store.outbox.enqueue_once(f"subject-{number}/wake", NOTIFY, [f"subject-{number}"])
        await until(dispatched, 20, "the outbox to be empty")
        shares = Counter(await replicas.assigned())
        return shares if shares.keys() == both else None

    async def dispatched() -> bool:
        return not await replicas.store.outbox.pending()

    shares = await until(spread, 20, "a share for each")
    assert shares.total() == next(numbers)


async def test_the_other_goes_on_within_15_seconds(replicas: Replicas) -> None:
    """One dies while Slack keeps it waiting for the channel, and the other one finishes what was begun."""
    slack = replicas.sandbox.slack
    runner, _ = await replicas.held_in_the_middle()
    runner.kill()
    killed = time.monotonic()

    async def furnished() -> bool:
        keys = json.dumps([m.metadata for c in slack.channels.values() for m in c.messages.values()])
        return f'"{INCIDENT}/headline"' in keys and f'"{INCIDENT}/card"' in keys

    await until(furnished, TAKEN_OVER, "the headline and the card, by the other replica")
    taken = time.monotonic() - killed
    assert len([c for c in slack.channels.values() if c.name.startswith("inc-")]) == 1
    sys.stdout.write(f"taken over within {taken:.1f} s\n")


async def test_one_that_hangs_is_taken_over_and_does_nothing_when_it_wakes_up(replicas: Replicas) -> None:
    """It is stopped while Slack keeps it waiting for the channel; its connections to the database live."""
    slack = replicas.sandbox.slack
    runner, _ = await replicas.held_in_the_middle()
    runner.suspend()
    stopped = time.monotonic()

    async def furnished() -> bool:
        keys = json.dumps([m.metadata for c in slack.channels.values() for m in c.messages.values()])
        return f'"{INCIDENT}/headline"' in keys and f'"{INCIDENT}/card"' in keys

    try:
        await until(furnished, TAKEN_OVER, "the headline and the card, by the other replica")
        taken = time.monotonic() - stopped

        async def quiet() -> bool:
            return not await replicas.store.outbox.pending() and await replicas.store.deliveries.count_pending() == 0

        await until(quiet, 20, "everything to be done by the other replica")
        before = 0
        while before < (before := len(slack.calls)):  # noqa: ASYNC110 - its last steps: pins, charts
            await asyncio.sleep(3)
    finally:
        runner.wake()

    async def ended() -> bool:
        return runner.exit_code is not None

    await until(ended, 10, "the one that woke up to end itself")
    assert runner.exit_code == 70
    theirs = [call for call in slack.calls[before:] if call.method != "auth.test"]
    assert theirs == []
    assert len([c for c in slack.channels.values() if c.name.startswith("inc-")]) == 1
    for kind in (Kind.DECLARED, Kind.CHANNEL_OPENED):
        assert await replicas.events(kind) == 1, kind
    sys.stdout.write(f"taken over within {taken:.1f} s\n")
