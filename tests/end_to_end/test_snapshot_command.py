"""`/snapshot` as a person types it: signed HTTP in, a table and charts out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.people import BOT
from bot.services.bot import Bot
from demo.environment import demo_environment as on_one_stage
from handlers.slack.commands.snapshot import SNAPSHOT
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Message
from sandbox.world.scenario import load_scenario
from tests.harness.measured import JumpingClock


@dataclass
class Stage:
    bot: Bot
    sandbox: Sandbox

    async def until(self, true: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
        async with deadline(seconds):
            while not (found := await true()):  # noqa: ASYNC110 - two programs meet here
                await asyncio.sleep(0.02)
        return found

    async def answer(self, command: str, who: str = "ana", channel: str = "tamv-incidents", holding: str = "") -> str:
        """What the person alone is shown after typing this."""
        person = Person(self.sandbox.slack, who)
        before = {message.ts for message in await person.messages(channel)}
        await person.run(command, channel)

        async def shown() -> str | None:
            new = [one for one in await person.messages(channel) if one.ts not in before and one.ephemeral_to]
            return next((_shown(one) for one in new if holding in _shown(one)), None)

        return str(await self.until(shown))

    async def incident(self) -> str:
        """The name of the channel of a new incident, when its first snapshot is there."""
        await Person(self.sandbox.slack, "ana").run("/incident declare Render lento sev=SEV2 service=xr-engine")

        async def opened() -> str | None:
            names = (one.name for one in self.sandbox.slack.channels.values() if one.name.startswith("inc-"))
            name = next(names, None)
            return name if name and self.charts(name) else None

        return str(await self.until(opened))

    def charts(self, channel: str) -> list[list[str]]:
        messages = self.sandbox.slack.channel(channel).messages.values()
        return [[self.sandbox.slack.files[id].title for id in one.files] for one in messages if one.files]

    async def in_channel(self, name: str, words: str) -> str:
        async def shown() -> str | None:
            messages = self.sandbox.slack.channel(name).messages.values()
            return next((_shown(one) for one in messages if words in _shown(one) and not one.ephemeral_to), None)

        return str(await self.until(shown))


def _shown(message: Message) -> str:
    return message.text + "\n" + str(message.blocks)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    clock = JumpingClock()
    sandbox = Sandbox(clock=clock)
    sandbox.world.play(load_scenario("render-latency"))
    clock.jump(20 * 60)
    async with on_one_stage(sandbox, f"sqlite:///{folder}/bot.db", alertmanager_webhook_token=None) as made:
        yield Stage(made.bot, sandbox)


async def test_in_an_incident_everybody_sees_it_once(stage: Stage) -> None:
    name = await stage.incident()
    declared = stage.charts(name)
    assert [len(titles) for titles in declared] == [4]
    assert "Se publica en el canal" in await stage.answer("/snapshot error_rate window=30m", channel=name)
    assert "a petición" in await stage.in_channel(name, "a petición")

    async def drawn() -> bool:
        return [len(titles) for titles in stage.charts(name)] == [4, 1]

    await stage.until(drawn)
    assert stage.charts(name)[1][0].startswith("Tasa de errores · a petición")


async def test_in_an_incident_two_moments_are_compared(stage: Stage) -> None:
    name = await stage.incident()
    await stage.answer("/snapshot compare -40m ahora", channel=name)
    assert "→" in await stage.in_channel(name, "Empeoró")


async def test_elsewhere_only_the_person_sees_it_in_their_language(stage: Stage) -> None:
    shown = await stage.answer("/snapshot xr-engine", who="emma", holding="Latency p95")
    assert "out of bounds" in shown
    assert "direct message" in await stage.answer("/snapshot xr-engine", who="emma", holding="direct message")
    assert stage.charts("tamv-incidents") == []
    assert not [one for one in stage.sandbox.slack.channel("tamv-incidents").messages.values() if not one.ephemeral_to]


async def test_promql_keeps_its_quotes_commas_and_options(stage: Stage) -> None:
    promql = 'sum by (status) (rate(http_requests_total{service="xr-engine",  status=~"5..", pod!=""}[5m])) > 0'
    shown = await stage.answer(f"/snapshot {promql} window=15m", holding="📈")
    assert "`sum by (status)" in shown
    assert "&gt; 0`" in shown


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/snapshot lattency_p95", "latency_p95"),
        ("/snapshot render service=xr-engin", "xr-engine"),
        ("/snapshot render sevice=xr-engine", "service="),
        ("/snapshot sum(rate(x[5m])", "parse error"),
        ("/snapshot render window=eternity", "window"),
        ("/snapshot render window=1s", "60"),
        ("/snapshot compare 25:00", "25:00"),
        ("/snapshot compare", "first"),
        ("/snapshot help", "/snapshot"),
        ("/snapshot compare help", "02:10"),
    ],
)
async def test_what_cannot_be_is_answered_with_what_would_be_right(stage: Stage, command: str, said: str) -> None:
    assert said in await stage.answer(command)


@pytest.mark.parametrize(
    ("typed", "window"),
    [("render xr-engine 2h", timedelta(hours=2)), ("2h", timedelta(hours=2)), ("xr-engine 90m", timedelta(minutes=90))],
)
async def test_a_service_and_a_window_need_no_name(stage: Stage, typed: str, window: timedelta) -> None:
    asked = await stage.bot.snapshots.ask(None, by=BOT, what=typed, service=None)
    begins, ends = (datetime.fromisoformat(str(asked[name])) for name in ("start", "at"))
    assert ends - begins == window and "Latencia p95" in await stage.answer(f"/snapshot {typed}")


async def test_while_prometheus_is_down_the_person_is_told_and_the_incident_goes_on(stage: Stage) -> None:
    stage.sandbox.faults.add("prometheus", "status", status=503, times=None)
    assert "Prometheus no respondió" in await stage.answer("/snapshot xr-engine")


@pytest.mark.parametrize(
    ("text", "what", "service", "window"),
    [
        ("", None, None, None),
        ("render", "render", None, None),
        ("render service=xr-engine window=2h", "render", "xr-engine", timedelta(hours=2)),
        ("service=xr-engine", None, "xr-engine", None),
        ('up{job="a", service="b"}', 'up{job="a", service="b"}', None, None),
        ('up{ service="b" } window=5m', 'up{ service="b" }', None, timedelta(minutes=5)),
        ('window=5m service=xr-engine sum(rate(x{a="b c"}[5m])) / 2', 'sum(rate(x{a="b c"}[5m])) / 2', "xr-engine",
         timedelta(minutes=5)),
        ("rate(x[5m]) &gt; 5 and y", "rate(x[5m]) > 5 and y", None, None),
        ("a==1", "a==1", None, None),
        ("“latency_p95”", "latency_p95", None, None),
    ],
)  # fmt: skip
def test_a_line_is_read(text: str, what: str | None, service: str | None, window: timedelta | None) -> None:
    from bot.signature import tokenize

    assert SNAPSHOT.default is not None
    read = SNAPSHOT.default.read(tokenize(text), "/snapshot")
    expected = {"what": what, "service": service, "window": window}
    assert read == {name: value for name, value in expected.items() if value is not None}
