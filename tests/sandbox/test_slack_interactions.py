"""Buttons, menus, forms, shortcuts and the App Home, used by a person and answered by a small Bolt app."""

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncRespond
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.slack.inputs import NotOffered
from sandbox.slack.person import SubmitResult
from tests.harness.slack_workspace import Workspace, bot, workspace

JSON = dict[str, Any]


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        yield place


def plain(text: str) -> JSON:
    return {"type": "plain_text", "text": text}


def button(action_id: str, value: str) -> JSON:
    return {"type": "button", "action_id": action_id, "text": plain(action_id), "value": value}


def options(*values: str) -> list[JSON]:
    return [{"text": plain(value.upper()), "value": value} for value in values]


def field(label: str, element: JSON, **more: Any) -> JSON:
    return {"type": "input", "block_id": label.lower(), "label": plain(label), "element": element, **more}


def form(title: str = "Declare", **more: Any) -> JSON:
    blocks = [
        field("Title", {"type": "plain_text_input", "action_id": "title", "min_length": 3}),
        field("Severity", {"type": "static_select", "action_id": "severity", "options": options("sev1", "sev2")}),
        field("Owner", {"type": "users_select", "action_id": "owner"}, optional=True),
        field("Labels", {"type": "checkboxes", "action_id": "labels", "options": options("a", "b")}, optional=True),
        field("Due", {"type": "datepicker", "action_id": "due", "initial_date": "2026-05-01"}, optional=True),
        field("Reason", {"type": "plain_text_input", "action_id": "reason", "initial_value": "why"}),
    ]
    return {
        "type": "modal",
        "callback_id": "declare",
        "title": plain(title),
        "submit": plain("Send"),
        "blocks": blocks,
        **more,
    }


async def post(place: Workspace, *elements: JSON) -> Any:
    blocks = [{"type": "actions", "block_id": f"row{n}", "elements": [each]} for n, each in enumerate(elements)]
    answer = await place.client.chat_postMessage(channel="C0INCIDENT", text="x", blocks=blocks)
    return place.slack.message("C0INCIDENT", answer["ts"])


async def test_a_button_tells_who_pressed_which(place: Workspace) -> None:
    got: list[JSON] = []

    async def approve(ack: AsyncAck, body: JSON, respond: AsyncRespond) -> None:
        got.append(body)
        await ack()
        await respond(text="done", replace_original=True)

    async with bot(place, lambda app: app.action("approve")(approve)):
        message = await post(place, button("approve", "run-1"), button("approve", "run-2"))
        stale = copy.deepcopy(message)
        with pytest.raises(LookupError):
            await place.bruno.press(message, "approve")
        with pytest.raises(LookupError):
            await place.bruno.press(message, "reject")
        reply = await place.bruno.press(message, "approve", "run-2")
        assert (reply.error, (await reply.message()).text) == (None, "done")
        assert list(message.elements()) == []
        await place.ana.press(stale, "approve", "run-1")
    assert [(body["user"]["id"], body["actions"][0]["value"]) for body in got] == [
        (place.bruno.id, "run-2"),
        (place.ana.id, "run-1"),
    ]
    assert got[0]["message"]["ts"] == got[0]["container"]["message_ts"] == message.ts
    assert got[1]["message"]["text"] == "done"  # Slack sends the message as it is, not as it was


async def test_an_ephemeral_button_comes_without_its_message(place: Workspace) -> None:
    got: list[JSON] = []

    async def go(ack: AsyncAck, body: JSON, respond: AsyncRespond) -> None:
        got.append(body)
        await ack()
        await respond(delete_original=True)

    async with bot(place, lambda app: app.action("go")(go)):
        blocks = [{"type": "actions", "elements": [button("go", "1")]}]
        await place.client.chat_postEphemeral(channel="C0INCIDENT", user=place.ana.id, text="x", blocks=blocks)
        [message] = await place.ana.messages()
        with pytest.raises(PermissionError):
            await place.bruno.press(message, "go")
        await place.ana.press(message, "go")
        await place.slack.wait_for(lambda: message.deleted)
    assert got[0]["container"]["is_ephemeral"]
    assert "message" not in got[0]
    assert await place.ana.messages() == []


