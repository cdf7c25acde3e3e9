"""Who may change what, and who must agree first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.errors import NotAllowed
from bot.domain.incident import Severity


class Risk(StrEnum):
    """What an action may do to production; the later the worse."""

    READ = "read"
    CHANGE = "change"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


RESPONDER = "responder"
COMMANDER = "incident_commander"

# Approvals by somebody else that a risk needs.
APPROVALS = {Risk.READ: 0, Risk.CHANGE: 0, Risk.DISRUPTIVE: 1, Risk.DESTRUCTIVE: 2}


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a risk is other than the action says: for this action (or all, `*`) in this environment (or all)."""

    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    approvals: int | None = None

    def fits(self, action: str, environment: str) -> bool:
        return self.action in ("*", action) and self.environment in ("*", environment)


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which nothing is changed without an approval: a calendar's entry, both ends in UTC."""

    title: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """What a runbook asks of the approval of a step: at least so many people, of this role, within this time."""

    approvals: int = 0
    role: str | None = None
    expires: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Needed:
    """What must come before an action is performed: so many approvals by people with this role, within this time."""

    risk: Risk
    approvals: int
    role: str = RESPONDER
    expires: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Policy:
    """The team's rules. `roles` says which Slack user ids have a role; the last rule that fits wins."""

    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rules: Sequence[Rule] = ()
    windows: Sequence[Window] = ()
    break_glass: frozenset[Severity] = frozenset({Severity.SEV1})
    cool_down: timedelta = timedelta(seconds=30)
    expires: timedelta = timedelta(minutes=15)

    def needed(
        self,
        action: str,
        risk: Risk,
        environment: str,
        at: datetime,
        asked: Asked = Asked(),
    ) -> Needed:
        """What this action needs here and now. A runbook may ask for more, never for less."""
        count: int | None = None
        for rule in self.rules:
            if rule.fits(action, environment):
                risk = rule.risk or risk
                count = rule.approvals if rule.approvals is not None else count
        count = APPROVALS[risk] if count is None else count
        if risk is not Risk.READ and self.window(at):
            count = max(count, 1)
        if asked.role is not None:
            count = max(count, 1)
        return Needed(risk, max(count, asked.approvals), asked.role or RESPONDER, asked.expires or self.expires)

    def window(self, at: datetime) -> Window | None:
        """The freeze window that `at` falls into."""
        return next((window for window in self.windows if window.begins <= at < window.ends), None)

    def has(self, person: str, role: str) -> bool:
        return person in self.roles.get(role, frozenset())

    def may_run(self, person: str, risk: Risk) -> None:
        """Raises NotAllowed, with who can. Reading is open to everybody in the channel."""
        if risk is not Risk.READ and not self.has(person, RESPONDER):
            raise NotAllowed("not_a_responder", person=person, who=sorted(self.roles.get(RESPONDER, ())))

    def may_decide(self, person: str, role: str, *, asked_by: str) -> None:
        """Raises NotAllowed: who asked does not approve, and the role is needed at the moment of the click."""
        if person == asked_by:
            raise NotAllowed("own_request", person=person)
        if not self.has(person, role):
            raise NotAllowed("role_missing", person=person, role=role, who=sorted(self.roles.get(role, ())))

    def may_break_glass(self, person: str, severity: Severity | None) -> None:
        """Raises NotAllowed: alone is only allowed to a responder, in an incident that is bad enough."""
        if severity not in self.break_glass:
            raise NotAllowed("no_break_glass", severities=sorted(level.value for level in self.break_glass))
        self.may_run(person, Risk.CHANGE)
