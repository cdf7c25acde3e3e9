"""Incidents: declare and change them. Follow-up work is enqueued in the same transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.catchup import CatchUp
from bot.domain.incident import (
    Cause,
    Changed,
    Declaration,
    Impact,
    Incident,
    Role,
    Severity,
    Status,
    merged,
    names_of_differences,
    normalize_incident_id,
)
from bot.domain.nearest import known_service
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.team import policy_of
from bot.workflows.incidents.catchup import catch_up_on


@dataclass(frozen=True, slots=True)
class Findings:
    """Impact and cause of an incident as they were after the event `number` of its timeline.

    A form carries it as `INC-…|number`.
    """

    incident_id: str
    number: int | None = None

    def __str__(self) -> str:
        return f"{self.incident_id}|{self.number}"

    @classmethod
    def parse(cls, value: str) -> Findings:
        id, _, number = value.partition("|")
        return cls(id, int(number) if number.isdecimal() else None)


class Incidents:
    """Incidents. `by` is the requester; a second call with the same idempotency key changes nothing."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def declare(
        self,
        title: str,
        severity: Severity,
        *,
        by: Person,
        idempotency_key: str,
        service: str | None = None,
        drill: bool = False,
    ) -> Incident:
        """Declare an incident. Raises BadInput for an invalid title or service."""
        service = self.check_service(service)
        declaration = Declaration(title, severity, by=by, at=self._now(), service=service, drill=drill)
        return await self.declare_as(declaration, idempotency_key=idempotency_key)

    async def declare_as(self, declaration: Declaration, *, idempotency_key: str) -> Incident:
        """Declare an incident with more than what people say of it. Raises BadInput for an invalid title."""
        incident, _ = await self._deps.store.incidents.declare(
            lambda id: self._deps.redaction.of(Incident.declare(id, declaration)),
            declaration.at,
            idempotency_key=idempotency_key,
        )
        return incident

    async def acknowledge(self, id: str, *, by: Person, idempotency_key: str) -> Incident:
        return await self._change(id, lambda now, at: now.acknowledge(by=by, at=at), idempotency_key)

    async def take_command(self, id: str, *, by: Person, idempotency_key: str) -> Incident:
        """Become the commander, and acknowledge the incident if nobody has: both, or neither."""
        at = self._now()

        def command(now: Incident) -> Changed | None:
            if now.roles.get(Role.COMMANDER) == by.id and now.status is Status.DECLARED:
                return None  # given before, without an acknowledgement
            return now.assign(Role.COMMANDER, by.id, by=by, at=at)

        def acknowledge(now: Incident) -> Changed | None:
            return now.acknowledge(by=by, at=at) if now.status is Status.DECLARED else None

        changes = {f"{idempotency_key}/command": command, f"{idempotency_key}/acknowledge": acknowledge}
        return await self._deps.store.incidents.change_together(id, changes)

    async def assign(self, id: str, role: Role, to: str, *, by: Person, idempotency_key: str) -> Incident:
        return await self._change(id, lambda now, at: now.assign(role, to, by=by, at=at), idempotency_key)

    async def set_severity(self, id: str, severity: Severity, *, by: Person, idempotency_key: str) -> Incident:
        self._check_may(by, "severity")
        return await self._change(id, lambda now, at: now.with_severity(severity, by=by, at=at), idempotency_key)

    async def update(self, id: str, text: str, *, by: Person, idempotency_key: str) -> Incident:
        return await self._change(id, lambda now, at: now.update(text, by=by, at=at), idempotency_key)

    async def note(self, id: str, text: str, *, by: Person, idempotency_key: str) -> Incident:
        return await self._change(id, lambda now, at: now.note(text, by=by, at=at), idempotency_key)

    async def add_message(
        self, id: str, text: str, link: str | None, author: str, *, by: Person, idempotency_key: str
    ) -> Incident:
        return await self._change(
            id, lambda now, at: now.add_message(text, link, author, by=by, at=at), idempotency_key
        )

    async def mitigate(self, id: str, *, by: Person, idempotency_key: str) -> Incident:
        self._check_may(by, "mitigate")
        return await self._change(id, lambda now, at: now.mitigate(by=by, at=at), idempotency_key)

    async def resolve(self, id: str, *, by: Person, idempotency_key: str) -> Incident:
        self._check_may(by, "resolve")
        return await self._change(id, lambda now, at: now.resolve(by=by, at=at), idempotency_key)

    async def dismiss(self, id: str, reason: str, *, by: Person, idempotency_key: str) -> Incident:
        """End an incident as a false alarm."""
        self._check_may(by, "dismiss")
        return await self._change(id, lambda now, at: now.dismiss(reason, by=by, at=at), idempotency_key)

    async def reopen(self, id: str, reason: str, *, by: Person, idempotency_key: str) -> Incident:
        self._check_may(by, "reopen")
        return await self._change(id, lambda now, at: now.reopen(reason, by=by, at=at), idempotency_key)

    async def close(self, id: str, *, by: Person, idempotency_key: str) -> Incident:
        self._check_may(by, "close")
        return await self._change(id, lambda now, at: now.close(by=by, at=at), idempotency_key)

    async def set_impact(
        self, id: str, change: Callable[[Impact], Impact], *, by: Person, idempotency_key: str
    ) -> Incident:
        """Change the impact. `change` gets the current one, inside the transaction, so that nobody's words are lost."""
        return await self._change(
            id, lambda now, at: now.with_impact(change(now.impact), by=by, at=at), idempotency_key
        )

    async def set_cause(
        self, id: str, change: Callable[[Cause], Cause], *, by: Person, idempotency_key: str
    ) -> Incident:
        """Change the root cause, as `set_impact` does the impact."""
        return await self._change(id, lambda now, at: now.with_cause(change(now.cause), by=by, at=at), idempotency_key)

    async def set_findings(
        self, form: Findings, impact: Impact, cause: Cause, *, by: Person, idempotency_key: str
    ) -> list[str]:
        """Save a form's impact and cause in one transaction, merged with what others set while it was open.

        Returns the names of the fields that others changed meanwhile.
        """
        shown_impact, shown_cause = await self._shown(form)
        at, meanwhile = self._now(), dict[str, list[str]]()

        def save_impact(now: Incident) -> Changed | None:
            meanwhile["impact"] = names_of_differences(shown_impact, self._selectable(now.impact))
            if impact == shown_impact:
                return None
            return now.with_impact(merged(now.impact, shown_impact, impact), by=by, at=at)

        def save_cause(now: Incident) -> Changed | None:
            meanwhile["cause"] = names_of_differences(shown_cause, now.cause)
            if cause == shown_cause:
                return None
            return now.with_cause(merged(now.cause, shown_cause, cause), by=by, at=at)

        changes = {f"{idempotency_key}/impact": save_impact, f"{idempotency_key}/cause": save_cause}
        await self._deps.store.incidents.change_together(form.incident_id, changes)
        return [name for names in meanwhile.values() for name in names]

    async def findings(self, incident: Incident) -> Findings:
        """Return what identifies the incident's impact and cause as a form shows them now."""
        return Findings(incident.id, await self._deps.store.incidents.last_number(incident.id))

    async def _shown(self, form: Findings) -> tuple[Impact, Cause]:
        """Return the impact and the cause as the form showed them."""
        incidents = self._deps.store.incidents
        incident = await incidents.get(form.incident_id)
        if form.number is None:  # a form that an earlier version opened
            return self._selectable(incident.impact), incident.cause
        impact, cause = await incidents.findings_at(incident, form.number)
        return self._selectable(impact), cause

    def _selectable(self, impact: Impact) -> Impact:
        """Return the impact with those services that the form offers."""
        return replace(impact, services=tuple(name for name in impact.services if name in self._deps.team.services))

    async def find(self, id: str) -> Incident:
        """Return an incident by its id as people type it. Raises NotFound."""
        return await self._deps.store.incidents.get(normalize_incident_id(id))

    async def catch_up(self, incident: Incident) -> CatchUp:
        """Return what somebody who comes late needs to know."""
        return await catch_up_on(self._deps, incident)

    async def snooze(self, id: str, for_: timedelta, *, by: Person, idempotency_key: str) -> datetime:
        """Do not remind of updates for a while, even over a restart. Returns until when."""
        until = self._now() + for_
        facts = {"until": until.isoformat()}
        await self._change(id, lambda now, at: now.with_event(Kind.SNOOZED, facts, by=by, at=at), idempotency_key)
        return until

    async def is_shown(self, id: str, *, idempotency_key: str) -> bool:
        """Wait for the messages of a request in Slack, for at most 3 s. False: it is saved, and not shown yet."""
        seqs = await self._deps.store.incidents.seqs_of(id, idempotency_key)
        keys = [f"{id}/headline" if seq == 1 else f"{id}/{seq}" for seq in seqs]
        pauses = [0.05 * 2**number for number in range(6)]
        for pause in [*pauses, 0.0]:
            sent = [await self._deps.store.slack_messages.get(key) for key in keys]
            if all(message and message.ts for message in sent):
                return True
            await asyncio.sleep(pause)
        return False

    async def in_channel(self, channel: str) -> Incident | None:
        return await self._deps.store.incidents.in_channel(channel)

    def check_service(self, service: str | None) -> str | None:
        """Return the service if the team file has it. Raises BadInput with the nearest one."""
        return known_service(service, self._deps.team.services) if service else None

    def _check_may(self, by: Person, verb: str) -> None:
        """Raise NotAllowed for a person in Slack whom the team file does not let do this."""
        if by.in_slack:
            policy_of(self._deps.team).may_change_incident(by.id, verb)

    async def _change(self, id: str, change: Callable[[Incident, datetime], Changed], idempotency_key: str) -> Incident:
        at = self._now()
        incident, _ = await self._deps.store.incidents.change(
            id, lambda now: change(now, at), idempotency_key=idempotency_key
        )
        return incident

    def _now(self) -> datetime:
        return self._deps.clock.now()
