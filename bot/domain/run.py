"""A run of a runbook: its own copy of the runbook, and its progress."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.domain.diagnosis import Suspect
from bot.domain.errors import BadInput, NotFound
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.snapshot import Assessment as Verdict

# Facts of a step.
COPIED_FROM = "copied_from"  # the stopped run in which it was done
APPROVAL_ROUNDS = "rounds"  # how often its approval was asked for; 1 when it is missing
TREATS = "treats"  # the cause (`Treats` as JSON) for which it goes before the steps that may be done instead


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
    """What a step waits for: an approval or an answer."""

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


class ChangeOutcome(StrEnum):
    """What came of a change that was stopped. `unknown`: it may have been made; a person has to look."""

    NOT_STARTED = "not_begun"
    DONE = "done"
    PARTLY = "partly"
    UNKNOWN = "unknown"


# Facts of a step.
OUTCOME = "change_outcome"  # a ChangeOutcome, of a step that was stopped
LEFT = "change_left"  # the effects that were not made, as JSON; None if that is not known
STOPPING = "stopping"  # it was stopped, and what came of its change is being looked for
RETRYING = "retrying"  # why it is tried again (`error`, `facts`), and until when (`until`, ISO 8601)
UNCHANGED = "unchanged"  # it was so already: the step made none of its effects
REVERTED = "reverted"  # something else has put the change back: its `owner`, and the `effects` that are gone
WARNINGS = ("drift", "owners", "cautions")  # facts of an effect that warn of it
VERIFYING_SINCE = "verifying_since"  # when the change was made and its measuring began (ISO 8601)


@dataclass(frozen=True, slots=True)
class Effect:
    """One change outside the bot: text under `effects.<key>`, and a diff where there is one."""

    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    diff: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "facts": dict(self.facts), "diff": self.diff}

    @property
    def done(self) -> Effect:
        """The effect once it has come about: without what only warned before it."""
        return replace(self, facts={name: value for name, value in self.facts.items() if name not in WARNINGS})

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Effect:
        return cls(raw["key"], raw["facts"], raw.get("diff", ""))


@dataclass(frozen=True, slots=True)
class Treats:
    """The cause that a step treats: one that leads clearly, or that a person has confirmed.

    The step's action has `helped` so often before of the times it was `measured`.
    """

    suspect: Suspect
    confirmed: bool
    helped: int = 0
    measured: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "suspect": self.suspect.to_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Treats:
        return cls(Suspect.from_json(raw["suspect"]), raw["confirmed"], raw["helped"], raw["measured"])


UNDO = "undo"  # fact of a step: who asked for its undo, what that changes, its digest, and since when it is made
_UNDO_PREFIX = "_"  # no step of a runbook begins with it


def undo_step_id(step_id: str) -> str:
    """Return the id under which the undo of a step is approved."""
    return f"{_UNDO_PREFIX}{step_id}"


def is_undo(step_id: str) -> bool:
    return step_id.startswith(_UNDO_PREFIX)


def base_step_id(step_id: str) -> str:
    """Return the id of a step, given its own or that of its undo."""
    return step_id.removeprefix(_UNDO_PREFIX)


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of a run. `parameters` are those of the dry run and of the execution; `digest` identifies them.

    `rehearsed` is the result that the dry run predicted.
    """

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
    def treats(self) -> Treats | None:
        """The cause for which the step was put before those that may be done instead of it."""
        raw = self.facts.get(TREATS)
        return Treats.from_json(raw) if raw else None

    @property
    def copied_from(self) -> str | None:
        """The run in which the step was done, if this run continues that one."""
        return self.facts.get(COPIED_FROM)

    @property
    def undoing(self) -> StepRun:
        """The undo of this step as a step of its own: what it would change, and its digest."""
        planned = self.facts.get(UNDO, {})
        effects = tuple(Effect.from_json(effect) for effect in planned.get("effects", ()))
        return replace(self, id=undo_step_id(self.id), effects=effects, digest=planned.get("digest", ""))

    @property
    def in_git(self) -> Effect | None:
        """Its effect that can be made in Git instead: an owner says the `place` there."""
        return next((one for one in self.effects if any(o.get("place") for o in one.facts.get("owners") or ())), None)

    @property
    def may_have_changed(self) -> bool:
        """True if the step may have changed something outside that is not undone."""
        nothing = self.facts.get(UNCHANGED) or self.facts.get(OUTCOME) == ChangeOutcome.NOT_STARTED
        began = bool(self.effects) and self.began_at is not None
        return began and not nothing and self.state is not StepState.UNDONE


