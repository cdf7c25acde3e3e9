"""The Web API of the sandbox's Slack: tokens, arguments, messages, reactions, pins, bookmarks, and refusals."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox.company import load_company
from sandbox.faults import Faults
from sandbox.slack.api import APP_LEVEL, METHODS, WebAPI
from sandbox.slack.backend import Slack
from sandbox.slack.endpoint import Arguments
from sandbox.slack.state import SlackError
from tests.harness.slack_workspace import Workspace, workspace

HOME = "C0INCIDENT"


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


def section(text: str = "*hi*") -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


async def test_the_bot_knows_itself(place: Workspace) -> None:
    answer = await place.client.auth_test()
    assert (answer["user_id"], answer["bot_id"], answer["team_id"]) == ("U0TAMVBOT1", "B0TAMVBOT1", "T0TAMV0001")
    assert (await place.client.bots_info(bot=answer["bot_id"]))["bot"]["name"] == "tamv-bot"


async def test_tokens_are_checked(place: Workspace) -> None:
    place.client.token = "xoxb-somebody-else"
    assert await place.refused("auth.test") == "invalid_auth"
    place.client.token = ""
    assert await place.refused("auth.test") == "not_authed"
    place.client.token = place.slack.credentials.app_token
    assert await place.refused("auth.test") == "not_allowed_token_type"
    assert (await place.client.apps_connections_open(app_token=place.client.token))["url"].startswith("ws://")
    assert (await place.client.api_test())["ok"]


async def test_unknown_methods_and_broken_bodies_are_refused(place: Workspace) -> None:
    assert await place.refused("chat.shout") == "unknown_method"
    headers = {"Authorization": f"Bearer {place.client.token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for body, word in ((b"{", "invalid_json"), (b"[]", "json_not_object"), (b"\xff\xfe", "invalid_json")):
            async with http.post(f"{place.url}/slack/api/chat.postMessage", data=body) as response:
                assert (response.status, (await response.json())["error"]) == (200, word)


async def test_forms_and_json_are_understood_alike(place: Workspace) -> None:
    form = {"channel": HOME, "text": "a", "blocks": json.dumps([section("from a form")]), "token": place.client.token}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{place.url}/slack/api/chat.postMessage", data=form) as response:
            assert (await response.json())["ok"]
        async with http.post(f"{place.url}/slack/api/chat.postMessage", data=form | {"blocks": "{"}) as response:
            assert (await response.json())["error"] == "invalid_blocks_format"
    await place.client.chat_postMessage(channel=HOME, text="a", blocks=[section("from JSON")])
    seen = await place.ana.messages()
    assert [message.all_text() for message in seen] == ["from a form", "from JSON"]
    posted = place.slack.calls_of("chat.postMessage")
    assert posted[0].arguments == {"channel": HOME, "text": "a", "blocks": [section("from a form")]}


async def test_people_and_groups(place: Workspace) -> None:
    user = (await place.client.users_info(user="U0ANA00001", include_locale=True))["user"]
    assert (user["real_name"], user["locale"]) == ("Ana Torres", "es-MX")
    assert "locale" not in (await place.client.users_info(user="U0ANA00001"))["user"]
    assert (await place.client.users_lookupByEmail(email="emma@tamv.world"))["user"]["id"] == "U0EMMA0005"
    assert await place.refused("users.lookupByEmail", email="nobody@tamv.world") == "users_not_found"
    assert await place.refused("users.info", user="U0NOBODY") == "user_not_found"
    assert {member["name"] for member in (await place.client.users_list())["members"]} >= {"ana", "tamv-bot"}
    groups = (await place.client.usergroups_list(include_users=True))["usergroups"]
    assert next(group for group in groups if group["handle"] == "sre-team")["users"] == ["U0ANA00001", "U0BRUNO002"]
    assert (await place.client.usergroups_users_list(usergroup="S0AITEAM03"))["users"] == ["U0CARLA003"]


async def test_a_message_is_posted_edited_and_deleted(place: Workspace) -> None:
    posted = await place.client.chat_postMessage(channel="#tamv-incidents", text="hi", blocks=[section()])
    ts = posted["ts"]
    assert posted["message"]["blocks"][0]["block_id"]
    await place.client.chat_update(channel=HOME, ts=ts, text="new", blocks=[section("new")])
    [message] = await place.ana.messages()
    assert (message.text, message.all_text(), message.edited is not None) == ("new", "new", True)
    await place.client.chat_update(channel=HOME, ts=ts, text="only text")
    assert (message.text, message.blocks) == ("only text", [])
    await place.client.chat_delete(channel=HOME, ts=ts)
    assert await place.ana.messages() == []
    assert await place.refused("chat.update", channel=HOME, ts=ts, text="x") == "message_not_found"


async def test_message_times_are_unique_and_ordered(place: Workspace) -> None:
    times = [(await place.client.chat_postMessage(channel=HOME, text="x"))["ts"] for _ in range(20)]
    assert times == sorted(set(times))


async def test_what_cannot_be_posted(place: Workspace) -> None:
    bad = {"type": "header", "text": {"type": "plain_text", "text": ""}}
    for arguments, word in (
        ({"text": "x"}, "channel_not_found"),
        ({"channel": "C0NOWHERE", "text": "x"}, "channel_not_found"),
        ({"channel": "C0GENERAL1", "text": "x"}, "not_in_channel"),
        ({"channel": HOME}, "no_text"),
        ({"channel": HOME, "text": "  "}, "no_text"),
        ({"channel": HOME, "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": HOME, "text": "x", "blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"channel": HOME, "text": "x", "blocks": [bad]}, "invalid_blocks"),
        ({"channel": HOME, "text": "x", "blocks": [section("x" * 2500)] * 5}, "msg_blocks_too_long"),
        ({"channel": HOME, "text": "x", "thread_ts": "1.000001"}, "thread_not_found"),
        ({"channel": HOME, "text": "x", "metadata": {"event_type": "a"}}, "invalid_metadata_format"),
        ({"channel": HOME, "text": ["x"]}, "invalid_arguments"),
    ):
        assert await place.refused("chat.postMessage", **arguments) == word
    assert await place.ana.messages() == []
    assert place.slack.calls_of("chat.postMessage")[7].answer["response_metadata"]["messages"] == [
        "[ERROR] must be more than 0 characters [json-pointer:/blocks/0/text/text]"
    ]


async def test_only_own_messages_can_be_changed(place: Workspace) -> None:
    said = await place.ana.say("tamv-incidents", "mine")
    assert await place.refused("chat.update", channel=HOME, ts=said.ts, text="x") == "cant_update_message"
    assert await place.refused("chat.delete", channel=HOME, ts=said.ts) == "cant_delete_message"


async def test_an_ephemeral_message_is_seen_by_one_person(place: Workspace) -> None:
    await place.client.chat_postEphemeral(channel=HOME, user=place.ana.id, text="psst")
    assert [message.text for message in await place.ana.messages()] == ["psst"]
    assert await place.bruno.messages() == []
    assert (await place.client.conversations_history(channel=HOME))["messages"] == []
    assert await place.refused("chat.postEphemeral", channel=HOME, user="U0TAMVBOT9", text="x") == "user_not_in_channel"


async def test_a_direct_message(place: Workspace) -> None:
    channel = (await place.client.conversations_open(users=place.ana.id))["channel"]["id"]
    assert channel.startswith("D")
    posted = await place.client.chat_postMessage(channel=place.ana.id, text="to you")
    assert posted["channel"] == channel
    assert await place.refused("conversations.open", users="U0NOBODY") == "user_not_found"


async def test_metadata_is_found_in_the_history(place: Workspace) -> None:
    metadata = {"event_type": "incident", "event_payload": {"key": "INC-1/headline"}}
    await place.client.chat_postMessage(channel=HOME, text="x", metadata=metadata)
    with_metadata = await place.client.conversations_history(channel=HOME, include_all_metadata=True)
    assert with_metadata["messages"][0]["metadata"] == metadata
    assert "metadata" not in (await place.client.conversations_history(channel=HOME))["messages"][0]


async def test_threads_and_permalinks(place: Workspace) -> None:
    root = (await place.client.chat_postMessage(channel=HOME, text="root"))["ts"]
    reply = (await place.client.chat_postMessage(channel=HOME, text="reply", thread_ts=root))["ts"]
    answer = await place.client.conversations_replies(channel=HOME, ts=root)
    assert [message["text"] for message in answer["messages"]] == ["root", "reply"]
    assert answer["messages"][0]["reply_count"] == 1
    assert [m["text"] for m in (await place.client.conversations_history(channel=HOME))["messages"]] == ["root"]
    link = (await place.client.chat_getPermalink(channel=HOME, message_ts=reply))["permalink"]
    assert link.endswith(f"/archives/{HOME}/p{reply.replace('.', '')}?thread_ts={root}&cid={HOME}")
    refused = await place.refused("chat.postMessage", channel=HOME, text="x", thread_ts=reply)
    assert refused == "cannot_reply_to_message"


async def test_reactions_pins_and_bookmarks(place: Workspace) -> None:
    ts = (await place.client.chat_postMessage(channel=HOME, text="x"))["ts"]
    await place.client.reactions_add(channel=HOME, timestamp=ts, name="eyes")
    assert await place.refused("reactions.add", channel=HOME, timestamp=ts, name="eyes") == "already_reacted"
    assert await place.refused("reactions.add", channel=HOME, timestamp="1.1", name="eyes") == "message_not_found"
    await place.client.pins_add(channel=HOME, timestamp=ts)
    assert await place.refused("pins.add", channel=HOME, timestamp=ts) == "already_pinned"
    assert [item["message"]["ts"] for item in (await place.client.pins_list(channel=HOME))["items"]] == [ts]
    added = await place.client.bookmarks_add(channel_id=HOME, title="Board", type="link", link="https://x.test/1")
    id = added["bookmark"]["id"]
    await place.client.bookmarks_edit(channel_id=HOME, bookmark_id=id, link="https://x.test/2")
    [bookmark] = (await place.client.bookmarks_list(channel_id=HOME))["bookmarks"]
    assert (bookmark["title"], bookmark["link"]) == ("Board", "https://x.test/2")
    refused = await place.refused("bookmarks.add", channel_id=HOME, title="t", type="link", link="not a link")
    assert refused == "invalid_link"
    await place.client.bookmarks_remove(channel_id=HOME, bookmark_id=id)
    assert (await place.client.bookmarks_list(channel_id=HOME))["bookmarks"] == []


async def test_who_a_message_rings_for(place: Workspace) -> None:
    hostile = "&lt;!channel&gt; it is not a mention"
    await place.client.chat_postMessage(channel=HOME, text=hostile, blocks=[section(hostile)])
    await place.client.chat_postMessage(channel=HOME, text="<!channel> <@U0ANA00001>")
    await place.client.chat_postMessage(channel=HOME, text="x", blocks=[section("wake up @here")])
    verbatim = {"type": "section", "text": {"type": "mrkdwn", "text": "wake up @here", "verbatim": True}}
    await place.client.chat_postMessage(channel=HOME, text="x", blocks=[verbatim])
    mentions = [message.mentions() for message in await place.ana.messages()]
    assert mentions == [set(), {"!channel", "@U0ANA00001"}, {"!here"}, set()]


async def test_waiting_is_woken_by_the_change(place: Workspace) -> None:
    with pytest.raises(TimeoutError):
        await place.slack.wait_for(lambda: place.slack.calls_of("chat.delete"), timeout=0.05)
    await place.client.chat_postMessage(channel=HOME, text="x")
    assert await place.slack.wait_for(lambda: place.slack.channel(HOME).messages, timeout=0.05)


async def test_the_state_can_be_read_by_another_process(place: Workspace) -> None:
    await place.client.chat_postMessage(channel=HOME, text="x")
    await place.refused("chat.postMessage", channel="C0NOWHERE", text="x")
    async with aiohttp.ClientSession() as http, http.get(f"{place.url}/slack/state") as response:
        state = await response.json()
    incidents = next(channel for channel in state["channels"] if channel["name"] == "tamv-incidents")
    assert [message["text"] for message in incidents["messages"]] == ["x"]
    assert state["calls"] == {"chat.postMessage": 2}
    assert state["failed_calls"] == {"chat.postMessage channel_not_found": 1}


HOSTILE: list[Any] = [
    7,
    -1,
    True,
    "",
    " ",
    "\x00",
    "C0INCIDENT",
    "x" * 100_000,
    [],
    [[]],
    [{}],
    {},
    {"type": []},
    [{"id": []}],
    "[{",
    "{}",
]
# fmt: off
NAMES = (
    "attachments", "blocks", "bookmark_id", "channel", "channel_id", "channels", "cursor", "email", "external_id",
    "filename", "files", "hash", "latest", "length", "limit", "link", "metadata", "name", "oldest", "purpose",
    "text", "thread_ts", "timestamp", "title", "topic", "trigger_id", "ts", "type", "user", "user_id",
    "usergroup", "users", "view", "view_id",
)
# fmt: on


@pytest.mark.parametrize("method", sorted(METHODS))
def test_nonsense_is_refused_in_slacks_words(method: str) -> None:
    """No argument, alone or with the others, makes a method fall over: every answer is Slack's JSON."""
    slack = Slack(load_company())
    api = WebAPI(slack, Faults())
    ts = slack.post(slack.channel(HOME), slack.bot_user, text="x").ts
    good = {"channel": HOME, "channel_id": HOME, "text": "x", "user": "U0ANA00001", "ts": ts, "timestamp": ts}
    token = slack.credentials.app_token if method in APP_LEVEL else slack.credentials.bot_token
    for name in NAMES:
        for value in HOSTILE:
            arguments = Arguments({**good, "type": "link", "title": "x", name: value})
            try:
                assert api.call(method, arguments, f"Bearer {token}")["ok"]
            except SlackError as refusal:
                assert refusal.code
