"""What is still to be done after an incident."""

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
    """What a follow-up is to be; without an owner the owners of the incident's service get it."""

    title: str
    owner: str | None = None
    due: date | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FiledIssue:
    """The GitHub issue that a follow-up has become; `not_assignable` is the login that GitHub did not accept."""

    number: int
    url: str
    assignee: str | None
    not_assignable: str | None = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One thing to do. `id` is `INC-2026-0001/F1`; `owner` a team of the team's file or a Slack user id."""

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
    """What GitHub reports of an issue: `action` is closed, reopened or deleted, by the user `login`."""

    action: str
    number: int
    url: str
    reason: str | None
    login: str
