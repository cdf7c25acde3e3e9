"""A responder at PagerDuty's web page or phone app: what a person does, and not an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.pagerduty import shapes
from sandbox.pagerduty.records import Incident, User

if TYPE_CHECKING:
    from sandbox.pagerduty.backend import PagerDuty


class PersonAtPagerDuty:
    """A responder; an incident is given as itself, by id, or by dedup key. Raises what the backend raises."""

    def __init__(self, pagerduty: PagerDuty, user: User) -> None:
        self.user = user
        self._pagerduty = pagerduty
        self._me = shapes.user_reference(pagerduty, user)

    async def acknowledge(self, incident: Incident | str) -> None:
        self._pagerduty.acknowledge(self._find(incident), self._me)

    async def resolve(self, incident: Incident | str) -> None:
        self._pagerduty.resolve(self._find(incident), self._me)

    async def reopen(self, incident: Incident | str) -> None:
        self._pagerduty.reopen(self._find(incident), self._me)

    async def note(self, incident: Incident | str, text: str) -> None:
        self._pagerduty.note(self._find(incident), text, self._me)

    async def escalate(self, incident: Incident | str, level: int) -> None:
        self._pagerduty.escalate(self._find(incident), level, self._me)

    async def reassign(self, incident: Incident | str, *handles: str) -> None:
        users = [self._pagerduty.company.person(handle).pagerduty for handle in handles]
        self._pagerduty.reassign(self._find(incident), users, self._me)

    async def set_priority(self, incident: Incident | str, name: str) -> None:
        priority = next(p.id for p in self._pagerduty.priorities.values() if p.name == name)
        self._pagerduty.set_priority(self._find(incident), priority, self._me)

    def _find(self, incident: Incident | str) -> Incident:
        return incident if isinstance(incident, Incident) else self._pagerduty.incident(incident)
