"""The sandbox's answers and payloads have the keys, and the kinds of values, that Slack's recorded ones have."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.contract import block_samples as samples
from tests.contract.webapi import load, needs_contracts, problems
from tests.harness.slack_workspace import Workspace, workspace

JSON = dict[str, Any]
HOME = "C0INCIDENT"
pytestmark = needs_contracts

# What each payload of the recordings has, but only in a workspace of an Enterprise organisation.
ENTERPRISE = {"enterprise", "enterprise_id", "enterprise_name"}
# Keys that the recordings of one SDK have and those of the other lack.
DOCUMENTED = {"authed_users", "blocks", "context_enterprise_id", "context_team_id", "response_urls"}


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


async def test_every_answer_has_slacks_keys(place: Workspace) -> None:
    await do_everything(place)
    judged = set()
    for call in place.slack.calls:
        try:
            recorded = load(f"java-json-logs/api.{call.method}.json")
        except FileNotFoundError:
            continue
        judged.add(call.method)
        assert strange(call.answer, recorded) == [], call.method
        assert call.ok, call
    assert len(judged) >= 25, sorted(judged)


async def test_slacks_client_sends_what_slack_publishes(place: Workspace) -> None:
    """The request check passes on what slack_sdk sends: what it finds in the bot's calls is the bot's doing."""
    await do_everything(place)
    assert [problem for call in place.slack.calls for problem in problems(call.method, call.arguments)] == []


async def do_everything(place: Workspace) -> None:
    client = place.client
    channel = (await client.conversations_create(name="inc-1"))["channel"]["id"]
    await client.auth_test()
    await client.apps_connections_open(app_token=place.slack.credentials.app_token)
    await client.conversations_invite(channel=channel, users=[place.ana.id, place.bruno.id])
    await client.conversations_join(channel="C0GENERAL1")
    await client.conversations_info(channel=channel, include_num_members=True)
    await client.conversations_list(limit=200, exclude_archived=True)
    await client.conversations_members(channel=channel)
    await client.conversations_rename(channel=channel, name="inc-2")
    await client.conversations_setTopic(channel=channel, topic="t")
    await client.conversations_setPurpose(channel=channel, purpose="p")
    await client.conversations_open(users=place.ana.id)
    metadata = {"event_type": "headline", "event_payload": {"id": "INC-1"}}
    blocks = [samples.section(), samples.actions(samples.button(), samples.select())]
    ts = (await client.chat_postMessage(channel=channel, text="x", blocks=blocks, metadata=metadata))["ts"]
    await client.chat_update(channel=channel, ts=ts, text="y", blocks=blocks)
    await client.chat_postEphemeral(channel=channel, user=place.ana.id, text="z")
    await client.chat_getPermalink(channel=channel, message_ts=ts)
    await client.conversations_history(channel=channel, limit=10, oldest="0", include_all_metadata=True)
    await client.conversations_replies(channel=channel, ts=ts, limit=10)
    await client.reactions_add(channel=channel, timestamp=ts, name="eyes")
    await client.pins_add(channel=channel, timestamp=ts)
    await client.bookmarks_add(channel_id=channel, title="Board", type="link", link="https://x.test/")
    await client.files_upload_v2(channel=channel, filename="a.png", content=b"abc", initial_comment="c")
    await client.usergroups_list(include_users=True)
    await client.usergroups_users_list(usergroup="S0SRETEAM1")
    await client.users_info(user=place.ana.id, include_locale=True)
    await client.users_list(limit=100)
    await client.users_lookupByEmail(email="ana@tamv.world")
    trigger = place.slack.triggers.issue(place.ana.user)
    view = (await client.views_open(trigger_id=trigger.id, view=samples.modal()))["view"]
    await client.views_update(view_id=view["id"], view=samples.modal(samples.section()), hash=view["hash"])
    await client.views_publish(user_id=place.ana.id, view={"type": "home", "blocks": [samples.section()]})
    await client.chat_delete(channel=channel, ts=ts)
    await client.conversations_archive(channel=channel)
    await client.conversations_unarchive(channel=channel)


async def test_every_payload_has_slacks_keys(place: Workspace) -> None:
    recorded = load("bolt/bolt-python-scenario-payloads.json")
    payloads = await act(place)
    for name, sample in {
        "block_actions": "test_block_actions:body",
        "view_submission": "test_view_submission:body",
        "view_closed": "test_view_closed:body",
        "shortcut": "test_shortcut:global_shortcut_body",
        "message_action": "test_shortcut:message_shortcut_body",
        "block_suggestion": "test_block_suggestion:body",
        "reaction_added": "test_events:valid_reaction_added_body",
        "member_joined_channel": "test_events:join_event_body",
        "app_mention": "test_events:valid_event_body",
        "message": "test_message:message_body",
    }.items():
        assert missing(recorded[sample], payloads[name]) == [], name
    command = dict(parse_qsl(recorded["test_slash_command:slash_command_body"]))
    assert missing(command, payloads["command"]) == []
    for name, sample in {
        "block_actions": "BlockActionPayload",
        "view_submission": "ViewSubmissionPayload",
        "view_closed": "ViewClosedPayload",
        "command": "SlashCommandPayload",
    }.items():
        unknown = strange(payloads[name], load(f"java-json-logs/inbound.{sample}.json"), values=False)
        assert unknown == [], name


async def act(place: Workspace) -> dict[str, JSON]:
    """Do each thing that a person can do, and return the payloads by name; nobody needs to take them."""
    place.slack.bot_url = "http://127.0.0.1:9"
    place.slack.deliveries.retry_delays = ()
    trigger = place.slack.triggers.issue(place.ana.user)
    external = {"type": "external_select", "action_id": "es_a"}
    view = samples.modal(samples.field(), samples.field(external, block_id="es_b"), notify_on_close=True)
    await place.client.views_open(trigger_id=trigger.id, view=view)
    assert place.ana.view is not None
    await place.ana.suggestions(place.ana.view, "es_a", "x")
    option = {"text": samples.plain("x"), "value": "x"}
    await place.ana.submit({"title": "test", "es_a": option})
    await place.ana.close()
    blocks = [samples.actions(samples.button(value="click_me_123"))]
    posted = await place.client.chat_postMessage(channel=HOME, text="x", blocks=blocks)
    await place.ana.press(place.slack.message(HOME, posted["ts"]), "go")
    said = await place.ana.say("tamv-incidents", "hello @tamv-bot")
    await place.ana.react(said, "eyes")
    await place.ana.message_shortcut("add", said)
    await place.ana.global_shortcut("declare")
    await place.ana.run("/incident list")
    channel = await place.channel()
    await place.client.conversations_invite(channel=channel, users=place.ana.id)
    await place.slack.deliveries.settled()
    payloads: dict[str, JSON] = {}
    for delivery in place.slack.deliveries.log:
        event = delivery.payload.get("event", {})
        own = event.get("bot_id") or event.get("subtype")
        name = "command" if delivery.kind == "command" else event.get("type") or delivery.payload["type"]
        if not own:
            payloads[name] = delivery.payload
    return payloads


def strange(ours: Any, recorded: Any, path: str = "$", *, values: bool = True) -> list[str]:
    """What we have and the recording does not: unknown keys and, with `values`, other kinds of values."""
    if isinstance(ours, dict) and isinstance(recorded, dict):
        if not recorded or any(key.startswith("C0000") for key in recorded) or path.endswith(".values"):
            return []  # keys of their own: channel ids, block ids
        found = [f"{path}.{key} is unknown" for key in ours.keys() - recorded.keys() - DOCUMENTED]
        for key in sorted(ours.keys() & recorded.keys()):
            found += strange(ours[key], recorded[key], f"{path}.{key}", values=values)
        return found
    if isinstance(ours, list) and isinstance(recorded, list) and recorded:
        if path.endswith(".blocks"):
            return []  # Block Kit's own matter
        return [each for item in ours for each in strange(item, recorded[0], path, values=values)]
    if values and ours is not None and recorded is not None and kind(ours) != kind(recorded):
        return [f"{path} is a {kind(ours)}, recorded is a {kind(recorded)}"]
    return []


def missing(recorded: JSON, ours: JSON, path: str = "$") -> list[str]:
    """Keys of the recording that we lack; ids inside of `state` and `blocks` are anybody's."""
    found = []
    for key, value in recorded.items():
        if key in ENTERPRISE | DOCUMENTED or (key == "message" and path == "$" and "container" in recorded):
            continue
        if key not in ours:
            found.append(f"{path}.{key}")
        elif isinstance(value, dict) and isinstance(ours[key], dict) and key not in ("values", "element"):
            found += missing(value, ours[key], f"{path}.{key}")
    return found


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__
