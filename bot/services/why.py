"""Why: the causes of an incident, or of what a service suffers from, and what people say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bot.causes.catalogue import CAUSES
from bot.deps import Deps
from bot.domain.errors import BadInput, NotConfigured
from bot.domain.incident import Cause, Changed, Incident, merged
from bot.domain.nearest import known_service, nearest
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.messages.why import Why
from bot.workflows.incidents.diagnose import CHART, Opinions, diagnose, diagnosis_of, look_at, record, why_of
from bot.workflows.incidents.evidence import CHANGES_SINCE


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person says of a cause in an incident: by its name, `bad-version`."""

    incident: Incident
    cause: str


class Causes:
    """Causes of incidents. Methods raise BadInput for a service or a cause that nobody knows."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def look(self, incident: Incident | None, service: str | None, *, idempotency_key: str) -> Why:
        """Look now. In an incident of that service it is kept in the timeline, and its message is brought up to date.

        Raises NotConfigured with neither Prometheus nor a cluster.
        """
        deps = self._deps
        if deps.prometheus is None and deps.kubernetes is None:
            raise NotConfigured("why_off")
        name = service or (incident.service if incident else None) or deps.team.default_service
        services = deps.team.services
        if name is None:
            raise BadInput("why_no_service", known=sorted(services))
        name = known_service(name, services)
        if incident is None or incident.service != name:
            looked = await diagnose(deps, name, broadly=True)
            return Why(looked.diagnosis, looked.changes, looked.diagnosis.at - CHANGES_SINCE)
        opinions = await self._opinions(incident)
        looked = await look_at(deps, incident, opinions)
        if incident.status.is_open:
            await record(deps, incident, opinions, looked, idempotency_key=f"{idempotency_key}/why")
            await self._chart(incident, await self._opinions(incident))
        return await why_of(deps, incident, opinions, looked)

    async def evidence(self, incident: Incident) -> Why | None:
        """Return what the timeline has of the causes, without asking anybody; None: nothing yet.

        Its chart is drawn into the card's thread, once for each time that the bot has changed its mind.
        """
        opinions = await self._opinions(incident)
        await self._chart(incident, opinions)
        return await why_of(self._deps, incident, opinions) if opinions.weighed else None

    @property
    def charts(self) -> bool:
        """Whether there are metrics to draw."""
        return self._deps.prometheus is not None

    async def _chart(self, incident: Incident, opinions: Opinions) -> None:
        event = opinions.weighed
        if event and self.charts and diagnosis_of(event).shown:
            key = f"{incident.id}/{event.seq}/{CHART}"
            await self._deps.store.outbox.enqueue_once(key, CHART, [incident.id, event.seq])

    async def rule_out(self, opinion: Opinion, reason: str | None, *, by: Person, idempotency_key: str) -> None:
        """Say that it is not this one: it is left out from now on."""
        await self._say(Kind.CAUSE_RULED_OUT, opinion, reason, by=by, idempotency_key=idempotency_key)

    async def confirm(self, opinion: Opinion, *, by: Person, idempotency_key: str) -> None:
        """Say that it is this one. It becomes the incident's root cause, if that has none."""
        await self._say(Kind.CAUSE_CONFIRMED, opinion, None, by=by, idempotency_key=idempotency_key)

    async def _say(self, kind: Kind, opinion: Opinion, reason: str | None, *, by: Person, idempotency_key: str) -> None:
        deps, incident = self._deps, opinion.incident
        name = opinion.cause.strip().lower().replace("-", "_")
        names = {cause.name for cause in CAUSES.all()}
        if name not in names:
            shown = sorted(one.replace("_", "-") for one in names)
            raise BadInput("unknown_cause", cause=opinion.cause, nearest=nearest(opinion.cause, shown), known=shown)
        suspect = (await self._opinions(incident)).suspect(name, incident.service or "")
        facts = deps.redaction.of({"suspect": suspect.to_json(), "reason": reason})
        at = deps.clock.now()

        def say(now: Incident) -> Changed:
            return now.with_event(kind, facts, by=by, at=at)

        changes: dict[str, Callable[[Incident], Changed | None]] = {f"{idempotency_key}/say": say}
        if kind is Kind.CAUSE_CONFIRMED:
            title = deps.words.label(f"causes.{name}")

            def set_cause(now: Incident) -> Changed | None:
                if now.cause.primary:
                    return None
                return now.with_cause(merged(now.cause, Cause(), Cause(primary=title)), by=by, at=at)

            changes[f"{idempotency_key}/cause"] = set_cause
        await deps.store.incidents.change_together(incident.id, changes)

    async def _opinions(self, incident: Incident) -> Opinions:
        return Opinions.of(await self._deps.store.incidents.timeline(incident.id))
