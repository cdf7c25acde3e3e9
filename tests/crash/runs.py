"""A run of a runbook with everything around it: the cluster that it changes, people who approve, and who kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.run import Run
from bot.store.database import Database
from bot.store.store import Store
from bot.store.tables import executors
from demo.bot_process import free_port
from sandbox.clock import Clock
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel
from sandbox.slack.state import Message as Said
from sandbox.world.scenario import load_scenario
from tests.architecture.tree import ROOT
from tests.crash.outside import Outside, until, until_complete
from tests.crash.processes import EVENTS, BotProcess, environment
from tests.crash.serving import Inside

SPEED = 90.0  # six minutes of watching figures are four seconds
INCIDENT = f"INC-{time.gmtime().tm_year}-0001"
# Two people agree to the first change; the restart is the one whose repetition could be seen.
TWO_HANDS = """\
name: two-hands
title: {es: A cuatro manos, en: Four hands}
steps:
  - id: scale
    title: {es: Más réplicas, en: More replicas}
    uses: kubernetes.scale
    with: {deployment: tamv-core, replicas: 6}
    approval: {count: 2, expires: 2h}
  - id: restart
    title: {es: Reinicio, en: Restart}
    uses: kubernetes.restart
    with: {deployment: tamv-core}
  - id: switch
    title: {es: Interruptor, en: Switch}
    uses: kubernetes.set_env
    with: {deployment: tamv-core, variables: {ADVANCED_RENDERING: "false"}}
    approval: {role: responder, expires: 2h}
"""
COMMANDS = {
    "render-latency": "/runbook run render-latency service=xr-engine",
    "two-hands": "/runbook run two-hands",
}


class Tap:
    """Stands before the sandbox; kills the bot at one of its requests: before it is done, or once it is done."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._left = 0
        self._changes_only = False
        self._done_first = False
        self._kill: Callable[[], None] | None = None
        self.met = asyncio.Event()

    def arm(self, number: int, kill: Callable[[], None], *, changes_only: bool, done_first: bool) -> None:
        self._left, self._kill = number, kill
        self._changes_only, self._done_first = changes_only, done_first
        self.met = asyncio.Event()

    def disarm(self) -> None:
        self._kill = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kill = self._kill
        if kill is None or scope["type"] != "http" or not self._counts(scope):
            await self._app(scope, receive, send)
            return
        self._left -= 1
        if self._left > 0:
            await self._app(scope, receive, send)
            return
        self.disarm()
        if not self._done_first:
            kill()
        else:
            await self._app(scope, receive, _unheard)
            kill()
        self.met.set()
        scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _counts(self, scope: Scope) -> bool:
        path, query = scope["path"], scope["query_string"]
        if self._changes_only:
            return bool(path.startswith("/kubernetes/") and scope["method"] != "GET" and b"dryRun" not in query)
        return bool(path.startswith(("/kubernetes/", "/prometheus/", "/slack/api/")))


async def _unheard(message: Message) -> None:
    """The answer that nobody gets."""


@dataclass
class Approvers:
    """Bruno and Carla, who press *approve* on every card until the bot has acknowledged it."""

    sandbox: Sandbox
    given: dict[str, list[str]] = field(default_factory=dict)  # what the button carries: whose press was acknowledged

    async def approve(self) -> None:
        while True:
            for card, value in self._cards():
                for handle in ("bruno", "carla"):
                    person = Person(self.sandbox.slack, handle)
                    if person.id in self.given.get(value, []) or not self._shows(card, value):
                        continue
                    with contextlib.suppress(LookupError):  # it has been drawn anew meanwhile
                        reply = await person.press(card, "approve", value)
                        if reply.error is None:
                            self.given.setdefault(value, []).append(person.id)
            await asyncio.sleep(0.1)

    def _cards(self) -> list[tuple[Said, str]]:
        shown = [message for channel in self.sandbox.slack.channels.values() for message in channel.messages.values()]
        return [
            (message, element["value"])
            for message in shown
            for _, element in message.elements()
            if element["action_id"] == "approve" and message.ephemeral_to is None
        ]

    @staticmethod
    def _shows(card: Said, value: str) -> bool:
        return any(element.get("value") == value for _, element in card.elements())


