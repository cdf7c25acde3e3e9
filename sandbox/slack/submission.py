"""A form that is sent: filled in, checked as Slack's app does it, and the bot's answer carried out.

https://docs.slack.dev/surfaces/modals#updating_views
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.slack import inputs
from sandbox.slack.blocks import check_view
from sandbox.slack.deliveries import Delivery
from sandbox.slack.errors import SlackError
from sandbox.slack.payloads import states
from sandbox.slack.replies import SubmitResult
from sandbox.slack.state import JSON, User, View
from sandbox.slack.views import push_view, replace_view

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack


def fill_in(slack: Slack, view: View, values: dict[str, Any]) -> dict[str, str]:
    """Enter the values and return what the app refuses, by block_id. KeyError for a field that is not there."""
    fields: dict[str, tuple[str, JSON]] = {}
    for block in view.blocks:
        if block["type"] == "input":
            block_id, element = block["block_id"], block["element"]
            names = (f"{block_id}/{element['action_id']}", block_id, element["action_id"], block["label"]["text"])
            fields.update({name: (block_id, element) for name in names if name not in fields})
    for block_id, element in view.elements():
        fields.setdefault(f"{block_id}/{element['action_id']}", (block_id, element))
        fields.setdefault(element["action_id"], (block_id, element))
    for name, value in values.items():
        if name not in fields:
            raise KeyError(f"no field {name!r} among {sorted(fields)}")
        block_id, element = fields[name]
        view.values.setdefault(block_id, {})[element["action_id"]] = inputs.state_of(slack, element, value)
    slack.changed()
    return _refusals(view)


def _refusals(view: View) -> dict[str, str]:
    entered = states(view.blocks, view.values)
    refused = {}
    for block in view.blocks:
        if block["type"] != "input" or not inputs.has_state(block["element"]):
            continue
        state = entered[block["block_id"]][block["element"]["action_id"]]
        why = inputs.refusal(block["element"], state, optional=block.get("optional", False))
        if why:
            refused[block["block_id"]] = why
    return refused


def response_urls(slack: Slack, user: User, view: View) -> list[JSON]:
    """A response_url for each chosen channel of a select with `response_url_enabled`."""
    entered = states(view.blocks, view.values)
    urls = []
    for block_id, element in view.elements():
        if not element.get("response_url_enabled"):
            continue
        channel = inputs.entered(entered[block_id][element["action_id"]])
        if channel:
            url = slack.response_urls.issue("app", user, slack.channels[channel]).url
            ids = {"block_id": block_id, "action_id": element["action_id"], "channel_id": channel}
            urls.append(ids | {"response_url": url})
    return urls


def apply_answer(slack: Slack, user: User, view: View, delivery: Delivery) -> SubmitResult:
    """Do what the acknowledgement of a view_submission asks for."""
    answer = delivery.answers[0]
    stack = slack.modals.get(user.id, [])
    if not answer.ok:
        return SubmitResult(view=view, error=answer.error, delivery=delivery)
    body = answer.json() or {}
    try:
        match body.get("response_action"):
            case "errors":
                return SubmitResult(errors=_errors(view, body.get("errors")), view=view, delivery=delivery)
            case "update":
                check_view(body.get("view"), "modal")
                replace_view(slack, view, body["view"])
            case "push":
                check_view(body.get("view"), "modal")
                push_view(slack, user.id, body["view"])
            case "clear":
                stack.clear()
            case None:
                if view in stack:
                    stack.remove(view)
            case unknown:
                raise SlackError("invalid_response_action", str(unknown))
    except SlackError as error:
        return SubmitResult(view=view, error=error.code, delivery=delivery)
    slack.changed()
    shown = stack[-1] if stack else None
    return SubmitResult(view=shown, closed=view not in stack, delivery=delivery)


def _errors(view: View, errors: Any) -> dict[str, str]:
    """Errors can only stand at input blocks of this view, and they are texts."""
    blocks = {block["block_id"] for block in view.blocks if block["type"] == "input"}
    if not isinstance(errors, dict) or not errors or not errors.keys() <= blocks:
        raise SlackError("invalid_errors")
    if not all(isinstance(text, str) and text for text in errors.values()):
        raise SlackError("invalid_errors")
    return dict(errors)
