"""Search for issues: the qualifiers of GitHub's query language that the index of one repository can answer."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import TYPE_CHECKING

from sandbox.github.records import Issue, Problem, invalid

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub

QUALIFIERS = ("repo", "is", "type", "state", "in", "label", "author", "assignee", "milestone")


def search(github: GitHub, query: str) -> list[Issue]:
    """Issues that fit, the newest first. What changed within `index_delay` is not in the index yet.

    Problem 422 for an empty query or another repository.
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
    places = {place for value in qualifiers.get("in", ["title,body"]) for place in value.split(",")}
    return [
        issue
        for issue in reversed(github.tracker.issues.values())
        if issue.created_at <= indexed_until
        and all(_fits(github, issue, name, value) for name, values in qualifiers.items() for value in values)
        and all(_mentions(issue, word, places) for word in words)
    ]


def _parts(query: str) -> list[str]:
    try:
        return shlex.split(query)
    except ValueError as error:
        raise Problem(422, f"The search is not valid: {error}") from None


def _mentions(issue: Issue, word: str, places: set[str]) -> bool:
    texts = {
        "title": issue.title,
        "body": issue.body or "",
        "comments": "\n".join(comment.body for comment in issue.comments),
    }
    return any(word in texts.get(place, "").lower() for place in places)


def _fits(github: GitHub, issue: Issue, name: str, value: str) -> bool:
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
            return issue.milestone is not None and github.tracker.milestones[issue.milestone].title == value
        case _:
            return True
