"""Slack over a websocket that the bot opens: the same listeners, the same answers, through every disconnect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.app import running_bot
from demo.environment import sandbox_settings
from handlers.app import Server
from sandbox.server import Sandbox
from tests.harness.scene import Scene, outgoing_problems, words


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Scene]:
    """A bot that no HTTP request of Slack's can reach."""
    sandbox = Sandbox()
    database = folder / "bot.db"
    token = sandbox.slack.credentials.app_token
    async with sandbox.serving() as url:
        sandbox.slack.subscriptions = {"app_home_opened", "reaction_added"}
        settings = sandbox_settings(
            url, sandbox, f"sqlite:///{database}", slack_app_token=token, prometheus_url=None, pagerduty_api_token=None,
            pagerduty_routing_key=None,
        )  # fmt: skip
        async with running_bot(settings, sandbox.clock) as bot:
            server = Server(bot, settings)
            async with server.recovering_deliveries(), server.socket_mode(settings):
                stage = Scene(url, bot, sandbox, database)
                await stage.see(lambda: sandbox.slack.sockets.open)
                yield stage
    assert outgoing_problems(sandbox) == []


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    async with connected(tmp_path) as made:
        yield made


async def test_commands_buttons_forms_and_events_come_by_the_socket(stage: Scene) -> None:
    assert stage.slack.bot_url is None
    channel = await stage.incident()
    ana = stage.person("ana")
    assert (await ana.press(stage.card(channel), "acknowledge")).error is None
    await stage.told(channel, "👀")
    await (await ana.press(stage.card(channel), "post_update")).view()
    assert set((await ana.submit({"text": " "})).errors) == {"text"}  # an answer within the envelope
    assert (await ana.submit({"text": "Por el cable"})).closed
    await stage.told(channel, "📣", "Por el cable")
    said = await ana.say(channel.name, "visto")
    await ana.react(said, "pushpin")
    await stage.told(channel, "📌", "visto")
    assert "Render lento" in (await ana.open_home()).all_text()


async def test_after_a_disconnect_and_a_cut_it_is_not_silent(stage: Scene) -> None:
    await stage.slack.sockets.disconnect("warning")
    await stage.slack.sockets.disconnect("refresh_requested")
    await stage.see(lambda: stage.slack.sockets.open)
    assert "incidentes abiertos" in await stage.answer("/incident list")
    await stage.slack.sockets.cut()
    await stage.see(lambda: stage.slack.sockets.open, 40)
    assert "incidentes abiertos" in await stage.answer("/incident list")


async def test_an_envelope_that_comes_twice_has_one_effect(stage: Scene) -> None:
    reply = await stage.person("ana").run("/incident declare Render lento sev=SEV4")
    for number in (1, 2):
        await stage.slack.deliveries.redeliver(reply.delivery, retry=number)
    await stage.opened()
    await stage.quiet()
    assert await stage.bot.deps.store.incidents.count() == 1


async def test_another_workspaces_envelope_does_nothing(stage: Scene) -> None:
    await stage.answer("/incident list")
    reply = await stage.person("ana").forging(team_id="T0OTHER").run("/incident declare De otros")
    assert reply.error is not None and not [one for one in reply.messages if "INC-" in words(one)]
    assert await stage.bot.deps.store.incidents.count() == 0


MALFORMED: list[dict[str, Any]] = [
    {"type": "block_actions"},
    {"type": "block_actions", "user": 7, "actions": [{"action_id": "acknowledge", "value": {}}]},
    {"type": "view_submission", "user": {"id": "U0ANA00001"}, "view": {"id": "V1", "callback_id": "declare"}},
    {"command": "/incident", "user_id": "U0ANA00001", "channel_id": "C0INCIDENT", "text": "note \x00"},
    {"type": "event_callback", "event_id": "E1", "event": {"type": "reaction_added", "item": 7}},
]


async def test_envelopes_that_make_no_sense_are_one_line_each_and_the_socket_goes_on(
    stage: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for payload in MALFORMED:
        caplog.clear()
        async with asyncio.timeout(5):
            await stage.slack.sockets.deliver("interactive", payload, 0)
        told = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
        assert len(told) <= 1 and not [record for record in told if record.exc_info], payload
    assert "incidentes abiertos" in await stage.answer("/incident list")
