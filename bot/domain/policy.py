"""Policy: who may change what, and whose approval is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.errors import NotAllowed
from bot.domain.incident import Severity


class Risk(StrEnum):
    """What an action may do to production, in increasing order."""

    READ = "read"
    CHANGE = "change"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


# The environment of what lies in several environments, in none, or is unknown: the strictest rules of all hold.
ANYWHERE = "*"
RESPONDER = "responder"
ANYONE = "anyone"
COMMANDER = "incident_commander"

# Approvals by other people that a risk needs.
APPROVALS = {Risk.READ: 0, Risk.CHANGE: 0, Risk.DISRUPTIVE: 1, Risk.DESTRUCTIVE: 2}


# What of an incident only some people may do, and their role; anyone may declare, note and acknowledge.
INCIDENT_ROLES: Mapping[str, str] = {
    "resolve": RESPONDER,
    "close": RESPONDER,
    "reopen": RESPONDER,
    "severity": RESPONDER,
    "dismiss": RESPONDER,
    "announce": RESPONDER,
    "mitigate": ANYONE,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Overrides risk or approvals of an action (`*`: all) in an environment (`*`: all)."""

    action: str = "*"
    environment: str = "*"
    risk: Risk | None = None
    approvals: int | None = None

    def fits(self, action: str, environment: str) -> bool:
        return self.action in ("*", action) and self.environment in ("*", environment)


@dataclass(frozen=True, slots=True)
class Window:
    """A freeze window: changes between these times (UTC) need an approval."""

    title: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class StepApproval:
    """What a runbook demands for a step: a minimum of approvals, a role, an expiry."""

    approvals: int = 0
    role: str | None = None
    expires: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RequiredApprovals:
    """What an action needs before it is executed: so many approvals by people with this role, before they expire."""

    risk: Risk
    approvals: int
    role: str = RESPONDER
    expires: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Emergency:
    """What running without approval depends on: the incident's severity, who set it, and since when approvers are
    asked. Without an incident there is no severity.
    """

    asked_at: datetime
    severity: Severity | None = None
    set_by: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The team's rules. `roles` maps a role to Slack user ids; the last matching rule wins."""

    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rules: Sequence[Rule] = ()
    windows: Sequence[Window] = ()
    break_glass: frozenset[Severity] = frozenset({Severity.SEV1})
    break_glass_after: timedelta = timedelta(minutes=5)
    cool_down: timedelta = timedelta(seconds=30)
    expires: timedelta = timedelta(minutes=15)
    incident_roles: Mapping[str, str] = field(default_factory=lambda: INCIDENT_ROLES)

    def requires(
        self,
        action: str,
        risk: Risk,
        environments: Collection[str],
        at: datetime,
        demanded: StepApproval = StepApproval(),
    ) -> RequiredApprovals:
        """Return the approvals that this action needs now: the most that one of the environments asks for.

        A runbook may demand more, never less.
        """
        everywhere = {ANYWHERE, *(rule.environment for rule in self.rules)} if ANYWHERE in environments else set()
        needs = [self._needs(action, risk, environment) for environment in {*environments, *everywhere}]
        risk = max((risk for risk, _ in needs), key=list(Risk).index)
        count = max(count for _, count in needs)
        if risk is not Risk.READ and self.window(at):
            count = max(count, 1)
        if demanded.role is not None:
            count = max(count, 1)
        return RequiredApprovals(
            risk, max(count, demanded.approvals), demanded.role or RESPONDER, demanded.expires or self.expires
        )

    def _needs(self, action: str, risk: Risk, environment: str) -> tuple[Risk, int]:
        """Return an action's risk and its number of approvals by the rules of one environment."""
        count: int | None = None
        for rule in self.rules:
            if rule.fits(action, environment):
                risk = rule.risk or risk
                count = rule.approvals if rule.approvals is not None else count
        return risk, APPROVALS[risk] if count is None else count

    def window(self, at: datetime) -> Window | None:
        """Return the freeze window that contains `at`, if any."""
        return next((window for window in self.windows if window.begins <= at < window.ends), None)

    def has(self, person: str, role: str) -> bool:
        return person in self.roles.get(role, frozenset())

    def may_run(self, person: str, risk: Risk) -> None:
        """Raise NotAllowed, with the responders in its facts. Anybody may run a READ action."""
        if risk is not Risk.READ and not self.has(person, RESPONDER):
            raise NotAllowed("not_a_responder", person=person, who=sorted(self.roles.get(RESPONDER, ())))

    def may_change_incident(self, person: str, verb: str) -> None:
        """Raise NotAllowed for a person without the role for this. Where nobody has the role, everybody may."""
        role = self.incident_roles.get(verb, ANYONE)
        if role != ANYONE and self.roles.get(role) and not self.has(person, role):
            raise NotAllowed("role_missing", person=person, role=role, who=sorted(self.roles[role]))

    def may_decide(self, person: str, role: str, *, requested_by: str) -> None:
        """Raise NotAllowed for the requester and for people who lack the role now, at the moment of the click."""
        if person == requested_by:
            raise NotAllowed("own_request", person=person)
        if not self.has(person, role):
            raise NotAllowed("role_missing", person=person, role=role, who=sorted(self.roles.get(role, ())))

    def may_break_glass(self, person: str, emergency: Emergency, *, requested_by: str, at: datetime) -> None:
        """Raise NotAllowed unless a responder acts in an incident whose severity allows running without approval, and
        either somebody else has set that severity, or the approvers had time to answer.
        """
        if emergency.severity not in self.break_glass:
            raise NotAllowed("no_break_glass", severities=sorted(level.value for level in self.break_glass))
        self.may_run(person, Risk.CHANGE)
        possible_at = self.break_glass_at(emergency, requested_by, person)
        if possible_at is not None and at < possible_at:
            raise NotAllowed(
                "break_glass_early", until=possible_at.isoformat(), seconds=(possible_at - at).total_seconds()
            )

    def break_glass_at(self, emergency: Emergency, *people: str) -> datetime | None:
        """Return when these people may break the glass, in an incident whose severity allows it; None: at any time,
        since none of them has set the severity.
        """
        set_by_another = emergency.set_by is not None and emergency.set_by not in people
        return None if set_by_another else emergency.asked_at + self.break_glass_after
