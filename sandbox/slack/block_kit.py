"""Block Kit: the checks of messages, modals and App Homes. Our tables first, then slack_sdk's own models.

The limits are Slack's documented ones, the messages those of its `response_metadata.messages`. Blocks that this project
does not use (card, carousel, plan, …) are not listed and therefore refused as unsupported.

https://docs.slack.dev/reference/block-kit/blocks
https://docs.slack.dev/reference/block-kit/block-elements
"""

from __future__ import annotations

import copy
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from sandbox.slack.state import JSON, SlackError, elements, walk

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
TEXT_LENGTH = 40_000
BLOCKS_LENGTH = 12_000  # all text in the blocks of one message, see github.com/slackapi/bolt-js/issues/2509
VIEW_BYTES = 250_000
METADATA_BYTES = 16_000

Problems = list[str]
Check = Callable[[Any, str, Problems], None]
Checks = dict[str, Check]


def check_message(body: JSON, limit: int | None = None) -> None:
    """Check `text`, `blocks`, `attachments` and `metadata` of a message; `limit` is for all text in the blocks.

    Raises SlackError no_text, msg_too_long, msg_blocks_too_long, invalid_blocks, invalid_blocks_format,
    invalid_attachments, too_many_attachments, invalid_metadata_format, metadata_too_large.
    """
    blocks, attachments = body.get("blocks"), body.get("attachments")
    for name, value in (("blocks", blocks), ("attachments", attachments)):
        if value is not None and not isinstance(value, list):
            raise SlackError(f"invalid_{name}_format" if name == "blocks" else "invalid_attachments")
    text = body.get("text") or ""
    if not isinstance(text, str) or not (text.strip() or blocks or attachments):
        raise SlackError("no_text")
    if len(text) > TEXT_LENGTH:
        raise SlackError("msg_too_long")
    problems = block_problems(blocks, "message") if blocks else []
    for index, attachment in enumerate(attachments or []):
        if not isinstance(attachment, dict):
            raise SlackError("invalid_attachments")
        inside = attachment.get("blocks")
        problems += block_problems(inside, "message", f"/attachments/{index}/blocks") if inside else []
    if problems:
        raise SlackError("invalid_blocks", *problems)
    if limit and sum(len(node["text"]) for node in walk(blocks) if isinstance(node.get("text"), str)) > limit:
        raise SlackError("msg_blocks_too_long")
    if len(attachments or []) > 100:
        raise SlackError("too_many_attachments")
    check_metadata(body.get("metadata"))


def check_metadata(metadata: Any) -> None:
    """Check metadata: https://docs.slack.dev/messaging/message-metadata"""
    if metadata is None or metadata == {}:
        return
    problems: Problems = []
    METADATA(metadata, "/metadata", problems)
    if problems or not isinstance(metadata["event_payload"], dict):
        raise SlackError("invalid_metadata_format", *problems)
    if len(json.dumps(metadata)) > METADATA_BYTES:
        raise SlackError("metadata_too_large")


def check_view(view: Any, kind: str) -> None:
    """Check a view. Raises SlackError invalid_arguments, view_too_large."""
    if isinstance(view, dict) and view.get("type") != kind:
        raise SlackError("invalid_arguments", f"[ERROR] must be of type {kind} [json-pointer:/view/type]")
    if problems := view_problems(view):
        raise SlackError("invalid_arguments", *problems)
    if len(json.dumps(view)) > VIEW_BYTES:
        raise SlackError("view_too_large")


def block_problems(blocks: Any, surface: str, path: str = "/blocks") -> Problems:
    """Return Slack's errors about these blocks on a `message`, `modal` or `home`; empty when it accepts them."""
    problems: Problems = []
    most = MESSAGE_BLOCKS if surface == "message" else VIEW_BLOCKS
    array(typed(BLOCKS, *ON_SURFACE[surface]), 0, most)(blocks, path, problems)
    if not problems:
        _check_unique(blocks, path, problems)
        _check_with_sdk(blocks, path, problems)
    return problems


def view_problems(view: Any) -> Problems:
    problems: Problems = []
    if not isinstance(view, dict) or view.get("type") not in ("modal", "home"):
        return ["[ERROR] unsupported type [json-pointer:/view/type]"]
    (MODAL if view["type"] == "modal" else HOME)(view, "/view", problems)
    problems += block_problems(view.get("blocks"), view["type"], "/view/blocks")
    needs_submit = not problems and view["type"] == "modal" and not view.get("submit")
    if needs_submit and any(block["type"] == "input" for block in view["blocks"]):
        report(problems, "a submit button is required when there is an input block", "/view/submit")
    return problems