@dataclass
class Place:
    sandbox: Sandbox
    tap: Tap
    bots: list[BotProcess]
    session: aiohttp.ClientSession
    outside: Outside
    store: Store
    database: Database
    approvers: Approvers

    @property
    def bot(self) -> BotProcess:
        return self.bots[0]

    async def begin(self, book: str) -> Run:
        """Ana declares an incident and runs the runbook in its channel."""
        slack = self.sandbox.slack
        ana = Person(slack, "ana")
        await ana.run("/incident declare Render lento sev=SEV2 service=xr-engine")
        channel = await slack.wait_for(
            lambda: next((c for c in slack.channels.values() if _of_the_incident(c) and c.pins), None), 40
        )
        reply = await ana.run(COMMANDS[book], channel.name)
        assert reply.error in (None, "operation_timeout"), reply.error  # too late for Slack, and kept all the same

        async def begun() -> Run | None:
            return next(iter(await self.store.runs.list_by_incident(INCIDENT)), None)

        return await until(begun, 60, "the run")

    async def ended(self, run: Run, seconds: float) -> Run:
        async def over() -> Run | None:
            known = await self.store.runs.get(run.id)
            return known if known.state.ended else None

        try:
            return await until(over, seconds, f"{run.id} to end")
        except TimeoutError as late:
            known = await self.store.runs.get(run.id)
            steps = [(step.id, step.state.value, step.error) for step in known.steps]
            raise AssertionError(f"{late}: {steps}\n{self.bot.log[-6000:]}") from None

    async def told(self, run: Run) -> None:
        """Wait until all that the run has to say has been said."""

        async def missing() -> list[str]:
            progress = self.keys().get(f"{run.id}/progress", [])
            buttons = [element["action_id"] for one in progress for _, element in one.elements()]
            return [
                *([] if progress else ["progress"]),
                *(["the end"] if "cancel_run" in buttons else []),
                *(f"owed {work.workflow_id}" for work in await self.store.outbox.pending()),
                *(["a delivery"] if await self.store.deliveries.count_pending() else []),
            ]

        await until_complete(missing, 30, lambda: self.bot.log)

    def channel(self) -> Channel:
        return next(one for one in self.sandbox.slack.channels.values() if _of_the_incident(one))

    def keys(self) -> dict[str, list[Said]]:
        """The messages of each key, in all channels and threads."""
        found: dict[str, list[Said]] = {}
        for channel in self.sandbox.slack.channels.values():
            for message in channel.messages.values():
                if message.metadata and "key" in (payload := message.metadata["event_payload"]):
                    found.setdefault(str(payload["key"]), []).append(message)
        return found

    def files(self) -> list[str]:
        shared = [
            id for channel in self.sandbox.slack.channels.values() for m in channel.messages.values() for id in m.files
        ]
        return [self.sandbox.slack.files[id].name for id in shared]

    def changes(self) -> Counter[tuple[str, str, str]]:
        """What was really patched, and how often: the object, its subresource, the body."""
        return Counter(
            (call.target.name, call.target.subresource, json.dumps(json.loads(call.raw), sort_keys=True))
            for call in self.sandbox.kubernetes.calls
            if call.method == "PATCH" and call.target.kind.plural == "deployments" and not call.options.dry_run
        )

    async def executors(self) -> set[str]:
        """The ids of who runs workflows on PostgreSQL, as the database has them: also of one that has just died."""
        async with self.database.read() as connection:
            return set((await connection.execute(select(executors.c.id))).scalars())

    async def taken_over(self, before: set[str]) -> None:
        """Wait until other executors have taken over from these."""

        async def others() -> bool:
            now = await self.executors()
            return not before or (bool(now) and now.isdisjoint(before))

        await until(others, 30, "the takeover")

    async def inside_a_change(self, run: Run) -> set[str]:
        """The steps that have begun to change something, and have no record yet of having done it."""
        known = await self.store.runs.get(run.id)
        return {one.id for one in known.steps if one.effects and one.began_at is not None and one.result is None}


