"""What GitHub keeps of the code: commits, pull requests, checks, deployments, workflow runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sandbox.github.records import Issue

Conclusion = Literal["success", "failure", "cancelled", "timed_out", "skipped"]
Judgement = Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED"]


@dataclass(frozen=True)
class Commit:
    """`files` is the whole tree of the commit: path → text."""

    sha: str
    parents: tuple[str, ...]
    message: str
    author: str
    at: datetime
    files: dict[str, str]


@dataclass
class Review:
    id: int
    author: str
    state: Judgement
    body: str
    at: datetime
    commit: str


@dataclass
class Pull:
    """A pull request; number, title, state and people stand in its issue."""

    id: int
    issue: Issue
    head: str
    base: str
    head_sha: str
    base_sha: str
    draft: bool = False
    reviewers: list[str] = field(default_factory=list)
    team_reviewers: list[str] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    merge_commit: str | None = None
    merged_at: datetime | None = None
    merged_by: str | None = None


@dataclass
class CheckRun:
    id: int
    sha: str
    name: str
    started_at: datetime
    conclusion: Conclusion | None = None
    completed_at: datetime | None = None


@dataclass
class DeploymentStatus:
    id: int
    state: str
    creator: str
    description: str
    at: datetime


@dataclass
class Deployment:
    id: int
    sha: str
    ref: str
    environment: str
    creator: str
    created_at: datetime
    task: str = "deploy"
    description: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    statuses: list[DeploymentStatus] = field(default_factory=list)


@dataclass(frozen=True)
class Workflow:
    """`inputs` are the names that a dispatch may give."""

    id: int
    name: str
    path: str
    created_at: datetime
    inputs: tuple[str, ...] = ()


@dataclass
class Run:
    """A workflow run."""

    id: int
    number: int
    workflow: Workflow
    branch: str
    sha: str
    actor: str
    created_at: datetime
    updated_at: datetime
    event: str = "workflow_dispatch"
    inputs: dict[str, Any] = field(default_factory=dict)
    status: Literal["queued", "in_progress", "completed"] = "queued"
    conclusion: Conclusion | None = None
