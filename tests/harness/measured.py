"""An incident whose service is being measured: the real engine between the sandbox's world and its Slack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.deps import Deps
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import BOT, Person
from bot.domain.timeline import Kind, TimelineEvent
from bot.integrations.pagerduty import OnCallCache
from bot.integrations.prometheus import Prometheus
from bot.integrations.slack import Slack
from bot.messages.translations import load_translations
from bot.services.snapshots import Snapshots
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from bot.team import TeamFile, load_team
from bot.workflows.engine.durable import Workflow
from bot.workflows.engine.engine import Engine
from bot.workflows.incidents.messages import update_card
from bot.workflows.incidents.snapshot import complete_snapshot, snapshot
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.state import Message
from sandbox.world.scenario import load_scenario

TEAM = load_team(Path(__file__).parents[2] / "teams" / "tamv" / "team.yaml")
ANA = Person("U0ANA00001", "Ana Torres", "es")
START = datetime(2026, 1, 7, 2, 0, tzinfo=UTC)


class JumpingClock(Clock):
    """The world's clock, put forward at once."""

    def jump(self, seconds: float) -> None:
        self._world += timedelta(seconds=seconds)


async def follow(deps: Deps, incident_id: str, seq: int) -> None:
    """Nothing follows here from the events of the timeline."""


WORKFLOWS: dict[str, Workflow] = {"event": follow, "snapshot": snapshot, "complete_snapshot": complete_snapshot}


@dataclass
class Here:
    deps: Deps
    engine: Engine
    sandbox: Sandbox
    incident: Incident
    snapshots: Snapshots

    async def until(self, true: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
        async with deadline(seconds):
            while not (found := await true()):  # noqa: ASYNC110 - two programs meet here
                await asyncio.sleep(0.02)
        return found

    async def owe(self, moment: str) -> None:
        id = f"{self.incident.id}/snapshot/{moment}"
        await self.deps.store.outbox.enqueue_once(id, "snapshot", [self.incident.id, moment])
        self.engine.notify()

    async def events(self) -> list[TimelineEvent]:
        timeline = await self.deps.store.incidents.timeline(self.incident.id)
        return [one for one in timeline if one.kind is Kind.SNAPSHOT_TAKEN]

    async def taken(self, count: int = 1) -> list[TimelineEvent]:
        async def enough() -> list[TimelineEvent] | None:
            found = await self.events()
            return found if len(found) >= count else None

        return list(await self.until(enough))

    async def said(self, words: str) -> Message:
        """The message of the incident's channel that holds these words."""

        async def found() -> Message | None:
            return next((one for one in self.tables() if words in str(one.blocks)), None)

        message = await self.until(found)
        assert isinstance(message, Message)
        return message

    def tables(self) -> list[Message]:
        """Messages without files, and without the card."""
        return [one for one in self._messages() if not one.files and self.incident.id not in one.text]

    def shared(self, channel: str | None = None) -> list[list[str]]:
        """The names of the files of each message that has any."""
        files = self.sandbox.slack.files
        return [[files[id].name for id in one.files] for one in self._messages(channel) if one.files]

    def _messages(self, channel: str | None = None) -> list[Message]:
        return list(self.sandbox.slack.channels[channel or str(self.incident.channel)].messages.values())


@contextlib.asynccontextmanager
async def place(
    folder: Path, *, speed: float = 1, team: TeamFile = TEAM, prometheus: bool = True, channel: bool = True
) -> AsyncIterator[Here]:
    """An incident of xr-engine whose figures went bad ten minutes before it was declared."""
    url = f"sqlite:///{folder / 'bot.db'}"
    upgrade(url)
    store = Store(Database(url), "test")
    clock = JumpingClock(START)
    sandbox = Sandbox(clock=clock)
    sandbox.world.play(load_scenario("render-latency"))
    clock.jump(20 * 60)
    clock.speed = speed
    async with sandbox.serving() as address:
        token = sandbox.slack.credentials.bot_token
        async with Slack(token, f"{address}/slack/api/", timeout=3) as slack:
            opened = (await slack.call("conversations.create", name="inc-2026-0001"))["channel"]["id"]
            deps = Deps(
                clock=clock,
                team=team,
                store=store,
                words_by_locale=load_translations(),
                locale="es",
                incident_channel="#tamv-incidents",
                slack=slack,
                on_call=OnCallCache(None, clock),
                prometheus=Prometheus(f"{address}/prometheus", timeout=1) if prometheus else None,
            )
            now = clock.now()
            began = now - timedelta(minutes=15)
            slow = Declaration("Render lento", Severity.SEV2, by=ANA, at=now, service="xr-engine", detected=began)
            incident, _ = await store.incidents.declare(
                lambda id: Incident.declare(id, slow), now, idempotency_key="test"
            )
            if channel:
                incident, _ = await store.incidents.change(
                    incident.id, lambda known: known.opened_in(opened, "inc-2026-0001", by=BOT, at=now)
                )
                await update_card(deps, incident.id)
            engine = Engine(deps, WORKFLOWS, url)
            await engine.start()
            try:
                yield Here(deps, engine, sandbox, incident, Snapshots(deps))
            finally:
                await engine.stop()
                await store.database.close()
