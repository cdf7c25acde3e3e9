"""Follow-ups: opened by people, closed by events of GitHub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from babel.dates import get_day_names

from bot.codeowners import GITHUB, find_team
from bot.deps import Deps
from bot.domain.errors import BadInput
from bot.domain.followup import FollowUp, FollowUpDraft, FollowUpState, IssueEvent
from bot.domain.incident import TITLE_LIMIT
from bot.domain.people import Person
from bot.domain.times import LONGEST
from bot.shipped import languages

LABEL_LIMIT = 50  # GitHub's limit


@dataclass(frozen=True, slots=True)
class FollowUpRequest:
    """A request for a follow-up; only the title is required."""

    title: str
    owner: str | None = None
    due: str | date | None = None
    labels: Sequence[str] = ()


class FollowUps:
    """Follow-ups: validates titles, owners and due dates, and applies events of issues."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def open(
        self,
        incident_id: str,
        request: FollowUpRequest,
        *,
        by: Person,
        idempotency_key: str,
    ) -> FollowUp:
        """Open a follow-up; its issue is created afterwards. A second call with the same key returns the first one.

        `owner` is a team, a person, a GitHub login or a path of the repository; default: the owners of the incident's
        service. `due` is a day or a text for `read_due`; default: the team file's. Raises BadInput and NotFound.
        """
        title = self._deps.redaction.text(" ".join(request.title.split()))
        owner, due = request.owner, request.due
        if not title:
            raise BadInput("title_missing")
        if len(title) > TITLE_LIMIT:
            raise BadInput("title_too_long", limit=TITLE_LIMIT, length=len(title))
        now = self._deps.clock.now()
        policy = self._deps.team.followups
        day = read_due(due, now.date()) if isinstance(due, str) and due.strip() else due or None
        incident = await self._deps.store.incidents.get(incident_id)
        draft = FollowUpDraft(
            title,
            owner=find_team(owner, self._deps.team) if owner and owner.strip() else None,
            due=day if isinstance(day, date) else now.date() + policy.due_in,
            labels=tuple(dict.fromkeys([*policy.labels, *_labels(request.labels)])),
        )
        return await self._deps.store.followups.open(incident.id, draft, by=by, at=now, idempotency_key=idempotency_key)

    async def handle(self, event: IssueEvent, idempotency_key: str) -> FollowUp | None:
        """Apply an event of a follow-up's issue. Returns the follow-up if it changed."""
        followup = await self._deps.store.followups.by_number(event.number)
        if followup is None or (followup.url or "").casefold() != event.url.casefold():
            return None
        if not await self._apply(followup, event, idempotency_key):
            return None
        return await self._deps.store.followups.get(followup.id)

    async def _apply(self, followup: FollowUp, event: IssueEvent, idempotency_key: str) -> bool:
        by, at, store = self._person(event.login), self._deps.clock.now(), self._deps.store.followups
        if event.action == "closed":
            if followup.state is FollowUpState.DONE:
                return False
            return await store.mark_done(
                followup.id, {"reason": event.reason}, by=by, at=at, idempotency_key=idempotency_key
            )
        if event.action == "reopened" and followup.state is not FollowUpState.DONE:
            return False
        return await store.mark_reopened(
            followup.id, gone=event.action == "deleted", by=by, at=at, idempotency_key=idempotency_key
        )

    def _person(self, login: str) -> Person:
        owner = self._deps.team.person(github=login)
        return Person(owner.slack, owner.name) if owner else Person(GITHUB + login, login)


def read_due(text: str, today: date) -> date:
    """Parse `2026-01-31`, `14d`, `2w`, or a weekday in any language of the bot: the next one after today.

    Raises BadInput for anything else, and for a day in the past.
    """
    words = text.strip().casefold()
    if span := re.fullmatch(r"(\d{1,3})([dw])", words):
        return today + timedelta(days=int(span[1]) * (7 if span[2] == "w" else 1))
    if (weekday := _weekdays().get(words)) is not None:
        return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    try:
        day = date.fromisoformat(words)
    except ValueError:
        raise BadInput("due_wrong", due=text) from None
    if day < today:
        raise BadInput("due_past", due=text, today=today.isoformat())
    if day - today > LONGEST:
        raise BadInput("due_wrong", due=text)
    return day


def _weekdays() -> dict[str, int]:
    widths: tuple[Literal["wide", "abbreviated"], ...] = ("wide", "abbreviated")
    return {
        name.casefold(): number
        for locale in languages()
        for width in widths
        for number, name in get_day_names(width, locale=locale).items()
    }


def _labels(labels: Sequence[str]) -> list[str]:
    """Return the labels, splitting those that contain commas. Raises BadInput."""
    names = [part.strip() for label in labels for part in label.split(",")]
    for label in names:
        if len(label) > LABEL_LIMIT:
            raise BadInput("text_too_long", limit=LABEL_LIMIT, length=len(label))
    return [label for label in names if label]
