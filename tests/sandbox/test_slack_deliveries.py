"""What the sandbox sends to a bot: signed commands and events to a small Bolt app, retries, forgeries."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncRespond
from slack_bolt.response import BoltResponse

from sandbox.slack import deliveries
from sandbox.slack.backend import URL_SECONDS, URL_USES
from sandbox.slack.deliveries import sign
from tests.contract.webapi import load, needs_contracts
from tests.harness.slack_workspace import Workspace, bot, workspace


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


def listening(to: list[dict[str, Any]]) -> Any:
    """Registers a bot that writes down every command and event that it gets."""

    def register(app: AsyncApp) -> None:
        @app.command("/incident")
        async def incident(ack: AsyncAck, body: dict[str, Any]) -> None:
            to.append(body)
            await ack("noted")

        async def event(body: dict[str, Any]) -> None:
            to.append(body["event"])

        for name in ("message", "reaction_added", "member_joined_channel", "app_mention", "app_home_opened"):
            app.event(name)(event)

    return register


@needs_contracts
def test_the_signature_is_slacks() -> None:
    vector = load("signature_vector.json")
    assert sign(vector["signing_secret"], vector["timestamp"], vector["body"].encode()) == vector["signature"]


async def test_a_command_arrives_signed_and_its_answer_is_seen_by_one_person(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)) as came:
        reply = await place.ana.run("/incident declare XR is slow sev=SEV1")
        assert (reply.status, reply.error, reply.body) == (200, None, "noted")
        assert 0 < reply.milliseconds < 3000
        answer = await reply.message()
        assert (answer.text, answer.ephemeral_to) == ("noted", place.ana.id)
        assert await place.bruno.messages() == []
    [command] = got
    assert command["text"] == "declare XR is slow sev=SEV1"
    assert (command["user_name"], command["channel_name"]) == ("ana", "tamv-incidents")
    assert parse_qs(came.bodies[0].decode())["command"] == ["/incident"]


async def test_names_in_a_command_become_references(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)):
        await place.ana.run(
            '/incident role ops @bruno #general @sre-team @nobody "a < b & c" <!channel> https://x.test/?a=1'
        )
    assert got[0]["text"] == (
        "role ops <@U0BRUNO002|bruno> <#C0GENERAL1|general> <!subteam^S0SRETEAM1|@sre-team> @nobody "
        '"a &lt; b &amp; c" &lt;!channel&gt; <https://x.test/?a=1>'
    )


async def test_a_bot_that_is_slow_or_gone_is_told_in_slacks_words(place: Workspace) -> None:
    async def too_late(ack: AsyncAck) -> None:
        await asyncio.sleep(deliveries.ACK_SECONDS + 0.3)
        await ack()

    async with bot(place, lambda app: app.command("/incident")(too_late)):
        reply = await place.ana.run("/incident list")
        assert (reply.status, reply.error) == (None, "operation_timeout")
        [seen] = await place.ana.messages()
        assert seen.text == '/incident failed with the error "operation_timeout"'
        unknown = await place.ana.run("/nothing")
        assert (unknown.status, unknown.error) == (404, "dispatch_failed")
    place.slack.bot_url = "http://127.0.0.1:9"
    assert (await place.ana.run("/incident list")).error == "dispatch_failed"


async def test_a_response_url_works_five_times_within_half_an_hour(place: Workspace) -> None:
    async def respond(ack: AsyncAck, respond: AsyncRespond) -> None:
        await ack()
        await respond(text="for you")
        await respond(text="for all", response_type="in_channel")
        await respond(text="for you, better", replace_original=True)
        await respond(delete_original=True)

    async with bot(place, lambda app: app.command("/incident")(respond)):
        reply = await place.ana.run("/incident list")
        await place.slack.wait_for(lambda: reply.response_url and reply.response_url.uses == 4)
    assert [message.text for message in await place.ana.messages()] == ["for all"]
    assert [message.text for message in await place.bruno.messages()] == ["for all"]
    assert reply.response_url is not None
    async with aiohttp.ClientSession() as http:
        for status in (200, 404):
            async with http.post(reply.response_url.url, json={"text": "again"}) as response:
                assert response.status == status
        reply.response_url.uses -= 1
        async with http.post(reply.response_url.url, json={"blocks": [{"type": "header"}]}) as response:
            assert (response.status, (await response.json())["error"]) == (400, "invalid_blocks")
        reply.response_url.issued -= URL_SECONDS
        async with http.post(reply.response_url.url, json={"text": "late"}) as response:
            assert response.status == 404
    assert reply.response_url.uses == URL_USES - 1


async def test_events_reach_the_bot(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)):
        said = await place.ana.say("tamv-incidents", "<3 @tamv-bot look")
        await place.bruno.react(said, "pushpin")
        channel = await place.channel()
        await place.client.conversations_invite(channel=channel, users=place.ana.id)
        await place.ana.say("general", "the bot is not here")
        await place.slack.deliveries.settled()
    kinds = [event["type"] for event in got]
    assert sorted(set(kinds)) == ["app_mention", "member_joined_channel", "message", "reaction_added"]
    message = next(event for event in got if event["type"] == "message" and "subtype" not in event)
    assert message["text"] == "&lt;3 <@U0TAMVBOT1|tamv-bot> look"
    assert (message["channel"], message["channel_type"], message["user"]) == ("C0INCIDENT", "channel", place.ana.id)
    assert message["blocks"][0]["elements"][0]["elements"][1] == {"type": "user", "user_id": "U0TAMVBOT1"}
    reaction = next(event for event in got if event["type"] == "reaction_added")
    assert reaction["item"] == {"type": "message", "channel": "C0INCIDENT", "ts": said.ts}
    assert all(event.get("channel") != "C0GENERAL1" for event in got)


async def test_the_bots_own_messages_come_back_as_events(place: Workspace) -> None:
    async with bot(place, lambda app: None) as came:
        posted = await place.client.chat_postMessage(channel="C0INCIDENT", text="hello")
        await place.client.chat_update(channel="C0INCIDENT", ts=posted["ts"], text="hello all")
        await place.slack.wait_for(lambda: len(came.bodies) >= 2 or None)
    events = [json.loads(body)["event"] for body in came.bodies[:2]]
    assert [event.get("subtype") for event in events] == [None, "message_changed"]
    assert events[0]["bot_id"] == "B0TAMVBOT1"
    assert events[1]["message"]["text"] == "hello all"


async def test_an_event_is_sent_four_times_in_all_when_nobody_takes_it(place: Workspace) -> None:
    place.slack.deliveries.retry_delays = (0.01, 0.01, 0.01)
    place.slack.bot_url = "http://127.0.0.1:9"
    await place.ana.say("tamv-incidents", "hello?")
    await place.slack.deliveries.settled()
    [delivery] = place.slack.deliveries.log
    assert [answer.error for answer in delivery.answers] == ["dispatch_failed"] * 4


async def test_a_retried_event_says_so(place: Workspace) -> None:
    place.slack.deliveries.retry_delays = (0.01, 0.01, 0.01)
    refusals = iter([500, 500])

    def flaky(app: AsyncApp) -> None:
        @app.middleware
        async def refuse(next_: Any) -> Any:
            status = next(refusals, None)
            return BoltResponse(status=status) if status else await next_()

        app.event("message")(_nothing)

    async with bot(place, flaky) as came:
        await place.ana.say("tamv-incidents", "hello?")
        await place.slack.deliveries.settled()
    assert len(set(came.bodies)) == 1
    retries = [(h.get("x-slack-retry-num"), h.get("x-slack-retry-reason")) for h in came.headers]
    assert retries == [(None, None), ("1", "http_error"), ("2", "http_error")]


async def _nothing() -> None:
    """A listener that only acknowledges."""


async def test_the_same_bytes_can_be_delivered_again(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)) as came:
        reply = await place.ana.run("/incident declare twice")
        await place.slack.deliveries.redeliver(reply.delivery)
        await place.slack.deliveries.redeliver(reply.delivery, retry=1)
    assert len(got) == 3
    assert len(set(came.bodies)) == 1
    assert came.headers[2]["x-slack-retry-num"] == "1"
    assert came.headers[0]["x-slack-signature"] == came.headers[2]["x-slack-signature"]


async def test_the_same_bytes_can_go_to_two_replicas_at_once(place: Workspace) -> None:
    one: list[dict[str, Any]] = []
    two: list[dict[str, Any]] = []
    async with bot(place, listening(one)):
        reply = await place.ana.run("/incident declare once")
        first = place.slack.bot_url
        async with bot(place, listening(two)):
            second = place.slack.bot_url
            replicas = [place.slack.deliveries.redeliver(reply.delivery, to=url) for url in (first, second)]
            assert [answer.status for answer in await asyncio.gather(*replicas)] == [200, 200]
    assert [len(one), len(two)] == [2, 1]


@pytest.mark.parametrize("how", [{"unsigned": True}, {"signing_secret": "wrong"}, {"age": 301.0}])
async def test_forged_requests_are_refused_by_bolt(place: Workspace, how: dict[str, Any]) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)):
        reply = await place.ana.forging(**how).run("/incident declare x")
    assert (reply.status, reply.error, got) == (401, "dispatch_failed", [])


async def test_a_foreign_workspace_is_signed_but_shows_itself(place: Workspace) -> None:
    got: list[dict[str, Any]] = []
    async with bot(place, listening(got)):
        await place.ana.forging(team_id="T0OTHER", app_id="A0OTHER").run("/incident declare x")
    assert (got[0]["team_id"], got[0]["api_app_id"]) == ("T0OTHER", "A0OTHER")


async def test_the_request_url_is_verified(place: Workspace) -> None:
    async with bot(place, lambda app: None):
        answer = await place.slack.deliveries.verify_url("abc")
    assert (answer.status, answer.json()) == (200, {"challenge": "abc"})
