"""The API of the repository's labels and milestones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.routing import BaseRoute

from sandbox.github import shapes
from sandbox.github.account_api import REPO
from sandbox.github.backend import GitHub
from sandbox.github.endpoint import Call, Page, paged, route
from sandbox.github.records import Milestone, invalid


def routes(github: GitHub) -> list[BaseRoute]:
    milestone = f"{REPO}/milestones/{{number:int}}"
    return [
        route(github, "GET", f"{REPO}/labels", labels),
        route(github, "POST", f"{REPO}/labels", add_label, status=201),
        route(github, "GET", f"{REPO}/labels/{{name}}", label),
        route(github, "GET", f"{REPO}/milestones", milestones),
        route(github, "POST", f"{REPO}/milestones", add_milestone, status=201),
        route(github, "GET", milestone, one_milestone),
        route(github, "PATCH", milestone, edit_milestone),
    ]


def labels(call: Call) -> Page:
    everything = list(call.github.tracker.labels.values())
    return paged(call, everything, lambda label: shapes.label_json(label, call.links))


def label(call: Call) -> dict[str, Any]:
    return shapes.label_json(call.github.tracker.label(call.path["name"]), call.links)


def add_label(call: Call) -> dict[str, Any]:
    name, color = call.text("name"), call.body.get("color", "ededed")
    made = call.github.tracker.add_label(name, str(color), call.body.get("description"))
    return shapes.label_json(made, call.links)


def milestones(call: Call) -> Page:
    state = call.query.get("state", "open")
    fitting = [m for m in call.github.tracker.milestones.values() if state in ("all", m.state)]
    return paged(call, fitting, lambda milestone: _drawn(call, milestone))


def one_milestone(call: Call) -> dict[str, Any]:
    return _drawn(call, call.github.tracker.milestone(call.path["number"]))


def add_milestone(call: Call) -> dict[str, Any]:
    made = call.github.tracker.add_milestone(
        call.text("title"), call.login, description=call.body.get("description"), due_on=_due(call)
    )
    return _drawn(call, made)


def edit_milestone(call: Call) -> dict[str, Any]:
    milestone = call.github.tracker.milestone(call.path["number"])
    changes: dict[str, Any] = {name: call.body[name] for name in ("title", "description", "state") if name in call.body}
    if changes.get("state", "open") not in ("open", "closed"):
        raise invalid("Milestone", "state", "invalid")
    if "due_on" in call.body:
        changes["due_on"] = _due(call)
    call.github.tracker.edit_milestone(milestone, **changes)
    return _drawn(call, milestone)


def _drawn(call: Call, milestone: Milestone) -> dict[str, Any]:
    return shapes.milestone_json(call.github, milestone, call.links)


def _due(call: Call) -> datetime | None:
    given = call.body.get("due_on")
    if given is None:
        return None
    try:
        due = datetime.fromisoformat(given)
    except (ValueError, TypeError):
        raise invalid("Milestone", "due_on", "invalid") from None
    if due.tzinfo is None:
        raise invalid("Milestone", "due_on", "invalid")
    return due
