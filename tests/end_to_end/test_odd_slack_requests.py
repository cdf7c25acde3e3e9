"""What Slack sends that no message of today asks for: from strangers, of older versions, of subscriptions of others."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from bot.domain.incident import Status
from sandbox.slack.state import Channel, User
from tests.end_to_end.test_slack_people import signed
from tests.harness.scene import Scene, scene, words

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("odd-slack")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(stage: Scene) -> Channel:
    return await stage.incident()


def interaction(stage: Scene, channel: Channel, kind: str, **more: Any) -> bytes:
    """A signed press, form or shortcut of Ana's."""
    workspace, ana = stage.slack.company.workspace, stage.slack.user("ana")
    payload = {
        "type": kind,
        "user": {"id": ana.id, "name": ana.name, "team_id": workspace.team_id},
        "team": {"id": workspace.team_id, "domain": workspace.domain},
        "api_app_id": workspace.app_id,
        "channel": {"id": channel.id, "name": channel.name},
        "trigger_id": "1.2.old",
        **more,
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


async def answered(stage: Scene, body: bytes) -> str:
    """What Slack shows after such a request."""
    before = {id: len(place.messages) for id, place in stage.slack.channels.items()}
    assert (await stage.post("/slack/events", body, signed(stage, body)))[0] == 200

    def shown() -> str:
        places = stage.slack.channels.items()
        return "".join(words(one) for id, place in places for one in [*place.messages.values()][before.get(id, 0) :])

    return await stage.see(shown)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("block_actions", {"actions": [{"type": "button", "action_id": "of_2024", "block_id": "b", "value": "INC-1"}]}),
        ("view_submission", {"view": {"id": "V1", "type": "modal", "callback_id": "of_2024", "state": {"values": {}}}}),
        ("shortcut", {"callback_id": "of_2024"}),
        ("message_action", {"callback_id": "of_2024", "message": {"ts": "1.1", "text": "x"}, "message_ts": "1.1"}),
    ],
    ids=["button", "form", "shortcut", "message shortcut"],
)
async def test_what_an_older_version_offered_is_answered_in_words(
    stage: Scene, channel: Channel, kind: str, more: dict[str, Any]
) -> None:
    before = {one.ts for place in stage.slack.channels.values() for one in place.messages.values()}
    body = interaction(stage, channel, kind, **more)
    assert (await stage.post("/slack/events", body, signed(stage, body)))[0] == 200

    def answered() -> bool:
        new = [
            one for place in stage.slack.channels.values() for one in place.messages.values() if one.ts not in before
        ]
        return any("de una versión que ya no existe" in words(one) for one in new)

    await stage.see(answered)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message", "channel": "C1", "user": "U1", "text": "x", "ts": "1.1"},
        {"type": "message", "subtype": "message_changed", "channel": "C1", "message": {"text": "y"}, "ts": "1.1"},
        {"type": "member_left_channel", "user": "U1", "channel": "C1"},
        {"type": "channel_rename", "channel": {"id": "C1", "name": "x", "created": 1}},
        {"type": "channel_archive", "channel": "C1", "user": "U1"},
        {"type": "tokens_revoked", "tokens": {"oauth": ["U1"], "bot": ["U2"]}},
        {"type": "app_uninstalled"},
        {"type": "something_of_2030"},
    ],
    ids=lambda event: str(event["type"]),
)
async def test_an_event_that_nobody_needs_is_acknowledged_and_forgotten(
    stage: Scene, event: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    workspace = stage.slack.company.workspace
    body = json.dumps(
        {
            "type": "event_callback",
            "event_id": f"Ev{time.time_ns()}",
            "team_id": workspace.team_id,
            "api_app_id": workspace.app_id,
            "event": event,
        }
    ).encode()
    headers = signed(stage, body) | {"content-type": "application/json"}
    assert (await stage.post("/slack/events", body, headers))[0] == 200
    await stage.quiet()
    assert [one.getMessage() for one in caplog.records if one.name.startswith("handlers.")] == []


async def test_somebody_of_another_company_in_a_shared_channel_presses_nothing(stage: Scene, channel: Channel) -> None:
    stage.slack.users["U0STRANGER"] = User("U0STRANGER", "vendor", "Sam Vendor", kind="stranger")
    channel.members.append("U0STRANGER")
    reply = await stage.person("vendor").press(stage.card(channel), "acknowledge")
    assert reply.status == 403
    assert (await stage.person("vendor").message_shortcut("add_to_timeline", stage.card(channel))).status == 403
    assert (await stage.record(channel)).status is Status.DECLARED


async def test_a_form_that_slack_does_not_open_any_more_says_what_to_do(stage: Scene, channel: Channel) -> None:
    told = await answered(stage, interaction(stage, channel, "shortcut", callback_id="declare_incident"))
    assert "Slack no abrió el formulario" in told and "doctor" not in told


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "ratelimit"},
        {"kind": "status", "status": 500},
        {"kind": "nonsense"},
        {"kind": "error", "error": "some_new_error"},
        {"kind": "drop_after"},
    ],
    ids=lambda fault: str(fault["kind"]),
)
async def test_a_form_opens_though_slack_refuses_it_once(stage: Scene, channel: Channel, fault: dict[str, Any]) -> None:
    ana = stage.person("ana")
    stage.slack.modals.clear()
    refused = stage.sandbox.faults.add("slack", match="views.open", times=1, **fault)
    reply = await ana.run("/incident update", channel.name)
    await stage.see(lambda: ana.view)
    await stage.quiet()
    assert refused.used == 1 and reply.messages == []
