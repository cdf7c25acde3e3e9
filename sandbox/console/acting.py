"""What a person does on the page, done by the same `Person` that the scripted responder and the tests use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sandbox.slack.person import Person, Reply, fill_in
from sandbox.slack.state import JSON, Message, SlackError, View

HOME_SECONDS = 3.0

Act = Callable[[Person, JSON], Awaitable[JSON]]


class NotPossible(Exception):
    """This cannot be done now: `key` is one of the page's words or Slack's error code, `status` HTTP's."""

    def __init__(self, key: str, status: int = 409) -> None:
        super().__init__(key)
        self.key = key
        self.status = status


async def act(person: Person, name: str, body: JSON) -> JSON:
    """Do it. `ms` (the bot's acknowledgement) and `error` (Slack's word for its failure) in the answer, if it went out.

    KeyError, TypeError when the body lacks something, NotPossible when what it names is not there (any more).
    """
    try:
        return await ACTS[name](person, body)
    except SlackError as error:
        raise NotPossible(error.code) from error
    except PermissionError as error:
        raise NotPossible("not_in_channel") from error
    except LookupError as error:
        if isinstance(error, KeyError):
            raise
        raise NotPossible("gone") from error


async def _command(person: Person, body: JSON) -> JSON:
    return _told(await person.run(_text(body, "text"), _text(body, "channel")))


async def _say(person: Person, body: JSON) -> JSON:
    thread = _message(person, _text(body, "channel"), _text(body, "thread_ts")) if body.get("thread_ts") else None
    message = await person.say(_text(body, "channel"), _text(body, "text"), thread=thread)
    return {"ts": message.ts}


async def _press(person: Person, body: JSON) -> JSON:
    return _told(await person.press(_surface(person, body), _text(body, "action_id"), body.get("value")))


async def _choose(person: Person, body: JSON) -> JSON:
    return _told(await person.choose(_surface(person, body), _text(body, "action_id"), body["value"]))


async def _suggest(person: Person, body: JSON) -> JSON:
    view = _open_view(person, _text(body, "view"))
    return {"options": await person.suggestions(view, _text(body, "action_id"), _text(body, "query"))}


async def _submit(person: Person, body: JSON) -> JSON:
    result = await person.submit(body["values"], _open_view(person, _text(body, "view")))
    sent = {"ms": result.milliseconds} if result.delivery else {}
    return {**sent, "errors": result.errors, "error": result.error}


async def _close(person: Person, body: JSON) -> JSON:
    await person.close(_open_view(person, _text(body, "view")))
    return {}


async def _shortcut(person: Person, body: JSON) -> JSON:
    if "ts" in body:
        return _told(
            await person.message_shortcut(
                _text(body, "callback_id"), _message(person, _text(body, "channel"), _text(body, "ts"))
            )
        )
    return _told(await person.global_shortcut(_text(body, "callback_id")))


async def _react(person: Person, body: JSON) -> JSON:
    """Add the reaction, or take it away when it is there."""
    message = _message(person, _text(body, "channel"), _text(body, "ts"))
    people = message.reactions.get(_text(body, "name"), [])
    if person.id not in people:
        await person.react(message, _text(body, "name"))
        return {}
    people.remove(person.id)
    if not people:
        del message.reactions[_text(body, "name")]
    person.slack.changed()
    return {}


async def _join(person: Person, body: JSON) -> JSON:
    await person.join(_text(body, "channel"))
    return {}


async def _dismiss(person: Person, body: JSON) -> JSON:
    """Take away a message that only this person sees."""
    message = _message(person, _text(body, "channel"), _text(body, "ts"))
    if message.ephemeral_to != person.id:
        raise NotPossible("gone")
    person.slack.delete(message)
    return {}


async def _home(person: Person, _body: JSON) -> JSON:
    try:
        await person.open_home(HOME_SECONDS)
    except TimeoutError:
        return {"error": "home_not_drawn"}
    return {}


ACTS: Mapping[str, Act] = {
    "command": _command,
    "say": _say,
    "press": _press,
    "choose": _choose,
    "suggest": _suggest,
    "submit": _submit,
    "close": _close,
    "shortcut": _shortcut,
    "react": _react,
    "join": _join,
    "dismiss": _dismiss,
    "home": _home,
}


def _text(body: JSON, name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _told(reply: Reply | None) -> JSON:
    return {"ms": reply.milliseconds, "error": reply.error} if reply else {}


def _message(person: Person, channel: str, ts: str) -> Message:
    return person.slack.message(channel, ts)


def _open_view(person: Person, id: str) -> View:
    for view in (person.view, person.home):
        if view and view.id == id:
            return view
    raise NotPossible("gone")


def _surface(person: Person, body: JSON) -> Message | View:
    """The message or view that the body names. What stands in the view's fields is entered first, as Slack does it."""
    if "view" not in body:
        return _message(person, _text(body, "channel"), _text(body, "ts"))
    view = _open_view(person, _text(body, "view"))
    values: dict[str, Any] = body.get("values", {})
    fill_in(person.slack, view, values)
    return view
