"""The console over HTTP, below `/console`: the page, what it shows, and what a person does on it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from sandbox import yaml_file
from sandbox.console.screen import changes, screen, stream
from sandbox.console.strip import Strip
from sandbox.console.text import parse_markdown
from sandbox.shipped import SHIPPED
from sandbox.slack.backend import Slack
from sandbox.slack.person import Person, Reply, fill_in
from sandbox.slack.state import JSON, Message, SlackError, View

STATIC = Path(__file__).with_name("static")
MANIFEST = SHIPPED / "app.yaml"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "img-src 'self' data: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# A file is somebody else's: whatever it holds, it runs nothing, loads nothing, and is of no origin.
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
FRESH = {"Cache-Control": "no-cache"}  # the modules of two versions must never be mixed
HOME_SECONDS = 3.0
Endpoint = Callable[[Request], Awaitable[Response]]
Action = Callable[[Person, JSON], Awaitable[JSON]]


def routes(slack: Slack, strip: Strip) -> list[BaseRoute]:
    """Return the routes: the page, its static files, and `api/…`. `as` in the query or the body is a person's handle.

    Only JSON from the page itself is accepted: another site that a person has open cannot act for them.
    """

    async def page(_request: Request) -> Response:
        headers = {
            "Content-Security-Policy": PAGE_POLICY,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return FileResponse(STATIC / "index.html", headers=headers)

    async def about(_request: Request) -> Response:
        people = [
            {"id": p.slack, "handle": p.handle, "name": p.name, "title": p.title, "locale": p.locale}
            for p in slack.company.people
        ]
        return JSONResponse({"workspace": slack.company.workspace.name, "people": people, **offered()})

    async def state(request: Request) -> Response:
        patch, _ = changes({}, screen(slack, _find_person(slack, request.query_params.get("as", "")).id))
        return JSONResponse(patch)

    async def live(request: Request) -> Response:
        me = _find_person(slack, request.query_params.get("as", "")).id
        request.scope.setdefault("state", {})["endless"] = True
        return StreamingResponse(
            stream(slack, me), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def action(request: Request) -> Response:
        name = request.path_params["act"]
        if name not in ACTIONS:
            raise ActionFailed("unknown_act", 404)
        body = await _json_body(request)
        return JSONResponse(await perform(_find_person(slack, body.get("as", "")), name, body))

    async def world(request: Request) -> Response:
        if request.method == "POST":
            body = await _json_body(request)
            strip.do(str(body.get("do")), float(body.get("speed", 1)))
        return JSONResponse(strip.as_json())

    async def file(request: Request) -> Response:
        stored = slack.files.get(request.path_params["id"])
        if stored is None or stored.content is None:
            raise ActionFailed("file_not_found", 404)
        if request.query_params.get("as") == "tree":
            return JSONResponse(parse_markdown(stored.content.decode("utf-8", "replace"), document=True))
        html = stored.name.lower().endswith((".html", ".htm"))
        kind = "text/html" if html else stored.mimetype
        headers = {"Content-Security-Policy": FILE_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(stored.content, media_type=kind, headers=headers)

    return [
        Route("/", page),
        Route("/api/about", about),
        Route("/api/state", _with_errors(state)),
        Route("/api/stream", _with_errors(live)),
        Route("/api/world", _with_errors(world), methods=["GET", "POST"]),
        Route("/api/file/{id}", _with_errors(file)),
        Route("/api/{act}", _with_errors(action), methods=["POST"]),
        Mount("/static", _Static(directory=STATIC)),
    ]


def _with_errors(endpoint: Endpoint) -> Endpoint:
    """Wrap the endpoint: errors are answered as `{"error": key}`."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ActionFailed as error:
            return JSONResponse({"error": error.key}, error.status)
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": "bad_request", "detail": str(error)}, 400)

    return answer


def _find_person(slack: Slack, handle: object) -> Person:
    """Return a person of the company, not the bot or Slackbot."""
    for person in slack.company.people:
        if person.handle == handle:
            return Person(slack, person.slack)
    raise ActionFailed("unknown_person", 404)


async def _json_body(request: Request) -> JSON:
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if foreign or request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ActionFailed("not_from_this_page", 403)
    body: Any = json.loads(await request.body())
    if not isinstance(body, dict):
        raise ValueError("the body is no object")
    return body


