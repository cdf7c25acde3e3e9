"""Channels of the sandbox's Slack: names, members, history, and what an archived channel refuses."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.slack_workspace import Workspace, workspace


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "invalid_name_required"),
        ("x" * 81, "invalid_name_maxlength"),
        ("---", "invalid_name_punctuation"),
        ("Inc-1", "invalid_name_specials"),
        ("inc 1", "invalid_name_specials"),
        ("inc.1", "invalid_name_specials"),
        ("inc#1", "invalid_name_specials"),
        ("tamv-incidents", "name_taken"),
    ],
)
async def test_bad_names(place: Workspace, name: str, word: str) -> None:
    assert await place.refused("conversations.create", name=name) == word


async def test_a_good_name(place: Workspace) -> None:
    channel = (await place.client.conversations_create(name="inc-2026_0001-" + "x" * 66))["channel"]
    assert (len(channel["name"]), channel["is_member"], channel["creator"]) == (80, True, "U0TAMVBOT1")
    assert await place.refused("conversations.create", name=channel["name"]) == "name_taken"
    renamed = await place.client.conversations_rename(channel=channel["id"], name="inc-b")
    assert renamed["channel"]["previous_names"] == [channel["name"]]
    assert await place.refused("conversations.rename", channel=channel["id"], name="general") == "name_taken"


async def test_invitations(place: Workspace) -> None:
    channel = await place.channel()
    await place.client.conversations_invite(channel=channel, users=[place.ana.id, place.bruno.id])
    members = (await place.client.conversations_members(channel=channel))["members"]
    assert members == ["U0TAMVBOT1", place.ana.id, place.bruno.id]
    for users, word in (
        (place.ana.id, "already_in_channel"),
        ("U0TAMVBOT1", "cant_invite_self"),
        ("U0NOBODY", "user_not_found"),
        ("", "no_user"),
    ):
        assert await place.refused("conversations.invite", channel=channel, users=users) == word
    users = f"{place.ana.id},U0EMMA0005"
    assert await place.refused("conversations.invite", channel=channel, users=users) == "already_in_channel"
    assert "U0EMMA0005" not in place.slack.channel(channel).members
    await place.client.conversations_invite(channel=channel, users=users, force=True)
    assert "U0EMMA0005" in place.slack.channel(channel).members


async def test_topic_and_purpose(place: Workspace) -> None:
    channel = await place.channel()
    await place.client.conversations_setTopic(channel=channel, topic="SEV1 · ana")
    await place.client.conversations_setPurpose(channel=channel, purpose="INC-2026-0001")
    info = (await place.client.conversations_info(channel=channel, include_num_members=True))["channel"]
    assert (info["topic"]["value"], info["purpose"]["value"]) == ("SEV1 · ana", "INC-2026-0001")
    assert info["num_members"] == 1
    assert await place.refused("conversations.setTopic", channel=channel, topic="x" * 251) == "too_long"


async def test_joining(place: Workspace) -> None:
    joined = await place.client.conversations_join(channel="C0GENERAL1")
    assert "warning" not in joined.data
    assert (await place.client.conversations_join(channel="C0GENERAL1"))["warning"] == "already_in_channel"
    await place.client.chat_postMessage(channel="C0GENERAL1", text="here I am")


async def test_an_archived_channel_takes_nothing(place: Workspace) -> None:
    channel = await place.channel()
    ts = (await place.client.chat_postMessage(channel=channel, text="x"))["ts"]
    await place.client.conversations_archive(channel=channel)
    assert await place.refused("conversations.archive", channel=channel) == "already_archived"
    for method, arguments in {
        "chat.postMessage": {"text": "x"},
        "chat.update": {"ts": ts, "text": "x"},
        "reactions.add": {"timestamp": ts, "name": "eyes"},
        "conversations.invite": {"users": place.ana.id},
        "conversations.setTopic": {"topic": "x"},
        "conversations.rename": {"name": "b"},
        "conversations.join": {},
        "pins.add": {"timestamp": ts},
    }.items():
        assert await place.refused(method, channel=channel, **arguments) == "is_archived", method
    listed = await place.client.conversations_list(exclude_archived=True)
    assert channel not in [each["id"] for each in listed["channels"]]
    await place.client.conversations_unarchive(channel=channel)
    await place.client.chat_postMessage(channel=channel, text="again")


async def test_history_in_pages_and_in_parts(place: Workspace) -> None:
    channel = await place.channel()
    times = [(await place.client.chat_postMessage(channel=channel, text=str(n)))["ts"] for n in range(7)]
    seen: list[str] = []
    cursor = None
    while cursor != "":
        page = await place.client.conversations_history(channel=channel, limit=3, cursor=cursor)
        assert page["has_more"] == ("response_metadata" in page.data)
        seen += [message["text"] for message in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"] if page["has_more"] else ""
    assert seen == [str(number) for number in reversed(range(7))]
    for arguments, texts in (
        ({"oldest": times[4]}, ["6", "5"]),
        ({"oldest": times[4], "inclusive": True}, ["6", "5", "4"]),
        ({"latest": times[2]}, ["1", "0"]),
        ({"latest": times[2], "oldest": times[2], "inclusive": True}, ["2"]),
    ):
        page = await place.client.conversations_history(channel=channel, **arguments)
        assert [message["text"] for message in page["messages"]] == texts
    assert await place.refused("conversations.history", channel=channel, limit=1000) == "invalid_limit"
    assert await place.refused("conversations.history", channel=channel, cursor="?") == "invalid_cursor"
    assert await place.refused("conversations.history", channel="C0GENERAL1") == "not_in_channel"
