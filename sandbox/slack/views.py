"""Making, stacking and replacing the views that people see."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sandbox.slack.blocks import with_ids
from sandbox.slack.errors import SlackError
from sandbox.slack.state import JSON, View, elements

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

STACK = 3


def new_view(slack: Slack, user: str, body: JSON) -> View:
    id = slack.new_id("V")
    return View(id, user, {**body, "blocks": with_ids(body["blocks"])}, _hash(slack), root_id=id)


def push_view(slack: Slack, user: str, body: JSON) -> View:
    """Put a modal on top of the others. SlackError push_limit_reached."""
    stack = slack.modals[user]
    if len(stack) >= STACK:
        raise SlackError("push_limit_reached")
    view = new_view(slack, user, body)
    view.root_id, view.previous_id = stack[0].id, stack[-1].id
    stack.append(view)
    slack.changed()
    return view


def replace_view(slack: Slack, view: View, body: JSON) -> None:
    """What was entered stays where block_id and action_id are still the same."""
    view.body = {**body, "blocks": with_ids(body["blocks"])}
    view.hash = _hash(slack)
    kept: dict[str, dict[str, JSON]] = {}
    for block_id, element in elements(view.blocks):
        state = view.values.get(block_id, {}).get(element["action_id"])
        if state and state["type"] == element["type"]:
            kept.setdefault(block_id, {})[element["action_id"]] = state
    view.values = kept
    slack.changed()


def _hash(slack: Slack) -> str:
    return f"{int(slack.now())}.{secrets.token_hex(4)}"
