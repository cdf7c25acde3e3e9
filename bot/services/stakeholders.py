"""Notices for stakeholders: publish one, or be asked again later."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.deps import Deps
from bot.domain.errors import BadInput, WrongState
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.stakeholders import Draft, last_change
from bot.domain.timeline import Kind
from bot.messages.stakeholders import suggestion
from bot.team import policy_of

SNOOZE = timedelta(minutes=5)


class Stakeholders:
    """`by` is who publishes; a second call with the same idempotency key changes nothing."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def draft(self, incident: Incident) -> Draft:
        """Return a draft of what could be published now. Raises BadInput if the team has no channel for it."""
        self._channel()
        return Draft(incident.id, None, None, suggestion(incident, self._deps.team, self._deps.words))

    async def tell(self, draft: Draft, *, by: Person, idempotency_key: str) -> Incident:
        """Publish a draft. Raises NotAllowed, BadInput, and WrongState if it is no longer current."""
        deps, channel = self._deps, self._channel()
        if by.in_slack:
            policy_of(deps.team).may_change_incident(by.id, "announce")
        text, at = deps.redaction.text(draft.text), deps.clock.now()
        await self._check_current(draft)
        incident, _ = await deps.store.incidents.change(
            draft.incident_id,
            lambda now: now.tell_stakeholders(text, channel, draft.news_at or self._next_news(now, at), by=by, at=at),
            idempotency_key=idempotency_key,
        )
        return incident

    async def snooze(self, incident_id: str, *, by: Person, idempotency_key: str) -> None:
        """Ask for the notice again later, even over a restart."""
        at = self._deps.clock.now()
        until = at + SNOOZE
        await self._deps.store.incidents.change(
            incident_id,
            lambda now: now.with_event(Kind.NOTICE_SNOOZED, {"until": until.isoformat()}, by=by, at=at),
            idempotency_key=idempotency_key,
        )

    async def _check_current(self, draft: Draft) -> None:
        if draft.seq is None:
            return
        newest = last_change(await self._deps.store.incidents.timeline(draft.incident_id))
        if newest.seq != draft.seq:
            told = newest.kind is Kind.STAKEHOLDERS_TOLD
            facts = {"incident": draft.incident_id, "by": newest.by.name or newest.by.id}
            raise WrongState("notice_published" if told else "notice_outdated", **facts)

    def _next_news(self, incident: Incident, at: datetime) -> datetime | None:
        every = self._deps.team.severity_policy(incident.severity).update_every
        return at + every if every else None

    def _channel(self) -> str:
        channel = self._deps.team.stakeholders_channel
        if channel is None:
            raise BadInput("no_stakeholders_channel")
        return channel