def _check_unique(blocks: list[JSON], path: str, problems: Problems) -> None:
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    for repeated in sorted({id for id in ids if ids.count(id) > 1}):
        report(problems, f"`block_id` already exists: {repeated}", path)
    for index, block in enumerate(blocks):
        actions = [element["action_id"] for _, element in elements([block])]
        for repeated in sorted({id for id in actions if actions.count(id) > 1}):
            report(problems, f"`action_id` already exists: {repeated}", f"{path}/{index}")
    if sum(node.get("focus_on_load") is True for node in walk(blocks)) > 1:
        report(problems, "only one element may have focus_on_load", path)


def _check_with_sdk(blocks: list[JSON], path: str, problems: Problems) -> None:
    """Check the blocks with slack_sdk's models, which may have limits that the tables lack."""
    for index, block in enumerate(blocks):
        try:
            parsed = Block.parse(block)
            if parsed is not None:
                parsed.validate_json()
        except (SlackObjectFormationError, TypeError, ValueError) as error:
            report(problems, str(error), f"{path}/{index}")


def with_ids(blocks: list[JSON]) -> list[JSON]:
    """Return a copy in which every block has a block_id and every interactive element an action_id, as at Slack."""
    blocks = copy.deepcopy(blocks)
    for block in blocks:
        if not block.get("block_id"):
            block["block_id"] = secrets.token_urlsafe(3)
        for element in [*block.get("elements", []), block.get("accessory"), block.get("element")]:
            if _is_interactive(block, element) and not element.get("action_id"):
                element["action_id"] = secrets.token_urlsafe(3)
    return blocks


def _is_interactive(block: JSON, element: Any) -> bool:
    if not isinstance(element, dict) or block["type"] not in ("actions", "section", "input"):
        return False
    return element.get("type") != "image"


# Checks of JSON values, of which the tables are made; each adds its problems to a list.


def report(problems: Problems, message: str, path: str) -> None:
    problems.append(f"[ERROR] {message} [json-pointer:{path}]")


def string(most: int, least: int = 1, pattern: str = "") -> Check:
    """Return a check for a string of `least` to `most` characters that matches `pattern`."""

    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, str):
            report(problems, "must provide a string", path)
        elif len(value) < least:
            report(problems, f"must be more than {least - 1} characters", path)
        elif len(value) > most:
            report(problems, f"must be less than {most + 1} characters", path)
        elif pattern and not re.fullmatch(pattern, value):
            report(problems, f"must match regexp: {pattern}", path)

    return check


def integer(least: int, most: int) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            report(problems, "must provide an integer", path)
        elif not least <= value <= most:
            report(problems, f"must be between {least} and {most}", path)

    return check


def boolean(value: Any, path: str, problems: Problems) -> None:
    if not isinstance(value, bool):
        report(problems, "must be a boolean", path)


def anything(_value: Any, _path: str, _problems: Problems) -> None:
    """Accept any value."""


def choice(*values: str) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if value not in values:
            report(problems, f"must be one of: {', '.join(values)}", path)

    return check


def array(item: Check, least: int, most: int) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, list):
            report(problems, "must provide an array", path)
            return
        if len(value) < least:
            report(problems, f"no fewer than {least} items allowed", path)
        if len(value) > most:
            report(problems, f"no more than {most} items allowed", path)
        for index, element in enumerate(value):
            item(element, f"{path}/{index}", problems)

    return check


