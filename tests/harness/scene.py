"""A bot in a sandbox, and what people there do and see: signed HTTP in, Slack, PagerDuty and GitHub out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from dbos import DBOS

from bot.domain.incident import Incident
from bot.services.bot import Bot
from demo.environment import demo_environment
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.backend import Slack
from sandbox.slack.person import Person
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import load_scenario
from tests.contract import github_contract, webapi

T = TypeVar("T")

TEAM = "tamv-incidents"
WAITING = {
    "remind",
    "page_later",
    "watch_heartbeat",
    "diagnose",
    "check_causes",
    "watch_change",
    "tell_stakeholders",
}  # workflows that wait for a moment to come
SOON = 15.0  # seconds


@dataclass
class Scene:
    """What a test needs; `url` is where the bot listens, `database` its SQLite file."""

    url: str
    bot: Bot
    sandbox: Sandbox
    database: Path

    @property
    def slack(self) -> Slack:
        return self.sandbox.slack

    def person(self, handle: str) -> Person:
        return Person(self.slack, handle)

    # waiting

    async def see(self, found: Callable[[], T | None], seconds: float = SOON) -> T:
        """The first truthy value of `found`, looked at after each change in Slack."""
        return await self.slack.wait_for(found, seconds)

    async def until(self, true: Callable[[], Awaitable[Any]], seconds: float = SOON) -> Any:
        """The same where it must be asked for: in the bot's database, or at PagerDuty's and GitHub's."""
        async with deadline(seconds):
            while not (found := await true()):  # noqa: ASYNC110 - two programs meet here
                await asyncio.sleep(0.02)
        return found

    async def quiet(self, seconds: float = SOON) -> None:
        """Wait until the bot has nothing left to do but to wait for a moment to come."""

        async def done() -> bool:
            store = self.bot.deps.store
            if not self.bot.engine.runs_workflows:
                return False
            if await store.deliveries.count_pending() or await store.outbox.pending():
                return False
            running = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
            return all(one.name in WAITING for one in running)

        await self.until(done, seconds)

    # doing and seeing

    async def answer(self, command: str, who: str = "ana", channel: str = TEAM, holding: str = "") -> str:
        """What the person alone is shown after typing this."""
        reply = await self.person(who).run(command, channel)

        def shown() -> str | None:
            return next((text for one in reply.messages if holding in (text := words(one))), None)

        return await self.see(shown)

    async def incident(
        self, title: str = "Render lento", sev: str = "SEV3", who: str = "ana", service: str = "xr-engine"
    ) -> Channel:
        """The channel of a new incident, furnished."""
        before = set(self.slack.channels)
        await self.person(who).run(f"/incident declare {title} sev={sev} service={service}")
        return await self.opened(before)

    async def opened(self, before: set[str] | None = None) -> Channel:
        """The newest incident's channel that is not one of `before`, once it has its card pinned."""

        def furnished() -> Channel | None:
            known = before or set()
            new = [c for c in self.slack.channels.values() if c.name.startswith("inc-") and c.id not in known]
            return new[-1] if new and new[-1].pins else None

        return await self.see(furnished, 4 * SOON)

    async def told(self, channel: Channel | str, *signs: str, seconds: float = SOON) -> Message:
        """The message for everybody that holds all of these words."""
        where = channel if isinstance(channel, Channel) else self.slack.channel(channel)

        def shown() -> Message | None:
            for one in where.messages.values():
                if one.ephemeral_to is None and all(sign in words(one) for sign in signs):
                    return one
            return None

        return await self.see(shown, seconds)

    async def record(self, channel: Channel) -> Incident:
        """The incident of a channel as the bot has it."""
        incident = await self.bot.deps.store.incidents.in_channel(channel.id)
        assert incident
        return incident

    def card(self, channel: Channel) -> Message:
        """The pinned card."""
        return channel.messages[channel.pins[0]]

    def own(self, channel: Channel | str) -> list[str]:
        """What the bot has said for everybody in a channel, oldest first."""
        where = channel if isinstance(channel, Channel) else self.slack.channel(channel)
        return [words(one) for one in where.messages.values() if one.bot_id and one.ephemeral_to is None]

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the body of the bot's answer to a raw request."""
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}{path}", data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text(errors="replace")

    def charts(self, channel: str) -> list[list[str]]:
        """The titles of the files of each message that has files."""
        messages = self.slack.channel(channel).messages.values()
        return [[self.slack.files[id].title for id in one.files] for one in messages if one.files]


@contextlib.asynccontextmanager
async def scene(folder: Path, *, world: str | None = None, **settings: object) -> AsyncIterator[Scene]:
    """A bot of its own in a sandbox of its own.

    `world` is the scenario that has been going on for twenty minutes; without one there is no Prometheus. At the end
    all that the bot has sent to Slack and to GitHub is held against their published contracts.
    """
    clock = Clock()
    sandbox = Sandbox(clock=clock)
    if world:
        sandbox.world.play(load_scenario(world))
        clock.speed = 100_000
        await clock.sleep(20 * 60)
        clock.speed = 1
        settings = {"alertmanager_webhook_token": None, **settings}  # its alerts would come in between
    else:
        settings = {"prometheus_url": None, **settings}
    database = folder / "bot.db"
    async with demo_environment(sandbox, f"sqlite:///{database}", **settings) as made:  # type: ignore[arg-type]
        yield Scene(made.url, made.bot, sandbox, database)
    problems = outgoing_problems(sandbox)
    assert not problems, problems


def outgoing_problems(sandbox: Sandbox) -> list[str]:
    """What the published contracts say against the requests that the bot sent; nothing while they are missing."""
    found: list[str] = []
    if webapi.CONTRACTS.is_dir():
        for call in sandbox.slack.calls:
            found += webapi.problems(call.method, call.arguments)
    if github_contract.OPENAPI.exists():
        for request in sandbox.github.requests:
            try:
                path = request.path.removeprefix("/api")
                known = github_contract.check_request(request.method, path, dict(request.query), request.body)
            except Exception as problem:
                found.append(f"{request.method} {request.path}: {problem} {problem.__cause__}")
            else:
                if not known:
                    found.append(f"{request.method} {request.path} is not in GitHub's description")
    return found


def words(message: Message) -> str:
    """All that a person can read of a message."""
    return f"{message.text}\n{message.all_text()}"
