"""What a person enters into an element: its state in the JSON of Slack, and what Slack's app refuses to submit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sandbox.slack.state import JSON

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

WRITTEN = ("plain_text_input", "email_text_input", "url_text_input", "number_input")
CHOSEN = ("static_select", "external_select", "radio_buttons", "overflow")
MANY_CHOSEN = ("multi_static_select", "multi_external_select", "checkboxes")
PICKED = {  # element type → (key of the state, key of the element's initial value)
    "users_select": ("selected_user", "initial_user"),
    "channels_select": ("selected_channel", "initial_channel"),
    "conversations_select": ("selected_conversation", "initial_conversation"),
    "multi_users_select": ("selected_users", "initial_users"),
    "multi_channels_select": ("selected_channels", "initial_channels"),
    "multi_conversations_select": ("selected_conversations", "initial_conversations"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
    "datetimepicker": ("selected_date_time", "initial_date_time"),
    "rich_text_input": ("rich_text_value", "initial_value"),
}


class NotOffered(LookupError):
    """The person cannot enter this: the element does not offer it."""


def state_of(slack: Slack, element: JSON, value: Any) -> JSON:
    """The element's state after the person has entered `value`; None empties it.

    Options are named by value or by text, people by handle, channels by name, or by id. NotOffered otherwise.
    """
    kind = element["type"]
    if kind in WRITTEN:
        return {"type": kind, "value": None if value in (None, "") else str(value)}
    if kind in CHOSEN:
        return {"type": kind, "selected_option": None if value is None else option_of(element, value)}
    if kind in MANY_CHOSEN:
        return {"type": kind, "selected_options": [option_of(element, each) for each in _list(value)]}
    if kind not in PICKED:
        raise NotOffered(f"nothing can be entered into a {kind}")
    key, _ = PICKED[kind]
    if kind.startswith("multi_"):
        return {"type": kind, key: [_id(slack, kind, each) for each in _list(value)]}
    return {"type": kind, key: None if value is None else _id(slack, kind, value)}


def initial_state(element: JSON) -> JSON:
    """The element's state before the person has touched it."""
    kind = element["type"]
    if kind in WRITTEN:
        return {"type": kind, "value": element.get("initial_value")}
    if kind in CHOSEN:
        return {"type": kind, "selected_option": element.get("initial_option")}
    if kind in MANY_CHOSEN:
        return {"type": kind, "selected_options": element.get("initial_options", [])}
    key, initial = PICKED[kind]
    return {"type": kind, key: element.get(initial, [] if kind.startswith("multi_") else None)}


def has_state(element: JSON) -> bool:
    kind = element["type"]
    return kind != "overflow" and (kind in PICKED or kind in WRITTEN or kind in CHOSEN or kind in MANY_CHOSEN)


def entered(state: JSON) -> Any:
    """The value in a state; None or empty when nothing was entered."""
    return next((value for key, value in state.items() if key != "type"), None)


def refusal(element: JSON, state: JSON, *, optional: bool) -> str | None:
    """What Slack's own app says instead of submitting; None when it submits."""
    value = entered(state)
    if value in (None, "", []):
        return None if optional else "Please complete this required field."
    kind = element["type"]
    if kind == "plain_text_input":
        least, most = element.get("min_length", 0), element.get("max_length", 3000)
        if not least <= len(value) <= most:
            return f"Must be between {least} and {most} characters."
    elif kind == "number_input":
        return _number_refusal(element, value)
    elif kind == "url_text_input" and not re.fullmatch(r"https?://\S+", value):
        return "Please enter a valid URL."
    elif kind == "email_text_input" and not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        return "Please enter a valid email address."
    elif kind.startswith("multi_") and len(value) > element.get("max_selected_items", len(value)):
        return f"Please choose at most {element['max_selected_items']}."
    return None


def option_of(element: JSON, wanted: Any) -> JSON:
    """The option with this value or this text. NotOffered when there is none."""
    options = options_of(element)
    if element["type"].endswith("external_select") and isinstance(wanted, dict):
        return wanted
    for key in ("value", "text"):
        for option in options:
            if (option["text"]["text"] if key == "text" else option.get("value")) == wanted:
                return option
    offered = [option.get("value") for option in options]
    raise NotOffered(f"{wanted!r} is not among {offered}")


def options_of(element: JSON) -> list[JSON]:
    groups: Iterable[JSON] = element.get("option_groups") or [element]
    return [option for group in groups for option in group.get("options", [])]


def _number_refusal(element: JSON, value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return "Please enter a number."
    if not element["is_decimal_allowed"] and number != int(number):
        return "Please enter a whole number."
    if number < float(element.get("min_value", "-inf")) or number > float(element.get("max_value", "inf")):
        return f"Must be between {element.get('min_value')} and {element.get('max_value')}."
    return None


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _id(slack: Slack, kind: str, value: Any) -> Any:
    if "users" in kind:
        return slack.user(str(value)).id
    if "channels" in kind or "conversations" in kind:
        return slack.channel(str(value)).id
    if kind == "datepicker":
        datetime.strptime(value, "%Y-%m-%d")  # noqa: DTZ007 - a date has no zone
    if kind == "timepicker":
        datetime.strptime(value, "%H:%M")  # noqa: DTZ007
    return value
