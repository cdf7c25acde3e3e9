"""Follow-ups: what remains to be done after an incident."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class FollowUpState(StrEnum):
    OPEN = "open"
    FILED = "filed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FollowUpDraft:
    """A follow-up to open. Without an owner it goes to the owners of the incident's service."""

    title: str
    owner: str | None = None
    due: date | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FiledIssue:
    """The GitHub issue of a follow-up; `not_assignable` is the login that GitHub did not accept as assignee."""

    number: int
    url: str
    assignee: str | None
    not_assignable: str | None = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One task.

    `id` is `INC-2026-0001/F1`; `owner` is a team of the team file, a Slack user id, `github:<login>` or a path.
    """

    id: str
    incident_id: str
    title: str
    owner: str | None
    due: date | None
    labels: tuple[str, ...]
    state: FollowUpState
    opened_at: datetime
    number: int | None = None
    url: str | None = None
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssueEvent:
    """A change of an issue that GitHub reports: `action` is closed, reopened or deleted, by the user `login`."""

    action: str
    number: int
    url: str
    reason: str | None
    login: str