@dataclass(frozen=True)
class Shape:
    """A check for an object: required keys, optional keys, keys of which just one must be there.

    The further rules run when all of that is right.
    """

    required: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()
    rules: tuple[Callable[[JSON, str, Problems], None], ...] = ()

    def __call__(self, value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            report(problems, "must provide an object", path)
            return
        checks = {**self.required, **self.optional}
        before = len(problems)
        for key in self.required:
            if value.get(key) is None:
                report(problems, f"missing required field: {key}", path)
        for key, property in value.items():
            if key not in checks:
                report(problems, f"invalid additional property: {key}", path)
            elif property is not None:
                checks[key](property, f"{path}/{key}", problems)
        if self.one_of and sum(value.get(key) is not None for key in self.one_of) != 1:
            report(problems, f"must provide just one of: {', '.join(self.one_of)}", path)
        if len(problems) == before:
            for rule in self.rules:
                rule(value, path, problems)


def typed(shapes: Mapping[str, Shape], *types: str) -> Check:
    """Return a check for an object whose `type` names its shape; only `types` are allowed (all, when none)."""

    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            report(problems, "must provide an object", path)
            return
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in shapes or (types and kind not in types):
            report(problems, f"unsupported type: {kind}", f"{path}/type")
            return
        shapes[kind](value, path, problems)

    return check


# Composition objects and elements.

TYPE: Checks = {"type": anything}


def text(most: int, *types: str) -> Check:
    """Return a check for a text object of at most `most` characters; only plain_text when no type is named."""
    shapes = {
        "plain_text": Shape({**TYPE, "text": string(most)}, {"emoji": boolean}),
        "mrkdwn": Shape({**TYPE, "text": string(most)}, {"verbatim": boolean}),
    }
    return typed(shapes, *(types or ("plain_text",)))


def any_text(most: int) -> Check:
    return text(most, "plain_text", "mrkdwn")


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
    """The initial option must be one of the options."""
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


# Blocks, and the surfaces that may hold them.

PICKERS = (
    "checkboxes",
    "radio_buttons",
    "datepicker",
    "timepicker",
    *(
        f"{many}{kind}_select"
        for many in ("", "multi_")
        for kind in ("static", "external", "users", "channels", "conversations")
    ),
)
IN_SECTION = ("button", "overflow", "image", *PICKERS)
IN_ACTIONS = ("button", "overflow", "datetimepicker", "rich_text_input", *PICKERS)
IN_INPUT = (
    "plain_text_input",
    "email_text_input",
    "url_text_input",
    "number_input",
    "rich_text_input",
    "file_input",
    "datetimepicker",
    *PICKERS,
)
TEXTS = {
    kind: Shape({**TYPE, "text": string(3000)}, {extra: boolean})
    for kind, extra in (("plain_text", "emoji"), ("mrkdwn", "verbatim"))
}
RICH = typed(
    {
        kind: Shape({**TYPE, "elements": array(anything, 0, 1000)}, dict.fromkeys(keys, anything))
        for kind, keys in {
            "rich_text_section": (),
            "rich_text_list": ("style", "indent", "offset", "border"),
            "rich_text_preformatted": ("border", "language"),
            "rich_text_quote": ("border",),
        }.items()
    }
)
CELL = typed(
    {
        "raw_text": Shape({**TYPE, "text": string(3000)}),
        "rich_text": Shape({**TYPE, "elements": array(RICH, 1, 100)}, {"block_id": string(255)}),
    }
)

BLOCK: Checks = {"block_id": string(255)}


def _section_has_text(block: JSON, path: str, problems: Problems) -> None:
    if block.get("text") is None and block.get("fields") is None:
        report(problems, "must provide text or fields", path)


BLOCKS: dict[str, Shape] = {
    "actions": Shape({**TYPE, "elements": array(typed(ELEMENTS, *IN_ACTIONS), 1, 25)}, BLOCK),
    "context": Shape({**TYPE, "elements": array(typed({**TEXTS, "image": ELEMENTS["image"]}), 1, 10)}, BLOCK),
    "divider": Shape(TYPE, BLOCK),
    "file": Shape({**TYPE, "external_id": string(255), "source": choice("remote")}, BLOCK),
    "header": Shape({**TYPE, "text": text(150)}, BLOCK),
    "image": Shape(
        {**TYPE, "alt_text": string(2000)},
        {**BLOCK, **IMAGE, "title": text(2000)},
        one_of=("image_url", "slack_file"),
    ),
    "input": Shape(
        {**TYPE, "label": text(2000), "element": typed(ELEMENTS, *IN_INPUT)},
        {**BLOCK, "hint": text(2000), "optional": boolean, "dispatch_action": boolean},
    ),
    "markdown": Shape({**TYPE, "text": string(12_000)}, BLOCK),
    "rich_text": Shape({**TYPE, "elements": array(RICH, 1, 1000)}, BLOCK),
    "section": Shape(
        TYPE,
        {
            **BLOCK,
            "text": any_text(3000),
            "fields": array(any_text(2000), 1, 10),
            "accessory": typed(ELEMENTS, *IN_SECTION),
            "expand": boolean,
        },
        rules=(_section_has_text,),
    ),
    "table": Shape(
        {**TYPE, "rows": array(array(CELL, 1, 20), 1, 100)},
        {**BLOCK, "column_settings": array(anything, 0, 20)},
    ),
}

ON_SURFACE = {
    "message": tuple(BLOCKS),
    "modal": tuple(kind for kind in BLOCKS if kind not in ("file", "markdown", "table")),
    "home": tuple(kind for kind in BLOCKS if kind not in ("file", "markdown", "table")),
}

# Views and metadata.

_VIEW_BLOCKS = anything  # checked by block_problems
_SHARED = {
    "private_metadata": string(3000, least=0),
    "callback_id": string(255, least=0),
    "external_id": string(255, least=0),
}
MODAL = Shape(
    {"type": choice("modal"), "title": text(24), "blocks": _VIEW_BLOCKS},
    {
        **_SHARED,
        "close": text(24),
        "submit": text(24),
        "clear_on_close": boolean,
        "notify_on_close": boolean,
        "submit_disabled": boolean,
    },
)
HOME = Shape({"type": choice("home"), "blocks": _VIEW_BLOCKS}, _SHARED)
METADATA = Shape({"event_type": string(255), "event_payload": anything})
