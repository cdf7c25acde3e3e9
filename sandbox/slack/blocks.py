"""Is this message, modal or App Home one that Slack takes? Our tables first, then slack_sdk's own models."""

from __future__ import annotations

import copy
import json
import secrets
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from sandbox.slack.block_elements import text
from sandbox.slack.block_kit import BLOCKS, ON_SURFACE
from sandbox.slack.checks import Problems, Shape, anything, array, boolean, choice, report, string, typed
from sandbox.slack.errors import SlackError
from sandbox.slack.state import JSON, elements, walk

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
TEXT_LENGTH = 40_000
BLOCKS_LENGTH = 12_000  # all words in the blocks of one message; told in github.com/slackapi/bolt-js/issues/2509
VIEW_BYTES = 250_000
METADATA_BYTES = 16_000

_VIEW_BLOCKS = anything  # looked into by check_blocks
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


def block_problems(blocks: Any, surface: str, path: str = "/blocks") -> Problems:
    """What Slack would say about these blocks on a `message`, `modal` or `home`; empty when it takes them."""
    problems: Problems = []
    most = MESSAGE_BLOCKS if surface == "message" else VIEW_BLOCKS
    array(typed(BLOCKS, *ON_SURFACE[surface]), 0, most)(blocks, path, problems)
    if not problems:
        _unique(blocks, path, problems)
        _sdk(blocks, path, problems)
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


def check_view(view: Any, kind: str) -> None:
    """SlackError invalid_arguments, view_too_large."""
    if isinstance(view, dict) and view.get("type") != kind:
        raise SlackError("invalid_arguments", f"[ERROR] must be of type {kind} [json-pointer:/view/type]")
    if problems := view_problems(view):
        raise SlackError("invalid_arguments", *problems)
    if len(json.dumps(view)) > VIEW_BYTES:
        raise SlackError("view_too_large")


def check_message(body: JSON, limit: int | None = None) -> None:
    """`text`, `blocks`, `attachments` and `metadata` of a message; `limit` is for all words in the blocks.

    SlackError no_text, msg_too_long, msg_blocks_too_long, invalid_blocks, invalid_blocks_format,
    invalid_attachments, too_many_attachments, invalid_metadata_format, metadata_too_large.
    """
    blocks, attachments = body.get("blocks"), body.get("attachments")
    for name, value in (("blocks", blocks), ("attachments", attachments)):
        if value is not None and not isinstance(value, list):
            raise SlackError(f"invalid_{name}_format" if name == "blocks" else "invalid_attachments")
    words = body.get("text") or ""
    if not isinstance(words, str) or not (words.strip() or blocks or attachments):
        raise SlackError("no_text")
    if len(words) > TEXT_LENGTH:
        raise SlackError("msg_too_long")
    problems = block_problems(blocks, "message") if blocks else []
    for index, attachment in enumerate(attachments or []):
        if not isinstance(attachment, dict):
            raise SlackError("invalid_attachments")
        inside = attachment.get("blocks")
        problems += block_problems(inside, "message", f"/attachments/{index}/blocks") if inside else []
    if problems:
        raise SlackError("invalid_blocks", *problems)
    if limit and sum(len(each["text"]) for each in walk(blocks) if isinstance(each.get("text"), str)) > limit:
        raise SlackError("msg_blocks_too_long")
    if len(attachments or []) > 100:
        raise SlackError("too_many_attachments")
    check_metadata(body.get("metadata"))


def check_metadata(metadata: Any) -> None:
    """https://docs.slack.dev/messaging/message-metadata"""
    if metadata is None or metadata == {}:
        return
    problems: Problems = []
    METADATA(metadata, "/metadata", problems)
    if problems or not isinstance(metadata["event_payload"], dict):
        raise SlackError("invalid_metadata_format", *problems)
    if len(json.dumps(metadata)) > METADATA_BYTES:
        raise SlackError("metadata_too_large")


def with_ids(blocks: list[JSON]) -> list[JSON]:
    """A copy in which every block has a block_id and every interactive element an action_id, as Slack does it."""
    made = copy.deepcopy(blocks)
    for block in made:
        if not block.get("block_id"):
            block["block_id"] = secrets.token_urlsafe(3)
        for element in [*block.get("elements", []), block.get("accessory"), block.get("element")]:
            if _interactive(block, element) and not element.get("action_id"):
                element["action_id"] = secrets.token_urlsafe(3)
    return made


def _interactive(block: JSON, element: Any) -> bool:
    if not isinstance(element, dict) or block["type"] not in ("actions", "section", "input"):
        return False
    return element.get("type") != "image"


def _unique(blocks: list[JSON], path: str, problems: Problems) -> None:
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    for repeated in sorted({id for id in ids if ids.count(id) > 1}):
        report(problems, f"`block_id` already exists: {repeated}", path)
    for index, block in enumerate(blocks):
        actions = [element["action_id"] for _, element in elements([block])]
        for repeated in sorted({id for id in actions if actions.count(id) > 1}):
            report(problems, f"`action_id` already exists: {repeated}", f"{path}/{index}")
    if sum(node.get("focus_on_load") is True for node in walk(blocks)) > 1:
        report(problems, "only one element may have focus_on_load", path)


def _sdk(blocks: list[JSON], path: str, problems: Problems) -> None:
    """slack_sdk knows limits that the tables may lack; what it says counts as well."""
    for index, block in enumerate(blocks):
        try:
            parsed = Block.parse(block)
            if parsed is not None:
                parsed.validate_json()
        except (SlackObjectFormationError, TypeError, ValueError) as error:
            report(problems, str(error), f"{path}/{index}")