async def test_menus_send_what_was_chosen(place: Workspace) -> None:
    got: list[JSON] = []

    async def chosen(ack: AsyncAck, body: JSON) -> None:
        got.append(body)
        await ack()

    menu = {
        "type": "static_select",
        "action_id": "pick",
        "options": options("a", "b"),
        "initial_option": options("a")[0],
    }
    more = {"type": "overflow", "action_id": "more", "options": options("c", "d")}
    who = {"type": "users_select", "action_id": "who"}

    def register(app: AsyncApp) -> None:
        for action in ("pick", "more", "who"):
            app.action(action)(chosen)

    async with bot(place, register):
        message = await post(place, menu, more, who)
        await place.ana.choose(message, "pick", "B")
        await place.ana.choose(message, "more", "d")
        await place.ana.choose(message, "who", "bruno")
        with pytest.raises(NotOffered):
            await place.ana.choose(message, "pick", "z")
    acted = [body["actions"][0] for body in got]
    assert acted[0]["selected_option"]["value"] == "b"
    assert acted[1]["selected_option"]["value"] == "d"
    assert acted[2]["selected_user"] == place.bruno.id
    assert got[2]["state"]["values"]["row0"]["pick"]["selected_option"]["value"] == "b"
    assert "row1" not in got[2]["state"]["values"]


def answering(views: list[JSON], action: JSON | None = None) -> Any:
    """Registers a bot that opens the form on /incident and answers its submission with `action`."""

    def register(app: AsyncApp) -> None:
        @app.command("/incident")
        async def incident(ack: AsyncAck, body: JSON, client: AsyncWebClient) -> None:
            await ack()
            await client.views_open(trigger_id=body["trigger_id"], view=form(notify_on_close=True))

        async def submitted(ack: AsyncAck, body: JSON) -> None:
            views.append(body)
            await ack(**(action or {}))

        app.view("declare")(submitted)
        app.view_closed("declare")(submitted)

    return register


async def submitted(place: Workspace, action: JSON | None, values: JSON) -> tuple[SubmitResult, list[JSON]]:
    views: list[JSON] = []
    async with bot(place, answering(views, action)):
        await (await place.ana.run("/incident declare")).view()
        result = await place.ana.submit(values)
    return result, views


async def test_a_form_is_filled_in_by_label_and_closed(place: Workspace) -> None:
    values = {"Title": "XR is slow", "severity": "SEV1", "owner/owner": "bruno", "Labels": ["a", "B"]}
    result, views = await submitted(place, None, values)
    assert (result.ok, result.closed, result.view, place.ana.view) == (True, True, None, None)
    state = {id: next(iter(each.values())) for id, each in views[0]["view"]["state"]["values"].items()}
    assert state == {
        "title": {"type": "plain_text_input", "value": "XR is slow"},
        "severity": {"type": "static_select", "selected_option": options("sev1")[0]},
        "owner": {"type": "users_select", "selected_user": place.bruno.id},
        "labels": {"type": "checkboxes", "selected_options": options("a", "b")},
        "due": {"type": "datepicker", "selected_date": "2026-05-01"},
        "reason": {"type": "plain_text_input", "value": "why"},
    }


async def test_slacks_own_app_refuses_what_is_missing_or_too_short(place: Workspace) -> None:
    result, views = await submitted(place, None, {"Title": "ab", "Reason": None})
    assert sorted(result.errors) == ["reason", "severity", "title"]
    assert (result.closed, views) == (False, [])
    with pytest.raises(KeyError):
        await place.ana.submit({"Colour": "red"})


GOOD = {"Title": "XR is slow", "Severity": "sev1"}