@dataclass(frozen=True, slots=True)
class Run:
    """A run. `id` is `R-3fa91c7k2m`; `definition` is the runbook as JSON, as it was when the run started."""

    id: str
    runbook: str
    definition: Mapping[str, Any]
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
        """True if its steps and its copy of the runbook were pruned, long after its end."""
        return not self.steps

    @property
    def can_continue(self) -> bool:
        """True if it stopped before its end: what was done is still there, and the rest can be done."""
        return self.state in (RunState.FAILED, RunState.CANCELLED) and not self.dry_run and self.stopped_at is not None

    @property
    def stopped_at(self) -> StepRun | None:
        """The step at which the run stopped: it failed or was cancelled, and `continue-on-error` did not go on."""
        allowed = {step["id"] for step in self.definition.get("steps", ()) if step.get("continue-on-error")}
        stops = (StepState.FAILED, StepState.CANCELLED)
        return next((step for step in self.steps if step.state in stops and step.id not in allowed), None)

    def after(self, step_id: str) -> str | None:
        """Return the id of the step after this one; None after the last."""
        ids = [step.id for step in self.steps]
        position = ids.index(step_id) + 1
        return ids[position] if position < len(ids) else None

    def step(self, id: str) -> StepRun:
        """Return a step, or the undo of one as a step of its own (see `undo_step_id`).

        Raises NotFound if the run has no such step, or if its details were pruned.
        """
        if self.forgotten:
            raise NotFound("run_forgotten", run=self.id, incident=self.incident_id)
        step = next((step for step in self.steps if step.id == base_step_id(id)), None)
        if step is None:
            raise NotFound("no_such_step", run=self.id, step=id)
        return step.undoing if is_undo(id) else step

    def asked_by(self, step_id: str) -> Person:
        """Return who asked for a step, or for the undo of one."""
        asked = self.step(base_step_id(step_id)).facts.get(UNDO, {}).get("by") if is_undo(step_id) else None
        return Person.from_json(asked) if asked else self.by


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of a run, with the digest of what it would do; buttons carry it as `run|step|digest`."""

    run_id: str
    step_id: str
    digest: str

    @classmethod
    def parse(cls, value: str) -> StepRef:
        """Parse a button's value. Raises BadInput."""
        parts = value.split("|")
        if len(parts) != len(fields(cls)) or not all(parts):
            raise BadInput("malformed_request")
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Who asks for a run, from where, and for which incident.

    A second request with the same `idempotency_key` returns the first run. Without `environment` the runbook's own is
    used.
    """

    by: Person
    idempotency_key: str
    incident: Incident | None = None
    channel: str | None = None
    environment: str | None = None
    dry_run: bool = False


FOLLOW_UP = "follow_up"  # fact of the step that failed: why the runbook for the failure did not begin; empty if it did
DECIDED_FROM = "decided_from"  # fact of a step: by approval, the terminals that its decisions came from


RUN_ID_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's Base32: nothing that looks like something else
RUN_ID_LENGTH = 10  # 50 bits; should two runs of millions meet all the same, `attempt` tells them apart
_MISTYPED = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})


def run_id(idempotency_key: str, attempt: int = 0) -> str:
    """Return the id of the run that this key starts: always the same; another one for each further attempt."""
    named = f"{idempotency_key}#{attempt}" if attempt else idempotency_key
    number = int.from_bytes(hashlib.sha256(named.encode()).digest())
    return "R-" + "".join(RUN_ID_LETTERS[number >> 5 * place & 31] for place in range(RUN_ID_LENGTH))


def normalize_run_id(typed: str) -> str:
    """Return a run's id as people type it: in any case, without `R-`, with O for 0 and I or L for 1.

    Older ids have six hexadecimal digits and are kept as they are.
    """
    return "R-" + typed.strip().lower().removeprefix("r-").translate(_MISTYPED)


def continued_key(stopped_run_id: str, step_id: str) -> str:
    """Return the idempotency key of the run that continues a stopped run at a step: there is at most one."""
    return f"{stopped_run_id}/continued/{step_id}"


def on_failure_key(failed_run_id: str) -> str:
    """Return the idempotency key of the run that the failure of run `failed` starts."""
    return f"{failed_run_id}/on-failure"


def digest(action: str, parameters: Mapping[str, Any], effects: tuple[Effect, ...]) -> str:
    """Return what an approval covers: SHA-256 (first 12 hex digits) of the action, its parameters and the shown
    effects.
    """
    content = [action, parameters, [effect.to_json() for effect in effects]]
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class ApprovalState(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    BROKEN_GLASS = "broken_glass"
    SKIPPED = "skipped"  # refused or expired, and the run went on without the step

    @property
    def agreed(self) -> bool:
        """True if the step may be executed."""
        return self in (ApprovalState.APPROVED, ApprovalState.BROKEN_GLASS)

    @property
    def refused(self) -> bool:
        """True if it was rejected or nobody decided in time."""
        return self in (ApprovalState.REJECTED, ApprovalState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about an approval, valid only for the parameters of `digest`.

    `terminal` says from which terminal; it is known only while the decision is made, and kept with the step.
    """

    person: str
    verdict: ApprovalState
    digest: str
    at: datetime
    reason: str | None = None
    terminal: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for approvals: so many people with this role, for this digest, until `expires_at`."""

    run_id: str
    step_id: str
    digest: str
    needed: int
    role: str
    asked_at: datetime
    expires_at: datetime
    state: ApprovalState = ApprovalState.WAITING
    decisions: tuple[Decision, ...] = ()

    @property
    def second_call_at(self) -> datetime:
        """When those who can approve are called again: at half time."""
        return self.asked_at + (self.expires_at - self.asked_at) / 2

    def after(self, decision: Decision) -> ApprovalState:
        """Return the state after this decision."""
        if decision.verdict is not ApprovalState.APPROVED:
            return decision.verdict
        approvers = {d.person for d in (*self.decisions, decision) if d.verdict is ApprovalState.APPROVED}
        return ApprovalState.APPROVED if len(approvers) >= self.needed else ApprovalState.WAITING
