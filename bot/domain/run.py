"""A run of a runbook: its own copy of the book, and how far it has come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.domain.errors import NotFound
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.snapshot import Assessment as Verdict


class RunState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDONE = "undone"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self is not RunState.RUNNING


class WaitsFor(StrEnum):
    """What a step needs from a person before it goes on: a yes, or an answer."""

    APPROVAL = "approval"
    ANSWER = "answer"


class StepState(StrEnum):
    PENDING = "pending"
    SKIPPED = "skipped"
    REHEARSED = "rehearsed"
    WAITING = "waiting"
    PERFORMING = "performing"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that would change outside: words under `effects.<key>`, and the diff when there is one."""

    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    diff: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "facts": dict(self.facts), "diff": self.diff}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Effect:
        return cls(raw["key"], raw["facts"], raw.get("diff", ""))


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of a run. `parameters` are what was rehearsed and will be performed; `digest` names them."""

    id: str
    uses: str
    state: StepState = StepState.PENDING
    parameters: Mapping[str, Any] | None = None
    digest: str = ""
    effects: tuple[Effect, ...] = ()
    rehearsed: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    verified: bool | None = None
    verdict: Verdict | None = None
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    began_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def may_have_changed(self) -> bool:
        """Whether something outside may be other than before because of this step."""
        return bool(self.effects) and self.began_at is not None and self.state is not StepState.UNDONE


@dataclass(frozen=True, slots=True)
class Run:
    """`id` is `R-3fa91c`; `book` is the runbook as JSON, as it was when the run began."""

    id: str
    runbook: str
    book: Mapping[str, Any]
    inputs: Mapping[str, Any]
    environment: str
    by: Person
    started_at: datetime
    incident_id: str | None = None
    channel: str | None = None
    dry_run: bool = False
    state: RunState = RunState.RUNNING
    ended_at: datetime | None = None
    cancel_by: Person | None = None
    steps: tuple[StepRun, ...] = ()

    @property
    def forgotten(self) -> bool:
        """Whether its steps and its copy of the runbook were removed, long after its end."""
        return not self.steps

    def step(self, id: str) -> StepRun:
        """Raises NotFound when the run's details were removed."""
        if self.forgotten:
            raise NotFound("run_forgotten", run=self.id, incident=self.incident_id)
        return next(step for step in self.steps if step.id == id)


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of a run, with the digest of exactly what it would do; a button carries it as `run|step|digest`."""

    run_id: str
    step_id: str
    digest: str

    @classmethod
    def parse(cls, value: str) -> StepRef:
        """Raises ValueError for what no button of ours carries."""
        run_id, step_id, digest = value.split("|")
        return cls(run_id, step_id, digest)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Who asks for a run, from where, and for which incident.

    The same `idempotency_key` again finds the run that was started first. `environment` None leaves it to the runbook.
    """

    by: Person
    idempotency_key: str
    incident: Incident | None = None
    channel: str | None = None
    environment: str | None = None
    dry_run: bool = False


def run_id(idempotency_key: str) -> str:
    """The id of the run that this call begins: the same call again finds the same run."""
    return f"R-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:6]}"


def normalize_run_id(written: str) -> str:
    """The id of a run as people write it: `3fa91c`, `r-3FA91C`."""
    return f"R-{written.strip().lower().removeprefix('r-')}"


def on_failure_key(failed: str) -> str:
    """What causes the run that follows the failure of another one."""
    return f"{failed}/on-failure"


def digest(action: str, parameters: Mapping[str, Any], effects: tuple[Effect, ...]) -> str:
    """What an approval is for: SHA-256 (first 12 hex digits) over the action, its parameters and the shown effects."""
    content = [action, parameters, [effect.to_json() for effect in effects]]
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class ApprovalState(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    BROKEN_GLASS = "broken_glass"

    @property
    def agreed(self) -> bool:
        """Whether what was asked may be done."""
        return self in (ApprovalState.APPROVED, ApprovalState.BROKEN_GLASS)


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody said about an approval, for exactly the parameters of the digest."""

    person: str
    verdict: ApprovalState
    digest: str
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What waits for somebody else: so many people with this role, for this digest, until then."""

    run_id: str
    step_id: str
    digest: str
    needed: int
    role: str
    asked_at: datetime
    expires_at: datetime
    state: ApprovalState = ApprovalState.WAITING
    decisions: tuple[Decision, ...] = ()

    def after(self, decision: Decision) -> ApprovalState:
        """The state once this decision counts too."""
        if decision.verdict is not ApprovalState.APPROVED:
            return decision.verdict
        given = {d.person for d in (*self.decisions, decision) if d.verdict is ApprovalState.APPROVED}
        return ApprovalState.APPROVED if len(given) >= self.needed else ApprovalState.WAITING
