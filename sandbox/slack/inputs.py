"""The state of an element of a form: what a person may enter, and what Slack's app does not submit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sandbox.slack.state import JSON, Workspace

TEXT_INPUTS = ("plain_text_input", "email_text_input", "url_text_input", "number_input")
CHOICES = ("static_select", "external_select", "radio_buttons", "overflow")
MULTI_CHOICES = ("multi_static_select", "multi_external_select", "checkboxes")
PICKERS = {  # element type → (key of the state, key of the element's initial value)
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
    """The element does not offer this value."""


def state_of(workspace: Workspace, element: JSON, value: Any) -> JSON:
    """Return the element's state after `value` was entered; None empties it.

    Options are given by value or text, people by handle or id, channels by name or id. Raises NotOffered.
    """
    kind = element["type"]
    if kind in TEXT_INPUTS:
        return {"type": kind, "value": None if value in (None, "") else str(value)}
    if kind in CHOICES:
        return {"type": kind, "selected_option": None if value is None else option_of(element, value)}
    if kind in MULTI_CHOICES:
        return {"type": kind, "selected_options": [option_of(element, item) for item in _list(value)]}
    if kind not in PICKERS:
        raise NotOffered(f"there is no input in a {kind}")
    key, _ = PICKERS[kind]
    if kind.startswith("multi_"):
        return {"type": kind, key: [_id(workspace, kind, item) for item in _list(value)]}
    return {"type": kind, key: None if value is None else _id(workspace, kind, value)}


def initial_state(element: JSON) -> JSON:
    """Return the element's state before anything is entered."""
    kind = element["type"]
    if kind in TEXT_INPUTS:
        return {"type": kind, "value": element.get("initial_value")}
    if kind in CHOICES:
        return {"type": kind, "selected_option": element.get("initial_option")}
    if kind in MULTI_CHOICES:
        return {"type": kind, "selected_options": element.get("initial_options", [])}
    key, initial = PICKERS[kind]
    return {"type": kind, key: element.get(initial, [] if kind.startswith("multi_") else None)}


def has_state(element: JSON) -> bool:
    kind = element["type"]
    return kind != "overflow" and (kind in PICKERS or kind in TEXT_INPUTS or kind in CHOICES or kind in MULTI_CHOICES)


def entered_value(state: JSON) -> Any:
    """Return the value of a state; None or empty when nothing was entered."""
    return next((value for key, value in state.items() if key != "type"), None)


def refusal(element: JSON, state: JSON, *, optional: bool) -> str | None:
    """Return the message that Slack's app shows instead of submitting; None when it submits."""
    value = entered_value(state)
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


def option_of(element: JSON, value: Any) -> JSON:
    """Return the option with this value or text. Raises NotOffered."""
    options = options_of(element)
    if element["type"].endswith("external_select") and isinstance(value, dict):
        return value
    for key in ("value", "text"):
        for option in options:
            if (option["text"]["text"] if key == "text" else option.get("value")) == value:
                return option
    offered = [option.get("value") for option in options]
    raise NotOffered(f"{value!r} is not among {offered}")


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


def _id(workspace: Workspace, kind: str, value: Any) -> Any:
    if "users" in kind:
        return workspace.user(str(value)).id
    if "channels" in kind or "conversations" in kind:
        return workspace.channel(str(value)).id
    if kind == "datepicker":
        datetime.strptime(value, "%Y-%m-%d")  # noqa: DTZ007 - a date has no zone
    if kind == "timepicker":
        datetime.strptime(value, "%H:%M")  # noqa: DTZ007
    return value
