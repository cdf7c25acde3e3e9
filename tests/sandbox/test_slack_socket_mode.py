"""Socket Mode: Slack's own client connects, gets envelopes, acknowledges, and comes back after a disconnect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncAck, AsyncApp

from tests.contract.webapi import load, needs_contracts
from tests.harness.slack_workspace import Workspace, bolt_app, workspace


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


@contextlib.asynccontextmanager
async def connected(place: Workspace, app: AsyncApp) -> AsyncIterator[None]:
    handler = AsyncSocketModeHandler(app, place.slack.credentials.app_token, web_client=place.client)
    await handler.connect_async()  # type: ignore[no-untyped-call]
    try:
        await place.slack.wait_for(lambda: place.slack.sockets.open)
        yield
    finally:
        await handler.close_async()  # type: ignore[no-untyped-call]


def listening(place: Workspace, to: list[dict[str, Any]]) -> AsyncApp:
    app = bolt_app(place)

    async def incident(ack: AsyncAck, body: dict[str, Any]) -> None:
        to.append(body)
        await ack("noted")

    async def message(body: dict[str, Any]) -> None:
        to.append(body)

    async def view(ack: AsyncAck) -> None:
        await ack(response_action="errors", errors={"title": "no"})

    app.command("/incident")(incident)
    app.event("message")(message)
    app.view("declare")(view)
    return app


async def test_commands_and_events_come_through_the_socket(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with connected(place, listening(place, got)):
        reply = await place.ana.run("/incident list")
        assert (reply.error, (await reply.message()).text) == (None, "noted")
        await place.ana.say("tamv-incidents", "hello")
        await place.slack.deliveries.settled()
    assert [body.get("command") or body["event"]["text"] for body in got] == ["/incident", "hello"]


async def test_the_bot_comes_back_after_a_disconnect(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with connected(place, listening(place, got)):
        await place.slack.sockets.disconnect()
        assert place.slack.sockets.open == []
        await place.slack.wait_for(lambda: place.slack.sockets.open, timeout=10)
        assert (await place.ana.run("/incident list")).error is None
    assert len(place.slack.calls_of("apps.connections.open")) == 2


async def test_the_bot_comes_back_after_the_connection_was_lost(place: Workspace) -> None:
    async with connected(place, listening(place, [])):
        await place.slack.sockets.cut()
        await place.slack.wait_for(lambda: place.slack.sockets.open, timeout=10)
        assert (await place.ana.run("/incident list")).error is None


async def test_a_socket_that_does_not_acknowledge_or_dies(place: Workspace) -> None:
    place.slack.deliveries.retry_delays = (0.01,)
    url = (await place.client.apps_connections_open(app_token=place.slack.credentials.app_token))["url"]
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(url) as socket:
            assert (await socket.receive_json())["type"] == "hello"
            running = asyncio.create_task(place.ana.run("/incident list"))
            envelope = await socket.receive_json()
            assert (envelope["type"], envelope["accepts_response_payload"]) == ("slash_commands", True)
        assert (await running).error == "dispatch_failed"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(url)  # a ticket is for one connection


async def test_an_event_is_sent_again_until_it_is_acknowledged(place: Workspace) -> None:
    place.slack.deliveries.retry_delays = (0.01,)
    url = (await place.client.apps_connections_open(app_token=place.slack.credentials.app_token))["url"]
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        await socket.receive_json()
        await place.ana.say("tamv-incidents", "hello")
        first = await socket.receive_json()
        again = await socket.receive_json(timeout=10)  # three seconds without an ack
        await socket.send_json({"envelope_id": again["envelope_id"]})
        await place.slack.deliveries.settled()
    assert (first["retry_attempt"], again["retry_attempt"], again["retry_reason"]) == (0, 1, "timeout")
    assert first["envelope_id"] != again["envelope_id"]
    assert first["payload"]["event_id"] == again["payload"]["event_id"]


@needs_contracts
async def test_envelopes_have_the_keys_of_slacks_own(place: Workspace) -> None:
    recorded = {each["type"]: each for each in load("bolt/bolt-socket-mode-envelopes.json")}
    url = (await place.client.apps_connections_open(app_token=place.slack.credentials.app_token))["url"]
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        await socket.receive_json()
        acts = (
            place.ana.run("/incident list"),
            place.ana.global_shortcut("declare"),
            place.ana.say("tamv-incidents", "hi"),
        )
        for act in acts:
            running = asyncio.create_task(act)
            envelope = await socket.receive_json()
            await socket.send_json({"envelope_id": envelope["envelope_id"]})
            await running
            assert recorded.pop(envelope["type"]).keys() == envelope.keys()
    assert recorded == {}
