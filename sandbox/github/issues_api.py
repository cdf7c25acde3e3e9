"""The API of issues, their comments and assignees; labels, milestones, and the search for issues."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from typing import Any

from starlette.routing import Route

from sandbox.github import shapes
from sandbox.github.backend import GitHub
from sandbox.github.endpoint import REPO, Call, Handler, Page, paginate, route
from sandbox.github.state import Issue, Milestone, Problem, invalid

ISSUE = f"{REPO}/issues/{{number:int}}"
QUALIFIERS = ("repo", "is", "type", "state", "in", "label", "author", "assignee", "milestone")


def issues_routes(github: GitHub) -> list[Route]:
    """Return the routes of this module, without a prefix. Those of issues answer 410 while the repository has none."""

    def of_issues(method: str, path: str, handler: Handler, status: int = 200) -> Route:
        def unless_off(call: Call) -> Any:
            if not call.github.has_issues:
                raise Problem(410, "Issues are disabled for this repo")
            return handler(call)

        return route(github, method, path, unless_off, status=status)

    return [
        of_issues("GET", f"{REPO}/issues", list_issues),
        of_issues("POST", f"{REPO}/issues", create_issue, 201),
        of_issues("GET", ISSUE, get_issue),
        of_issues("PATCH", ISSUE, update_issue),
        of_issues("GET", f"{ISSUE}/comments", list_comments),
        of_issues("POST", f"{ISSUE}/comments", create_comment, 201),
        of_issues("GET", f"{ISSUE}/labels", list_issue_labels),
        of_issues("POST", f"{ISSUE}/labels", add_labels),
        of_issues("PUT", f"{ISSUE}/labels", set_labels),
        of_issues("DELETE", f"{ISSUE}/labels/{{name}}", remove_label),
        of_issues("POST", f"{ISSUE}/assignees", add_assignees, 201),
        of_issues("DELETE", f"{ISSUE}/assignees", remove_assignees),
        route(github, "GET", f"{REPO}/labels", list_labels),
        route(github, "POST", f"{REPO}/labels", create_label, status=201),
        route(github, "GET", f"{REPO}/labels/{{name}}", get_label),
        route(github, "GET", f"{REPO}/milestones", list_milestones),
        route(github, "POST", f"{REPO}/milestones", create_milestone, status=201),
        route(github, "GET", f"{REPO}/milestones/{{number:int}}", get_milestone),
        route(github, "PATCH", f"{REPO}/milestones/{{number:int}}", update_milestone),
        route(github, "GET", "/search/issues", search_issues),
    ]


# Issues.


def list_issues(call: Call) -> Page:
    query = call.query
    state = query.get("state", "open")
    label_names = {name.lower() for name in query.get("labels", "").split(",") if name}
    since = _time(query["since"]) if "since" in query else None
    milestone = query.get("milestone")
    assignee = query.get("assignee")
    issues = [
        issue
        for issue in call.github.issues.values()
        if state in ("all", issue.state)
        and label_names <= {name.lower() for name in issue.labels}
        and (since is None or issue.updated_at >= since)
        and (milestone in (None, "*", str(issue.milestone)) or (milestone == "none" and issue.milestone is None))
        and (assignee in (None, "*") or assignee in issue.assignees)
        and query.get("creator", issue.author) == issue.author
    ]
    key = {"updated": "updated_at", "comments": "comments"}.get(query.get("sort", "created"), "created_at")
    issues.sort(key=lambda issue: (getattr(issue, key), issue.number), reverse=query.get("direction") != "asc")
    return paginate(call, issues, lambda issue: _issue_json(call, issue))


def create_issue(call: Call) -> dict[str, Any]:
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
    return _issue_json(call, issue)


def get_issue(call: Call) -> dict[str, Any]:
    return _issue_json(call, _issue_in_path(call))


def update_issue(call: Call) -> dict[str, Any]:
    issue = _issue_in_path(call)
    changes = dict(call.body)
    if "labels" in changes:
        changes["labels"] = _label_names(call)
    if changes.get("state") not in (None, "open", "closed"):
        raise invalid("Issue", "state", "invalid")
    call.github.tracker.edit(issue, changes, call.login)
    return _issue_json(call, issue)


def list_comments(call: Call) -> Page:
    issue = _issue_in_path(call)
    return paginate(
        call,
        issue.comments,
        lambda comment: shapes.comment_json(call.github, issue, comment, call.links),
    )


def create_comment(call: Call) -> dict[str, Any]:
    issue = _issue_in_path(call)
    comment = call.github.tracker.comment(issue, call.text("body"), call.login)
    return shapes.comment_json(call.github, issue, comment, call.links)


def list_issue_labels(call: Call) -> Page:
    labels = [call.github.label(name) for name in _issue_in_path(call).labels]
    return paginate(call, labels, lambda label: shapes.label_json(label, call.links))


def add_labels(call: Call) -> list[dict[str, Any]]:
    issue = _issue_in_path(call)
    return _set_labels(call, issue, [*issue.labels, *_label_names(call)])


def set_labels(call: Call) -> list[dict[str, Any]]:
    return _set_labels(call, _issue_in_path(call), _label_names(call))


def remove_label(call: Call) -> list[dict[str, Any]]:
    issue = _issue_in_path(call)
    name = call.path["name"].lower()
    if name not in (label.lower() for label in issue.labels):
        raise Problem(404, "Label does not exist")
    return _set_labels(call, issue, [label for label in issue.labels if label.lower() != name])


def add_assignees(call: Call) -> dict[str, Any]:
    """Add assignees. People who cannot be assigned are ignored without an error, as at GitHub."""
    issue = _issue_in_path(call)
    possible = [login for login in call.texts("assignees") if login in call.github.assignable]
    call.github.tracker.set_assignees(issue, [*issue.assignees, *possible], call.login)
    return _issue_json(call, issue)


def remove_assignees(call: Call) -> dict[str, Any]:
    issue = _issue_in_path(call)
    removed = call.texts("assignees")
    remaining = [login for login in issue.assignees if login not in removed]
    call.github.tracker.set_assignees(issue, remaining, call.login)
    return _issue_json(call, issue)


def _issue_in_path(call: Call) -> Issue:
    return call.github.issue(call.path["number"])


def _issue_json(call: Call, issue: Issue) -> dict[str, Any]:
    issue_json = shapes.issue_json(call.github, issue, call.links)
    closer = call.github.users[issue.closed_by] if issue.closed_by else None
    return issue_json | {"closed_by": shapes.user_json(closer, call.links) if closer else None}


def _set_labels(call: Call, issue: Issue, names: list[str]) -> list[dict[str, Any]]:
    call.github.tracker.set_labels(issue, names, call.login)
    return [shapes.label_json(call.github.label(name), call.links) for name in issue.labels]


def _label_names(call: Call) -> list[str]:
    """Return the labels of the body, which are names or objects with a name."""
    labels = call.body.get("labels") or []
    names = [label.get("name") if isinstance(label, dict) else label for label in labels]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise invalid("Label", "name", "invalid")
    return [str(name) for name in names]


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Problem(422, "since must be a timestamp in ISO 8601 format") from None


# Labels and milestones.


def list_labels(call: Call) -> Page:
    labels = list(call.github.labels.values())
    return paginate(call, labels, lambda label: shapes.label_json(label, call.links))


def get_label(call: Call) -> dict[str, Any]:
    return shapes.label_json(call.github.label(call.path["name"]), call.links)


def create_label(call: Call) -> dict[str, Any]:
    name, color = call.text("name"), call.body.get("color", "ededed")
    label = call.github.tracker.add_label(name, str(color), call.body.get("description"))
    return shapes.label_json(label, call.links)


def list_milestones(call: Call) -> Page:
    state = call.query.get("state", "open")
    fitting = [m for m in call.github.milestones.values() if state in ("all", m.state)]
    return paginate(call, fitting, lambda milestone: _milestone_json(call, milestone))


def get_milestone(call: Call) -> dict[str, Any]:
    return _milestone_json(call, call.github.milestone(call.path["number"]))


def create_milestone(call: Call) -> dict[str, Any]:
    milestone = call.github.tracker.add_milestone(
        call.text("title"), call.login, description=call.body.get("description"), due_on=_due(call)
    )
    return _milestone_json(call, milestone)


def update_milestone(call: Call) -> dict[str, Any]:
    milestone = call.github.milestone(call.path["number"])
    changes: dict[str, Any] = {name: call.body[name] for name in ("title", "description", "state") if name in call.body}
    if changes.get("state", "open") not in ("open", "closed"):
        raise invalid("Milestone", "state", "invalid")
    if "due_on" in call.body:
        changes["due_on"] = _due(call)
    call.github.tracker.edit_milestone(milestone, **changes)
    return _milestone_json(call, milestone)


def _milestone_json(call: Call, milestone: Milestone) -> dict[str, Any]:
    return shapes.milestone_json(call.github, milestone, call.links)


def _due(call: Call) -> datetime | None:
    text = call.body.get("due_on")
    if text is None:
        return None
    try:
        due = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise invalid("Milestone", "due_on", "invalid") from None
    if due.tzinfo is None:
        raise invalid("Milestone", "due_on", "invalid")
    return due


# Search: the qualifiers of GitHub's query language that one repository can answer.


def search_issues(call: Call) -> Page:
    issues = find_issues(call.github, call.query.get("q", ""))
    return paginate(
        call,
        issues,
        lambda issue: _issue_json(call, issue) | {"body": issue.body or "", "score": 1.0},
        lambda items: {
            "total_count": len(issues),
            "incomplete_results": False,
            "search_type": "lexical",
            "items": items,
        },
    )


def find_issues(github: GitHub, query: str) -> list[Issue]:
    """Return matching issues, the newest first. Issues younger than `index_delay` are not in the index yet.

    Raises Problem 422 for an empty query or another repository.
    """
    if not query.strip():
        raise invalid("Search", "q", "missing")
    qualifiers: dict[str, list[str]] = {}
    words: list[str] = []
    for part in _parts(query):
        name, colon, value = part.partition(":")
        if colon and name.lower() in QUALIFIERS:
            qualifiers.setdefault(name.lower(), []).append(value)
        else:
            words.append(part.lower())
    repository = f"{github.owner}/{github.name}".lower()
    if any(repo.lower() != repository for repo in qualifiers.get("repo", [])):
        message = "The listed users and repositories cannot be searched either because the resources do not exist"
        raise invalid("Search", "q", "invalid", message=message)
    indexed_until = github.clock.now() - timedelta(seconds=github.index_delay)
    fields = {field for value in qualifiers.get("in", ["title,body"]) for field in value.split(",")}
    return [
        issue
        for issue in reversed(github.issues.values())
        if issue.created_at <= indexed_until
        and all(_meets(github, issue, name, value) for name, values in qualifiers.items() for value in values)
        and all(_mentions(issue, word, fields) for word in words)
    ]


def _parts(query: str) -> list[str]:
    try:
        return shlex.split(query)
    except ValueError as error:
        raise Problem(422, f"The search is not valid: {error}") from None


def _mentions(issue: Issue, word: str, fields: set[str]) -> bool:
    texts = {
        "title": issue.title,
        "body": issue.body or "",
        "comments": "\n".join(comment.body for comment in issue.comments),
    }
    return any(word in texts.get(field, "").lower() for field in fields)


def _meets(github: GitHub, issue: Issue, name: str, value: str) -> bool:
    match name:
        case "is" | "type" | "state":
            kind = "pr" if issue.is_pull_request else "issue"
            return value.lower() in (kind, issue.state, "public")
        case "label":
            return value.lower() in (label.lower() for label in issue.labels)
        case "author":
            return issue.author.lower() == value.lower()
        case "assignee":
            return value.lower() in (login.lower() for login in issue.assignees)
        case "milestone":
            return issue.milestone is not None and github.milestones[issue.milestone].title == value
        case _:
            return True
