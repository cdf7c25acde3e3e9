"""views.*: the stack of modals that a person sees, and the App Home. https://docs.slack.dev/surfaces/modals"""

from __future__ import annotations

from sandbox.slack.arguments import Arguments
from sandbox.slack.backend import Slack
from sandbox.slack.blocks import check_view
from sandbox.slack.errors import SlackError
from sandbox.slack.shapes import view_json
from sandbox.slack.state import JSON, View
from sandbox.slack.views import new_view, push_view, replace_view


def open_(slack: Slack, arguments: Arguments) -> JSON:
    body = _view(arguments, "modal")
    _check_external_id(slack, body)
    trigger = slack.triggers.exchange(arguments.required("trigger_id"))
    view = new_view(slack, trigger.user, body)
    slack.modals[trigger.user] = [view]
    trigger.opened = view
    slack.changed()
    return {"view": view_json(slack, view)}


def push(slack: Slack, arguments: Arguments) -> JSON:
    body = _view(arguments, "modal")
    _check_external_id(slack, body)
    trigger = slack.triggers.exchange(arguments.required("trigger_id"))
    stack = slack.modals.get(trigger.user, [])
    if trigger.view is None or trigger.view not in stack:
        raise SlackError("not_found")
    view = trigger.opened = push_view(slack, trigger.user, body)
    return {"view": view_json(slack, view)}


def update(slack: Slack, arguments: Arguments) -> JSON:
    view = _find(slack, arguments)
    body = _view(arguments, view.type)
    _check_external_id(slack, body, view)
    _check_hash(view, arguments)
    replace_view(slack, view, body)
    return {"view": view_json(slack, view)}


def publish(slack: Slack, arguments: Arguments) -> JSON:
    body = _view(arguments, "home")
    user = arguments.required("user_id")
    if user not in slack.users:
        raise SlackError("user_not_found")
    home = slack.homes.get(user)
    if home is None:
        home = slack.homes[user] = new_view(slack, user, body)
    else:
        _check_hash(home, arguments)
        replace_view(slack, home, body)
    slack.changed()
    return {"view": view_json(slack, home)}


def _view(arguments: Arguments, kind: str) -> JSON:
    view = arguments.structure("view")
    if view is None:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: view")
    check_view(view, kind)
    return dict(view)


def _find(slack: Slack, arguments: Arguments) -> View:
    id, external_id = arguments.text("view_id"), arguments.text("external_id")
    if not id and not external_id:
        raise SlackError("invalid_arguments", "[ERROR] missing required field: view_id")
    for view in slack.views():
        if view.id == id or (external_id and view.body.get("external_id") == external_id):
            return view
    raise SlackError("not_found")


def _check_hash(view: View, arguments: Arguments) -> None:
    if "hash" in arguments and arguments.text("hash") != view.hash:
        raise SlackError("hash_conflict")


def _check_external_id(slack: Slack, body: JSON, own: View | None = None) -> None:
    id = body.get("external_id")
    if id and any(view is not own and view.body.get("external_id") == id for view in slack.views()):
        raise SlackError("duplicate_external_id")


METHODS = {
    "views.open": open_,
    "views.publish": publish,
    "views.push": push,
    "views.update": update,
}
