"""The API of issues, their comments, labels and assignees, and the search for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.routing import BaseRoute

from sandbox.github import shapes
from sandbox.github.account_api import REPO
from sandbox.github.backend import GitHub
from sandbox.github.endpoint import Call, Page, paged, route
from sandbox.github.records import Issue, Problem, invalid
from sandbox.github.search import search

ONE = f"{REPO}/issues/{{number:int}}"


def routes(github: GitHub) -> list[BaseRoute]:
    return [
        route(github, "GET", f"{REPO}/issues", listed),
        route(github, "POST", f"{REPO}/issues", create, status=201),
        route(github, "GET", ONE, get),
        route(github, "PATCH", ONE, edit),
        route(github, "GET", f"{ONE}/comments", comments),
        route(github, "POST", f"{ONE}/comments", comment, status=201),
        route(github, "GET", f"{ONE}/labels", labels),
        route(github, "POST", f"{ONE}/labels", add_labels),
        route(github, "PUT", f"{ONE}/labels", replace_labels),
        route(github, "DELETE", f"{ONE}/labels/{{name}}", remove_label),
        route(github, "POST", f"{ONE}/assignees", add_assignees, status=201),
        route(github, "DELETE", f"{ONE}/assignees", remove_assignees),
        route(github, "GET", "/search/issues", searched),
    ]


def listed(call: Call) -> Page:
    tracker, query = call.github.tracker, call.query
    state = query.get("state", "open")
    wanted_labels = {name.lower() for name in query.get("labels", "").split(",") if name}
    since = _time(query["since"]) if "since" in query else None
    milestone = query.get("milestone")
    assignee = query.get("assignee")
    issues = [
        issue
        for issue in tracker.issues.values()
        if state in ("all", issue.state)
        and wanted_labels <= {name.lower() for name in issue.labels}
        and (since is None or issue.updated_at >= since)
        and (milestone in (None, "*", str(issue.milestone)) or (milestone == "none" and issue.milestone is None))
        and (assignee in (None, "*") or assignee in issue.assignees)
        and query.get("creator", issue.author) == issue.author
    ]
    key = {"updated": "updated_at", "comments": "comments"}.get(query.get("sort", "created"), "created_at")
    issues.sort(key=lambda issue: (getattr(issue, key), issue.number), reverse=query.get("direction") != "asc")
    return paged(call, issues, lambda issue: _drawn(call, issue))


def create(call: Call) -> dict[str, Any]:
    if not isinstance(call.body.get("title"), str):
        raise invalid("Issue", "title", "missing_field")
    assignees = call.texts("assignees") or [login for login in [call.body.get("assignee")] if login]
    issue = call.github.tracker.open(
        call.body["title"],
        call.body.get("body"),
        call.login,
        labels=_label_names(call),
        assignees=assignees,
        milestone=call.body.get("milestone"),
    )
    return _drawn(call, issue)


def get(call: Call) -> dict[str, Any]:
    return _drawn(call, _issue(call))


def edit(call: Call) -> dict[str, Any]:
    issue = _issue(call)
    changes = dict(call.body)
    if "labels" in changes:
        changes["labels"] = _label_names(call)
    if changes.get("state") not in (None, "open", "closed"):
        raise invalid("Issue", "state", "invalid")
    call.github.tracker.edit(issue, changes, call.login)
    return _drawn(call, issue)


def comments(call: Call) -> Page:
    issue = _issue(call)
    return paged(
        call,
        issue.comments,
        lambda comment: shapes.comment_json(call.github, issue, comment, call.links),
    )


def comment(call: Call) -> dict[str, Any]:
    issue = _issue(call)
    made = call.github.tracker.comment(issue, call.text("body"), call.login)
    return shapes.comment_json(call.github, issue, made, call.links)


def labels(call: Call) -> Page:
    found = [call.github.tracker.label(name) for name in _issue(call).labels]
    return paged(call, found, lambda label: shapes.label_json(label, call.links))


def add_labels(call: Call) -> list[dict[str, Any]]:
    issue = _issue(call)
    return _set_labels(call, issue, [*issue.labels, *_label_names(call)])


def replace_labels(call: Call) -> list[dict[str, Any]]:
    return _set_labels(call, _issue(call), _label_names(call))


def remove_label(call: Call) -> list[dict[str, Any]]:
    issue = _issue(call)
    name = call.path["name"].lower()
    if name not in (label.lower() for label in issue.labels):
        raise Problem(404, "Label does not exist")
    return _set_labels(call, issue, [label for label in issue.labels if label.lower() != name])


def add_assignees(call: Call) -> dict[str, Any]:
    """Who cannot be assigned is left out, and nothing is said about it: that is GitHub's way."""
    issue = _issue(call)
    possible = [login for login in call.texts("assignees") if login in call.github.assignable]
    call.github.tracker.set_assignees(issue, [*issue.assignees, *possible], call.login)
    return _drawn(call, issue)


def remove_assignees(call: Call) -> dict[str, Any]:
    issue = _issue(call)
    gone = call.texts("assignees")
    left = [login for login in issue.assignees if login not in gone]
    call.github.tracker.set_assignees(issue, left, call.login)
    return _drawn(call, issue)


def searched(call: Call) -> Page:
    found = search(call.github, call.query.get("q", ""))
    return paged(
        call,
        found,
        lambda issue: _drawn(call, issue) | {"body": issue.body or "", "score": 1.0},
        lambda items: {
            "total_count": len(found),
            "incomplete_results": False,
            "search_type": "lexical",
            "items": items,
        },
    )


def _issue(call: Call) -> Issue:
    return call.github.tracker.issue(call.path["number"])


def _drawn(call: Call, issue: Issue) -> dict[str, Any]:
    drawn = shapes.issue_json(call.github, issue, call.links)
    closer = call.github.users[issue.closed_by] if issue.closed_by else None
    return drawn | {"closed_by": shapes.user_json(closer, call.links) if closer else None}


def _set_labels(call: Call, issue: Issue, names: list[str]) -> list[dict[str, Any]]:
    call.github.tracker.set_labels(issue, names, call.login)
    return [shapes.label_json(call.github.tracker.label(name), call.links) for name in issue.labels]


def _label_names(call: Call) -> list[str]:
    """Labels come as names or as objects with a name."""
    given = call.body.get("labels") or []
    names = [label.get("name") if isinstance(label, dict) else label for label in given]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise invalid("Label", "name", "invalid")
    return [str(name) for name in names]


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Problem(422, "since must be a timestamp in ISO 8601 format") from None
