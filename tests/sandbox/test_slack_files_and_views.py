"""Files as slack_sdk uploads them, and the views that are opened by a trigger."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox.slack import backend
from tests.harness.slack_workspace import Workspace, workspace

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


def modal(title: str = "Declare", **more: Any) -> dict[str, Any]:
    element = {"type": "plain_text_input", "action_id": "title"}
    block = {"type": "input", "block_id": "title", "label": {"type": "plain_text", "text": "Title"}, "element": element}
    words = {"title": {"type": "plain_text", "text": title}, "submit": {"type": "plain_text", "text": "Send"}}
    return {"type": "modal", **words, "blocks": [block], **more}


def home(text: str) -> dict[str, Any]:
    return {"type": "home", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]}


async def test_files_upload_v2(place: Workspace) -> None:
    channel = await place.channel()
    answer = await place.client.files_upload_v2(
        channel=channel,
        initial_comment="charts",
        file_uploads=[
            {"filename": "latency.png", "content": PNG, "title": "Latency", "alt_txt": "Latency rises"},
            {"filename": "report.md", "content": b"# Report", "title": "Report"},
        ],
    )
    assert [file["shares"] for file in answer["files"]] == [{}, {}]
    [message] = place.slack.channel(channel).messages.values()
    assert message.text == "charts"
    assert [place.slack.files[id].content for id in message.files] == [PNG, b"# Report"]
    info = (await place.client.files_info(file=message.files[0]))["file"]
    assert (info["title"], info["alt_txt"], info["mimetype"]) == ("Latency", "Latency rises", "image/png")
    assert info["shares"]["public"][channel][0]["ts"] == message.ts
    [seen] = (await place.client.conversations_history(channel=channel))["messages"]
    assert [file["id"] for file in seen["files"]] == message.files
    async with aiohttp.ClientSession() as http:
        token = {"Authorization": f"Bearer {place.client.token}"}
        async with http.get(info["url_private"], headers=token) as response:
            assert (await response.read(), response.content_type) == (PNG, "image/png")
        async with http.get(info["url_private"], allow_redirects=False) as response:
            assert response.status == 302


async def test_an_upload_that_is_not_complete_is_not_shared(place: Workspace) -> None:
    channel = await place.channel()
    assert await place.refused("files.getUploadURLExternal", filename="a.txt", length=0) == "invalid_arguments"
    assert await place.refused("files.getUploadURLExternal", length=3) == "invalid_arguments"
    begun = await place.client.files_getUploadURLExternal(filename="a.txt", length=3)
    files = [{"id": begun["file_id"], "title": "a"}]
    complete = "files.completeUploadExternal"
    assert await place.refused(complete, files=files, channel_id=channel) == "file_not_found"
    async with aiohttp.ClientSession() as http:
        async with http.post(begun["upload_url"], data=b"four") as response:
            assert response.status == 404
        async with http.put(begun["upload_url"], data=b"abc") as response:
            assert await response.text() == "OK - 3"
    assert await place.refused(complete, files=files, channel_id="C0NOWHERE") == "channel_not_found"
    assert await place.refused(complete, files=files, channel_id="C0GENERAL1") == "not_in_channel"
    await place.client.files_completeUploadExternal(files=files, channel_id=channel)
    assert await place.refused(complete, files=files, channel_id=channel) == "file_not_found"
    assert len(place.slack.channel(channel).messages) == 1


async def test_a_file_in_a_thread(place: Workspace) -> None:
    channel = await place.channel()
    root = (await place.client.chat_postMessage(channel=channel, text="root"))["ts"]
    await place.client.files_upload_v2(channel=channel, thread_ts=root, filename="a.png", content=PNG)
    replies = (await place.client.conversations_replies(channel=channel, ts=root))["messages"]
    assert [len(message.get("files", [])) for message in replies] == [0, 1]


async def test_a_trigger_opens_one_view_within_three_seconds(place: Workspace) -> None:
    trigger = place.slack.triggers.issue(place.ana.user)
    answer = await place.client.views_open(trigger_id=trigger.id, view=modal())
    assert place.ana.view is not None
    assert answer["view"]["id"] == place.ana.view.id
    assert await place.refused("views.open", trigger_id=trigger.id, view=modal()) == "exchanged_trigger_id"
    late = place.slack.triggers.issue(place.ana.user)
    late.issued -= backend.TRIGGER_SECONDS
    assert await place.refused("views.open", trigger_id=late.id, view=modal()) == "expired_trigger_id"
    assert await place.refused("views.open", trigger_id="1.2.3", view=modal()) == "invalid_trigger_id"
    bad = place.slack.triggers.issue(place.ana.user)
    assert await place.refused("views.open", trigger_id=bad.id, view=modal("x" * 25)) == "invalid_arguments"
    assert not bad.used


async def test_views_are_stacked_and_updated(place: Workspace) -> None:
    first = (
        await place.client.views_open(
            trigger_id=place.slack.triggers.issue(place.ana.user).id, view=modal("1", external_id="declare")
        )
    )["view"]
    for title in ("2", "3"):
        trigger = place.slack.triggers.issue(place.ana.user, place.ana.view)
        pushed = (await place.client.views_push(trigger_id=trigger.id, view=modal(title)))["view"]
    assert (pushed["root_view_id"], place.ana.view and place.ana.view.title) == (first["id"], "3")
    trigger = place.slack.triggers.issue(place.ana.user, place.ana.view)
    assert await place.refused("views.push", trigger_id=trigger.id, view=modal("4")) == "push_limit_reached"
    updated = await place.client.views_update(external_id="declare", view=modal("1b"), hash=first["hash"])
    assert updated["view"]["hash"] != first["hash"]
    refused = await place.refused("views.update", view_id=first["id"], view=modal("1c"), hash=first["hash"])
    assert refused == "hash_conflict"
    assert await place.refused("views.update", view_id="V0GONE", view=modal("x")) == "not_found"


async def test_the_app_home(place: Workspace) -> None:
    first = (await place.client.views_publish(user_id=place.ana.id, view=home("one")))["view"]
    second = (await place.client.views_publish(user_id=place.ana.id, view=home("two"), hash=first["hash"]))["view"]
    assert first["id"] == second["id"]
    assert place.ana.home is not None
    assert place.ana.home.all_text() == "two"
    stale = {"user_id": place.ana.id, "view": home("three"), "hash": first["hash"]}
    assert await place.refused("views.publish", **stale) == "hash_conflict"
    assert await place.refused("views.publish", user_id=place.ana.id, view=modal()) == "invalid_arguments"
    assert place.bruno.home is None
