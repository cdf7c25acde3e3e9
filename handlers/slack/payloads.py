"""The fields of Slack's payloads that handlers need. Source: Slack's reference, "Interaction payloads"."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.domain.errors import BadInput

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