@contextlib.asynccontextmanager
async def place(database_url: str, folder: Path, *, replicas: int = 1) -> AsyncIterator[Place]:
    """A render that has been slow for twenty minutes, its cluster, and bots that are not running yet but the first."""
    clock = Clock()
    sandbox = Sandbox(clock=clock)
    sandbox.slack.subscriptions = set(EVENTS)
    sandbox.world.play(load_scenario("render-latency"))
    clock.speed = 100_000
    await clock.sleep(20 * 60)
    clock.speed = SPEED
    tap = Tap(sandbox.app)
    sandbox.app = tap
    async with sandbox.serving(free_port()) as url, aiohttp.ClientSession() as session:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        settings = environment(url, database_url, kubeconfig=str(kubeconfig), team_dir=str(folder))
        inside = Inside(clock, runbooks(folder))
        bots = [BotProcess(settings, folder, f"bot{number}", inside=inside) for number in range(replicas)]
        sandbox.slack.bot_url = bots[0].url
        database = Database(database_url)
        store = Store(database, "test")
        try:
            for bot in bots:
                await bot.started(session)
            outside = Outside(session, url, bots[0].url)
            yield Place(sandbox, tap, bots, session, outside, store, database, Approvers(sandbox))
        finally:
            tap.disarm()
            for bot in bots:
                bot.kill()
            await database.close()


def _of_the_incident(channel: Channel) -> bool:
    """The alerts of the slow render make an incident of their own."""
    return channel.name.startswith(f"{INCIDENT.lower()}-")


def runbooks(folder: Path) -> Path:
    """A team's folder. Its runbooks: the shipped one of the slow render, whose approvals wait long enough for the
    faster clock, and one of two approvals."""
    shutil.copy(ROOT / "teams" / "tamv" / "team.yaml", folder)
    (folder / "runbooks").mkdir()
    shipped = (ROOT / "teams/tamv/runbooks" / "render-latency.yaml").read_text("utf-8")
    (folder / "runbooks" / "render-latency.yaml").write_text(shipped.replace("expires: 15m", "expires: 2h"), "utf-8")
    (folder / "runbooks" / "two-hands.yaml").write_text(TWO_HANDS, "utf-8")
    return folder


@dataclass
class Killer:
    """Kills the bot at points that a seed chooses, and starts it again each time."""

    place: Place
    chance: random.Random
    say: Callable[[str], None]
    inside: Counter[str] = field(default_factory=Counter)  # kills within the window in which a step may be done again

    async def kill_during(self, run: Run, most: int) -> int:
        """Kill until the run has ended or `most` times; gives how often."""
        killed = 0
        while killed < most and not (await self.place.store.runs.get(run.id)).state.ended:
            bot = self.place.bot
            where = await self._point(bot)
            before = await self.place.executors()
            bot.kill()
            killed += 1
            inside = await self.place.inside_a_change(run)
            self.inside.update(inside)
            self.say(f"  {run.id}: killed {where}{', inside ' + ', '.join(sorted(inside)) if inside else ''}")
            await bot.started(self.place.session)
            await self.place.taken_over(before)
        return killed

    async def _point(self, bot: BotProcess) -> str:
        """Let the bot live until the point has come; says which."""
        what = self.chance.choice(("time", "call", "call", "change", "change"))
        seconds, number, done = self.chance.uniform(0, 2.0), self.chance.randint(1, 20), self.chance.random() < 0.6
        if what == "time":
            await asyncio.sleep(seconds)
            return f"after {seconds:.2f} s"
        self.place.tap.arm(1 if what == "change" else number, bot.kill, changes_only=what == "change", done_first=done)
        patience = 1.5 + seconds
        try:
            await asyncio.wait_for(self.place.tap.met.wait(), patience)
        except TimeoutError:
            return f"after {patience:.2f} s"
        finally:
            self.place.tap.disarm()
        return f"at {'a change' if what == 'change' else f'call {number}'}, {'done' if done else 'not done'}"