async def test_errors_stay_at_their_fields(place: Workspace) -> None:
    action = {"response_action": "errors", "errors": {"title": "Say which service."}}
    result, _ = await submitted(place, action, GOOD)
    assert (result.errors, result.closed) == ({"title": "Say which service."}, False)
    assert place.ana.view is result.view
    action = {"response_action": "errors", "errors": {"no such block": "x"}}
    result, _ = await submitted(place, action, GOOD)
    assert (result.ok, result.error) == (False, "invalid_errors")


async def test_a_form_is_updated_pushed_and_cleared(place: Workspace) -> None:
    result, _ = await submitted(place, {"response_action": "update", "view": form("Again")}, GOOD)
    assert (result.view and result.view.title, result.closed) == ("Again", False)
    result, _ = await submitted(place, {"response_action": "push", "view": form("Next")}, GOOD)
    assert (result.view and result.view.title, len(place.slack.modals[place.ana.id])) == ("Next", 2)
    result, _ = await submitted(place, {"response_action": "clear"}, GOOD)
    assert (result.closed, place.ana.view) == (True, None)
    result, _ = await submitted(place, {"response_action": "update", "view": form("x" * 25)}, GOOD)
    assert (result.error, result.closed) == ("invalid_arguments", False)


async def test_closing_a_form_is_told(place: Workspace) -> None:
    views: list[JSON] = []
    async with bot(place, answering(views)):
        await (await place.ana.run("/incident declare")).view()
        await place.ana.close()
    assert (views[0]["type"], views[0]["is_cleared"], place.ana.view) == ("view_closed", False, None)


async def test_shortcuts(place: Workspace) -> None:
    got: list[JSON] = []

    async def shortcut(ack: AsyncAck, body: JSON, client: AsyncWebClient) -> None:
        got.append(body)
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=form())

    async with bot(place, lambda app: (app.shortcut("declare")(shortcut), app.shortcut("add")(shortcut))):
        await (await place.ana.global_shortcut("declare")).view()
        said = await place.bruno.say("tamv-incidents", "it began at ten")
        await (await place.ana.message_shortcut("add", said)).view()
    assert [body["type"] for body in got] == ["shortcut", "message_action"]
    assert "channel" not in got[0]
    assert (got[1]["message"]["text"], got[1]["message"]["user"]) == ("it began at ten", place.bruno.id)


async def test_the_app_home_is_drawn_when_it_is_opened(place: Workspace) -> None:
    async def opened(event: JSON, client: AsyncWebClient) -> None:
        section = {"type": "section", "text": {"type": "mrkdwn", "text": f"for {event['user']}"}}
        row = {"type": "actions", "elements": [button("take", "INC-1")]}
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": [section, row]})

    got: list[JSON] = []

    async def take(ack: AsyncAck, body: JSON) -> None:
        got.append(body)
        await ack()

    async with bot(place, lambda app: (app.event("app_home_opened")(opened), app.action("take")(take))):
        view = await place.ana.open_home()
        assert f"for {place.ana.id}" in view.all_text()
        assert (await place.ana.press(view, "take")).error is None
        await place.ana.open_home()
    assert got[0]["container"] == {"type": "view", "view_id": view.id}
    assert "response_url" not in got[0]


async def test_suggestions_of_an_external_menu(place: Workspace) -> None:
    async def suggest(ack: AsyncAck, body: JSON) -> None:
        await ack(options=options(body["value"] + "1", body["value"] + "2"))

    view = form(blocks=[field("Who", {"type": "external_select", "action_id": "who"})])
    async with bot(place, lambda app: app.options("who")(suggest)):
        trigger = place.slack.triggers.issue(place.ana.user)
        await place.client.views_open(trigger_id=trigger.id, view=view)
        assert place.ana.view is not None
        offered = await place.ana.suggestions(place.ana.view, "who", "xr")
    assert offered == options("xr1", "xr2")
