"""kill -9 between the alert and the report: everything comes out once, and nothing that was acknowledged is gone."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.domain.timeline import Kind, TimelineEvent, first_broken_link
from bot.store.database import Database
from bot.store.store import Store
from demo.bot_process import free_port
from tests.crash.outside import Outside, files, keys, notification, until, until_complete
from tests.crash.processes import BotProcess, environment, sandbox_process

SEED = int(os.environ.get("CRASH_SEED", "20261124"))
_chance = random.Random(SEED)  # noqa: S311 - the same points each time
# Seconds after an act began, and after the next process answered, for each of the ten acts.
POINTS = [(_chance.uniform(0, 0.5), _chance.uniform(0, 1.0)) for _ in range(10)]
INCIDENT = f"INC-{time.gmtime().tm_year}-0001"
WHOLE = 120.0  # seconds for the report, after the last kill
ONCE = (Kind.DECLARED, Kind.CHANNEL_OPENED, Kind.ACKNOWLEDGED, Kind.MITIGATED, Kind.RESOLVED, Kind.ALERT_RESOLVED,
        Kind.MESSAGE_ADDED, Kind.ROLE_ASSIGNED)  # fmt: skip
SILENT = (Kind.DECLARED, Kind.CHANNEL_OPENED, Kind.SNAPSHOT_TAKEN, Kind.REPORT_WRITTEN)

# Slack's are 0, 60 and 300 s, in which the bot starts many times over; here the last comes after the last kill.
RETRIES = (0.1, 7.0, 45.0)

Act = Callable[[int], Awaitable[bool]]


@dataclass
class Story:
    """What people and services do, one after the other, and what of it the bot has acknowledged.

    Whoever gets no answer does it again, as people do; each try is told from the others by its number.
    """

    outside: Outside
    acknowledged: dict[str, list[int]] = field(default_factory=dict)
    channel: str = ""

    @property
    def acts(self) -> list[tuple[str, Act]]:
        return [
            ("alert", lambda _: self.outside.webhook(notification())),
            ("take command", lambda _: self._press("take_command")),
            ("update", lambda n: self._run(f"/incident update Escalamos xr-engine, intento {n}")),
            ("impact", lambda n: self._run(f"/incident impact users={1000 + n}")),
            ("pin", lambda _: self._pin()),
            ("followup", lambda n: self._run(f'/incident followup "Alertas de memoria {n}" owner=SRETeam', "bruno")),
            ("page", lambda n: self._run(f"/page SRETeam Hace falta otra persona {n}")),
            ("alert ended", lambda _: self.outside.webhook(notification("resolved"))),
            ("mitigate", lambda _: self._run("/incident mitigate")),
            ("resolve", lambda _: self._run("/incident resolve")),
        ]

    async def do(self, name: str, act: Act, attempt: int) -> bool:
        done = await act(attempt)
        if done:
            self.acknowledged.setdefault(name, []).append(attempt)
        return done

    async def in_the_channel(self) -> None:
        """Wait until the people who are to act have been invited."""

        async def there() -> bool:
            found = await self.outside.channel("inc-")
            self.channel = found["id"] if found else ""
            return bool(
                found and {"U0ANA00001", "U0BRUNO002"} <= set(found["members"]) and f"{INCIDENT}/card" in keys(found)
            )

        await until(there, 40, "the channel with its people and its card")

    async def _run(self, text: str, who: str = "ana") -> bool:
        return await self.outside.act(who, "command", text=text, channel=self.channel)

    async def _press(self, action_id: str) -> bool:
        found = await self.outside.channel("inc-")
        assert found
        return await self.outside.act(
            "ana", "press", channel=self.channel, ts=self._card(found)["ts"], action_id=action_id
        )

    async def _pin(self) -> bool:
        """Somebody says something and somebody else finds it worth keeping; Slack sends the event until it is taken."""
        said = await self.outside.session.post(
            f"{self.outside.url}/console/api/say",
            json={"as": "ana", "channel": self.channel, "text": "El pico empezó con la 2.1.0"},
        )
        ts = (await said.json())["ts"]
        return await self.outside.act("bruno", "react", channel=self.channel, ts=ts, name="pushpin")

    @staticmethod
    def _card(channel: dict[str, Any]) -> dict[str, Any]:
        return next((m for m in channel["messages"] if "take_command" in str(m.get("blocks"))), {})


@dataclass
class Place:
    bot: BotProcess
    outside: Outside
    store: Store

    async def caught_up(self) -> None:
        """Come back when all that came in is on the timeline, and all who were to be paged have been."""

        async def done() -> bool:
            states = {page.state for page in await self.store.pages.list_by_incident(INCIDENT)}
            return await self.store.deliveries.count_pending() == 0 and states <= {"sent", "acknowledged"}

        await until(done, 40, "the inbox and the pages")

    async def reported(self) -> None:
        """Come back when the incident has been reported, and nothing is on its way any more."""
        await until_complete(self._missing, WHOLE, lambda: self.bot.log)

    async def _missing(self) -> list[str]:
        """What has not come out yet, in words."""
        channel = await self.outside.channel("inc-")
        if channel is None:
            return ["channel"]
        timeline = await self.store.incidents.timeline(INCIDENT)
        told = {f"{INCIDENT}/{event.seq}" for event in timeline if event.kind not in SILENT}
        snapshots = {str(event.facts["moment"]) for event in timeline if event.kind is Kind.SNAPSHOT_TAKEN}
        return [
            *sorted(
                {"declared", "mitigated", "resolved"} - snapshots
            ),  # a figure that came too late is asked for again
            *(name for name in (f"{INCIDENT}.md", f"{INCIDENT}.html") if name not in files(channel, name)),
            *sorted(told - set(keys(channel))),
            *(one.id for one in await self.store.followups.list_by_incident(INCIDENT) if one.number is None),
            *(
                f"{page.key}: {page.state}"
                for page in await self.store.pages.list_by_incident(INCIDENT)
                if page.state != "resolved"
            ),
            *(["an event that Slack sends again"] if await self._is_refused("reaction_added") else []),
            *(["a delivery that waits"] if await self.store.deliveries.count_pending() else []),
            *(f"owed {work.workflow_id}" for work in await self.store.outbox.pending()),
        ]

    async def _is_refused(self, event: str) -> bool:
        """Whether Slack still tries to deliver such an event: each answer is its status, error and duration."""
        sent = [one for one in (await self.outside.state("slack"))["deliveries"] if one["type"] == event]
        return any(one["answers"][-1][1] and len(one["answers"]) <= len(RETRIES) for one in sent)


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    port = free_port()
    bot = BotProcess(environment(f"http://127.0.0.1:{port}", database_url), tmp_path)
    options = [f"--retry-after={seconds}" for seconds in RETRIES]
    async with sandbox_process(bot.url, tmp_path, port, *options) as url, aiohttp.ClientSession() as session:
        await bot.started(session)
        database = Database(database_url)
        try:
            yield Place(bot, Outside(session, url, bot.url), Store(database, "test"))
        finally:
            bot.kill()
            await database.close()


async def test_killed_at_random(place: Place, record_property: Callable[[str, object], None]) -> None:
    """Twice in each act: while it is being done, and while the next process takes it up."""
    bot, story = place.bot, Story(place.outside)
    began = time.monotonic()
    for number, (name, act) in enumerate(story.acts):
        if name != "alert":
            await story.in_the_channel()
        if name == "resolve":
            await place.caught_up()  # what is over already is neither paged nor mitigated any more
        points = POINTS[number]
        say(f"{time.monotonic() - began:5.1f} s  {name}: killed after {points[0]:.3f} s, then after {points[1]:.3f} s")
        doing = asyncio.create_task(story.do(name, act, 1))
        await asyncio.sleep(points[0])
        bot.kill()
        done = await doing
        await bot.started(place.outside.session)
        await asyncio.sleep(points[1])
        bot.kill()
        await bot.started(place.outside.session)
        attempt = 1
        while not done:
            attempt += 1
            done = await story.do(name, act, attempt)
    await place.reported()
    seconds = round(time.monotonic() - began, 1)
    say(f"{bot.killed} kills in {seconds} s, seed {SEED}")
    record_property("kills", bot.killed)
    record_property("seconds", seconds)
    assert bot.killed == 2 * len(POINTS)
    await everything_once(place, story)


def say(line: str) -> None:
    """Shown when the test fails, and with `pytest -s`."""
    sys.stdout.write(f"{line}\n")


async def everything_once(place: Place, story: Story) -> None:
    timeline = await place.store.incidents.timeline(INCIDENT)
    assert list(await place.store.incidents.ids()) == [INCIDENT]
    _timeline_holds(timeline, story)
    slack = await place.outside.state("slack")
    (channel,) = (one for one in slack["channels"] if one.get("name", "").startswith("inc-"))
    (team,) = (one for one in slack["channels"] if one.get("name") == "tamv-incidents")
    assert Counter(keys(team))[f"{INCIDENT}/headline"] == 1
    assert _twice(keys(channel) + keys(team)) == []
    assert {f"{INCIDENT}/{event.seq}" for event in timeline if event.kind not in SILENT} <= set(keys(channel))
    assert len(files(channel, f"{INCIDENT}.md")) == len(files(channel, f"{INCIDENT}.html")) == 1
    assert _twice(files(channel, ".png")) == []
    assert _twice([bookmark["link"] for bookmark in channel["bookmarks"]]) == []
    assert len(channel["pins"]) == 1
    await _paged_once(place, timeline)
    await _filed_once(place)


def _timeline_holds(timeline: list[TimelineEvent], story: Story) -> None:
    assert first_broken_link(INCIDENT, timeline) is None
    kinds = Counter(event.kind for event in timeline)
    assert {kind: kinds[kind] for kind in ONCE} == dict.fromkeys(ONCE, 1)
    assert kinds[Kind.TROUBLE] == kinds[Kind.PAGE_FAILED] == 0, [e for e in timeline if e.kind is Kind.TROUBLE]
    assert sorted(str(e.facts["moment"]) for e in timeline if e.kind is Kind.SNAPSHOT_TAKEN) == [
        "declared", "mitigated", "resolved"
    ]  # fmt: skip
    for name, kind, fact, words in (
        ("update", Kind.UPDATE, "text", "Escalamos xr-engine, intento {}"),
        ("impact", Kind.IMPACT_SET, "users", "100{}"),
        ("followup", Kind.FOLLOWUP_OPENED, "title", "Alertas de memoria {}"),
        ("page", Kind.PAGE_ASKED, "text", "Hace falta otra persona {}"),
    ):
        told = [str(event.facts[fact]) for event in timeline if event.kind is kind]
        assert _twice(told) == []
        assert {words.format(attempt) for attempt in story.acknowledged[name]} <= set(told), name


async def _paged_once(place: Place, timeline: list[TimelineEvent]) -> None:
    pages = [page["incident_key"] for page in (await place.outside.state("pagerduty"))["incidents"]]
    asked = [event.facts["key"] for event in timeline if event.kind is Kind.PAGE_ASKED]
    assert sorted(pages) == sorted([INCIDENT, *asked])
    assert sorted(str(event.facts["key"]) for event in timeline if event.kind is Kind.PAGED) == sorted(pages)


async def _filed_once(place: Place) -> None:
    issues = (await place.outside.state("github"))["issues"]
    followups = await place.store.followups.list_by_incident(INCIDENT)
    assert sorted(issue["title"] for issue in issues) == sorted(one.title for one in followups)
    assert sorted(issue["number"] for issue in issues) == sorted(one.number or 0 for one in followups)


def _twice(things: list[str]) -> list[str]:
    return [thing for thing, count in Counter(things).items() if count > 1]
