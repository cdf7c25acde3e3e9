"""Block Kit's composition objects and elements as tables, with Slack's documented limits.

https://docs.slack.dev/reference/block-kit/block-elements
"""

from __future__ import annotations

from sandbox.slack.checks import (
    Check,
    Problems,
    Shape,
    anything,
    array,
    boolean,
    choice,
    integer,
    report,
    string,
    typed,
)
from sandbox.slack.state import JSON

Checks = dict[str, Check]

TYPE: Checks = {"type": anything}


def text(most: int, *types: str) -> Check:
    """A text object of at most `most` characters; plain_text only when no type is named."""
    shapes = {
        "plain_text": Shape({**TYPE, "text": string(most)}, {"emoji": boolean}),
        "mrkdwn": Shape({**TYPE, "text": string(most)}, {"verbatim": boolean}),
    }
    return typed(shapes, *(types or ("plain_text",)))


def any_text(most: int) -> Check:
    return text(most, "plain_text", "mrkdwn")


# composition objects

CONFIRM = Shape(
    {"text": any_text(300)},
    {"title": text(100), "confirm": text(30), "deny": text(30), "style": choice("primary", "danger")},
)


def option(*, rich: bool = False, url: bool = False) -> Shape:
    """`rich` options (checkboxes, radio buttons) may be mrkdwn; only those of an overflow menu have a `url`."""
    words = any_text(75) if rich else text(75)
    optional: Checks = {"description": words}
    if url:
        optional["url"] = string(3000)
    return Shape({"text": words, "value": string(150)}, optional)


GROUP = Shape({"label": text(75), "options": array(option(), 1, 100)})
FILE = Shape({}, {"id": string(255), "url": string(3000)}, one_of=("id", "url"))
DISPATCH = Shape({}, {"trigger_actions_on": array(choice("on_enter_pressed", "on_character_entered"), 1, 2)})
FILTER = Shape(
    {},
    {
        "include": array(choice("im", "mpim", "private", "public"), 1, 4),
        "exclude_external_shared_channels": boolean,
        "exclude_bot_users": boolean,
    },
)


def _initial_is_offered(element: JSON, path: str, problems: Problems) -> None:
    """What is chosen at the start must be one of the options, as it stands there."""
    groups = element.get("option_groups") or [element]
    offered = [_bare(option) for group in groups for option in group["options"]]
    initial = element.get("initial_options") or [element.get("initial_option")]
    if any(option is not None and _bare(option) not in offered for option in initial):
        report(problems, "initial option must be one of the options", path)


def _bare(option: JSON) -> tuple[str, str]:
    return option["value"], option["text"]["text"]


def _lengths_fit(element: JSON, path: str, problems: Problems) -> None:
    if (element.get("min_length") or 0) > (element.get("max_length") or 3000):
        report(problems, "min_length must be less than or equal to max_length", path)


# elements

ACTION: Checks = {"action_id": string(255)}
CONFIRMED: Checks = {**ACTION, "confirm": CONFIRM}
FOCUSED: Checks = {**CONFIRMED, "focus_on_load": boolean}
SELECT: Checks = {**FOCUSED, "placeholder": text(150)}
INPUT: Checks = {
    **ACTION,
    "focus_on_load": boolean,
    "placeholder": text(150),
    "dispatch_action_config": DISPATCH,
    "initial_value": string(3000, least=0),
}
STATIC: Checks = {**SELECT, "options": array(option(), 1, 100), "option_groups": array(GROUP, 1, 100)}
MULTI: Checks = {"max_selected_items": integer(1, 10_000)}
IDS = array(string(255), 0, 1000)


def _choices(most: int, initial: str) -> Shape:
    rich = option(rich=True)
    first = rich if initial == "initial_option" else array(rich, 1, most)
    return Shape({**TYPE, "options": array(rich, 1, most)}, {**FOCUSED, initial: first}, rules=(_initial_is_offered,))


IMAGE: Checks = {
    "image_url": string(3000, pattern=r"https?://\S+"),
    "slack_file": FILE,
    "image_width": anything,
    "image_height": anything,
    "image_bytes": anything,
}

ELEMENTS: dict[str, Shape] = {
    "button": Shape(
        {**TYPE, "text": text(75)},
        {
            **CONFIRMED,
            "url": string(3000),
            "value": string(2000),
            "style": choice("primary", "danger"),
            "accessibility_label": string(75),
        },
    ),
    "checkboxes": _choices(10, "initial_options"),
    "radio_buttons": _choices(10, "initial_option"),
    "overflow": Shape({**TYPE, "options": array(option(url=True), 2, 5)}, CONFIRMED),
    "datepicker": Shape(TYPE, {**SELECT, "initial_date": string(10, pattern=r"\d{4}-\d{2}-\d{2}")}),
    "timepicker": Shape(
        TYPE,
        {**SELECT, "initial_time": string(5, pattern=r"([01]\d|2[0-3]):[0-5]\d"), "timezone": string(255)},
    ),
    "datetimepicker": Shape(TYPE, {**FOCUSED, "initial_date_time": integer(1_000_000_000, 9_999_999_999)}),
    "static_select": Shape(
        TYPE,
        {**STATIC, "initial_option": option()},
        one_of=("options", "option_groups"),
        rules=(_initial_is_offered,),
    ),
    "multi_static_select": Shape(
        TYPE,
        {**STATIC, **MULTI, "initial_options": array(option(), 0, 100)},
        one_of=("options", "option_groups"),
        rules=(_initial_is_offered,),
    ),
    "external_select": Shape(TYPE, {**SELECT, "initial_option": option(), "min_query_length": integer(0, 100)}),
    "multi_external_select": Shape(
        TYPE,
        {**SELECT, **MULTI, "initial_options": array(option(), 0, 100), "min_query_length": integer(0, 100)},
    ),
    "users_select": Shape(TYPE, {**SELECT, "initial_user": string(255)}),
    "multi_users_select": Shape(TYPE, {**SELECT, **MULTI, "initial_users": IDS}),
    "channels_select": Shape(TYPE, {**SELECT, "initial_channel": string(255), "response_url_enabled": boolean}),
    "multi_channels_select": Shape(TYPE, {**SELECT, **MULTI, "initial_channels": IDS}),
    "conversations_select": Shape(
        TYPE,
        {
            **SELECT,
            "initial_conversation": string(255),
            "default_to_current_conversation": boolean,
            "response_url_enabled": boolean,
            "filter": FILTER,
        },
    ),
    "multi_conversations_select": Shape(
        TYPE,
        {
            **SELECT,
            **MULTI,
            "initial_conversations": IDS,
            "default_to_current_conversation": boolean,
            "filter": FILTER,
        },
    ),
    "plain_text_input": Shape(
        TYPE,
        {**INPUT, "multiline": boolean, "min_length": integer(0, 3000), "max_length": integer(1, 3000)},
        rules=(_lengths_fit,),
    ),
    "email_text_input": Shape(TYPE, INPUT),
    "url_text_input": Shape(TYPE, INPUT),
    "number_input": Shape(
        {**TYPE, "is_decimal_allowed": boolean}, {**INPUT, "min_value": string(50), "max_value": string(50)}
    ),
    "rich_text_input": Shape(TYPE, {**INPUT, "initial_value": anything}),
    "file_input": Shape(TYPE, {**ACTION, "filetypes": array(string(50), 1, 100), "max_files": integer(1, 10)}),
    "image": Shape({**TYPE, "alt_text": string(2000)}, IMAGE, one_of=("image_url", "slack_file")),
}