class _Static(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(FRESH)
        return response


def offered() -> JSON:
    """Return the manifest's `commands` (command, hint, description) and `shortcuts`, both empty without a manifest."""
    if not MANIFEST.is_file():
        return {"commands": [], "shortcuts": []}
    features = yaml_file.read(MANIFEST).get("features", {})
    return {
        "commands": [
            {
                "command": command["command"],
                "hint": command.get("usage_hint", ""),
                "description": command.get("description", ""),
            }
            for command in features.get("slash_commands", [])
        ],
        "shortcuts": [
            {key: shortcut.get(key, "") for key in ("name", "type", "callback_id", "description")}
            for shortcut in features.get("shortcuts", [])
        ],
    }


# What a person does on the page, with the same `Person` that the scripted responder and the tests use.


class ActionFailed(Exception):
    """An action that is not possible: `key` is one of the page's words or Slack's error code, `status` HTTP's."""

    def __init__(self, key: str, status: int = 409) -> None:
        super().__init__(key)
        self.key = key
        self.status = status


async def perform(person: Person, name: str, body: JSON) -> JSON:
    """Do an action. If it reaches the bot, the result has `ms` until its acknowledgement and `error`, Slack's code.

    Raises KeyError or TypeError for an invalid body, ActionFailed when what it names does not exist (any more).
    """
    try:
        return await ACTIONS[name](person, body)
    except SlackError as error:
        raise ActionFailed(error.code) from error
    except PermissionError as error:
        raise ActionFailed("not_in_channel") from error
    except LookupError as error:
        if isinstance(error, KeyError):
            raise
        raise ActionFailed("gone") from error


async def _command(person: Person, body: JSON) -> JSON:
    return _reply_json(await person.run(_text_field(body, "text"), _text_field(body, "channel")))


async def _say(person: Person, body: JSON) -> JSON:
    thread = _find_message(person, body, "thread_ts") if body.get("thread_ts") else None
    message = await person.say(_text_field(body, "channel"), _text_field(body, "text"), thread=thread)
    return {"ts": message.ts}


async def _press(person: Person, body: JSON) -> JSON:
    return _reply_json(await person.press(_surface(person, body), _text_field(body, "action_id"), body.get("value")))


async def _choose(person: Person, body: JSON) -> JSON:
    return _reply_json(await person.choose(_surface(person, body), _text_field(body, "action_id"), body["value"]))


async def _suggest(person: Person, body: JSON) -> JSON:
    view = _open_view(person, _text_field(body, "view"))
    return {"options": await person.suggestions(view, _text_field(body, "action_id"), _text_field(body, "query"))}


async def _submit(person: Person, body: JSON) -> JSON:
    result = await person.submit(body["values"], _open_view(person, _text_field(body, "view")))
    sent = {"ms": result.milliseconds} if result.delivery else {}
    return {**sent, "errors": result.errors, "error": result.error}


async def _close(person: Person, body: JSON) -> JSON:
    await person.close(_open_view(person, _text_field(body, "view")))
    return {}


async def _shortcut(person: Person, body: JSON) -> JSON:
    if "ts" in body:
        reply = await person.message_shortcut(_text_field(body, "callback_id"), _find_message(person, body))
        return _reply_json(reply)
    return _reply_json(await person.global_shortcut(_text_field(body, "callback_id")))


async def _react(person: Person, body: JSON) -> JSON:
    """Add the reaction, or remove it."""
    message = _find_message(person, body)
    people = message.reactions.get(_text_field(body, "name"), [])
    if person.id not in people:
        await person.react(message, _text_field(body, "name"))
        return {}
    people.remove(person.id)
    if not people:
        del message.reactions[_text_field(body, "name")]
    person.slack.changed()
    return {}


async def _join(person: Person, body: JSON) -> JSON:
    await person.join(_text_field(body, "channel"))
    return {}


async def _dismiss(person: Person, body: JSON) -> JSON:
    """Remove a message that only this person sees."""
    message = _find_message(person, body)
    if message.ephemeral_to != person.id:
        raise ActionFailed("gone")
    person.slack.delete(message)
    return {}


async def _home(person: Person, _body: JSON) -> JSON:
    try:
        await person.open_home(HOME_SECONDS)
    except TimeoutError:
        return {"error": "home_not_drawn"}
    return {}


ACTIONS: Mapping[str, Action] = {
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


def _text_field(body: JSON, name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _reply_json(reply: Reply | None) -> JSON:
    return {"ms": reply.milliseconds, "error": reply.error} if reply else {}


def _find_message(person: Person, body: JSON, field: str = "ts") -> Message:
    return person.slack.message(_text_field(body, "channel"), _text_field(body, field))


def _open_view(person: Person, id: str) -> View:
    for view in (person.view, person.home):
        if view and view.id == id:
            return view
    raise ActionFailed("gone")


def _surface(person: Person, body: JSON) -> Message | View:
    """Return the message or view of the body. The view's fields are filled in first, as in Slack."""
    if "view" not in body:
        return _find_message(person, body)
    view = _open_view(person, _text_field(body, "view"))
    values: dict[str, Any] = body.get("values", {})
    fill_in(person.slack, view, values)
    return view
