"""What GitHub keeps: people, issues, milestones, labels, hooks and their deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


class Problem(Exception):
    """An answer that is an error; `errors` say which field of a 422 is wrong."""

    def __init__(self, status: int, message: str, *errors: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


def invalid(resource: str, field_name: str, code: str, **more: Any) -> Problem:
    """A 422 as GitHub words it; the code is `missing_field`, `invalid`, `already_exists` or `custom`."""
    return Problem(422, "Validation Failed", {"resource": resource, "field": field_name, "code": code, **more})


NOT_FOUND = "Not Found"


@dataclass(frozen=True)
class User:
    id: int
    login: str
    name: str
    email: str | None
    type: Literal["User", "Bot", "Organization"] = "User"


@dataclass(frozen=True)
class Team:
    id: int
    name: str
    slug: str
    members: tuple[str, ...]


@dataclass
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass
class Milestone:
    id: int
    number: int
    title: str
    creator: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    due_on: datetime | None = None
    state: Literal["open", "closed"] = "open"
    closed_at: datetime | None = None


@dataclass
class Comment:
    id: int
    author: str
    body: str
    created_at: datetime


@dataclass
class Issue:
    """An issue, or the issue side of a pull request. People are logins, labels are names."""

    id: int
    number: int
    title: str
    body: str | None
    author: str
    created_at: datetime
    updated_at: datetime
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    milestone: int | None = None
    comments: list[Comment] = field(default_factory=list)
    closed_at: datetime | None = None
    closed_by: str | None = None
    is_pull_request: bool = False


@dataclass
class Hook:
    id: int
    url: str
    secret: str
    events: tuple[str, ...]
    created_at: datetime


@dataclass
class Delivery:
    """One webhook; `answer` is the HTTP status, or the name of what went wrong, None while it is on its way."""

    guid: str
    hook: Hook
    event: str
    payload: dict[str, Any]
    answer: int | str | None = None
    redelivery: bool = False


@dataclass(frozen=True)
class Request:
    """A request that came in, for tests to look at; `body` is the decoded JSON, None when there was none."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
