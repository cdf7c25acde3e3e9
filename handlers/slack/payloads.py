"""The fields of Slack's payloads that handlers need, and what a person can read of a message.

Source: Slack's reference, "Interaction payloads".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.domain.errors import BadInput
from bot.signature import unescape_slack

MOST_DIGITS = 12
Name = Annotated[str, Field(min_length=1, max_length=255)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Id(_Payload):
    id: Name


class Command(_Payload):
    command: Name
    user_id: Name
    channel_id: Name
    text: str = ""


class _Action(_Payload):
    action_id: Name
    value: str = ""


class Actions(_Payload):
    user: _Id
    actions: Annotated[list[_Action], Field(min_length=1)]


class _Option(_Payload):
    value: str


class _Field(_Payload):
    value: str | None = None
    selected_date: str | None = None
    selected_option: _Option | None = None
    selected_options: list[_Option] | None = None


class _State(_Payload):
    values: dict[str, dict[str, _Field]]


class _View(_Id):
    type: Name
    callback_id: Name
    private_metadata: str = ""
    state: _State


class Submission(_Payload):
    user: _Id
    view: _View


class Shortcut(_Payload):
    user: _Id
    callback_id: Name
    trigger_id: Name


class _Message(_Payload):
    ts: Name


class MessageShortcut(Shortcut):
    channel: _Id
    message: _Message


class _Item(_Payload):
    type: Name
    channel: Name = "-"
    ts: Name = "-"


class _Reaction(_Payload):
    user: Name
    reaction: Name
    item: _Item


class _Opened(_Payload):
    user: Name


class _Joined(_Payload):
    user: Name
    channel: Name


class Event(_Payload):
    event_id: Name
    event: dict[str, Any]


_BY_TYPE: dict[str, type[_Payload]] = {
    "block_actions": Actions,
    "view_submission": Submission,
    "shortcut": Shortcut,
    "message_action": MessageShortcut,
    "event_callback": Event,
}
_EVENTS: dict[str, type[_Payload]] = {
    "reaction_added": _Reaction,
    "app_home_opened": _Opened,
    "member_joined_channel": _Joined,
}


def validate_payload(body: Any) -> None:
    """Raise BadInput with the first missing or invalid field; payloads without a handler are accepted."""
    if not isinstance(body, dict):
        raise BadInput("webhook_wrong", where="body", why="is not an object")
    try:
        kind = Command if "command" in body else _BY_TYPE.get(str(body.get("type")))
        if kind:
            kind.model_validate(body)
        if kind is Event and (event := _EVENTS.get(str(body["event"].get("type")))):
            event.model_validate(body["event"])
    except ValidationError as mistakes:
        first = mistakes.errors(include_input=False, include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise BadInput("webhook_wrong", where=location or "body", why=first["msg"]) from None


def whole_number(text: str) -> int:
    """Return a number that the bot wrote into a button, or that a form's own check let through. Raises BadInput."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise BadInput("malformed_request")
    return int(text)


# What a person can read of a message.

_INLINE = {"link": "url", "emoji": "name", "user": "user_id", "usergroup": "usergroup_id", "channel": "channel_id"}


def readable_text(message: Mapping[str, Any]) -> str:
    """Return the text, or that of the blocks, then attachments and the titles of files, one a line, each once.

    Integrations such as Alertmanager and PagerDuty post attachments without a text.
    """
    lines = list(_own_text(message))
    for attachment in _objects(message.get("attachments")):
        lines += _of_attachment(attachment)
    for file in _objects(message.get("files")):
        lines.append(str(file.get("title") or file.get("name") or ""))
    return unescape_slack("\n".join(dict.fromkeys(line.strip() for line in lines if line.strip())))


def author(message: Mapping[str, Any]) -> str:
    """Return the user id of who wrote the message, or the name of the app."""
    profiles = [profile.get("name") for profile in _objects([message.get("bot_profile")])]
    return str(next(filter(None, (message.get("user"), message.get("username"), *profiles)), "bot"))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of what should be a list of them."""
    yield from (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else ()


def _own_text(message: Mapping[str, Any]) -> Iterator[str]:
    if text := str(message.get("text") or ""):
        yield text
    else:
        yield from _of_blocks(message.get("blocks") or [])


def _of_attachment(attachment: Mapping[str, Any]) -> Iterator[str]:
    texts = [str(attachment.get(name) or "") for name in ("pretext", "author_name", "title", "text")]
    for field in _objects(attachment.get("fields")):
        texts.append(": ".join(filter(None, (str(field.get("title") or ""), str(field.get("value") or "")))))
    texts += _of_blocks(attachment.get("blocks") or [])
    yield from texts if any(texts) else [str(attachment.get("fallback") or "")]


def _of_blocks(node: Any) -> Iterator[str]:
    """Yield the texts in reading order; a rich text's parts of a line together."""
    if isinstance(node, list):
        for child in node:
            yield from _of_blocks(child)
    elif isinstance(node, dict):
        if node.get("type") == "button":
            return
        if str(node.get("type", "")).startswith("rich_text_") and node.get("type") != "rich_text_list":
            yield "".join(str(part.get("text") or part.get(_INLINE.get(str(part.get("type")), "text")) or "")
                          for part in _objects(node.get("elements")))  # fmt: skip
        elif isinstance(node.get("text"), str):
            yield node["text"]
        else:
            for child in node.values():
                yield from _of_blocks(child)
