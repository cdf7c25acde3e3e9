"""What stakeholders are told of an incident: when the next notice is due, and who is asked to publish it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.domain.errors import BadInput
from bot.domain.incident import Incident, Role
from bot.domain.timeline import Kind, TimelineEvent

_BEGINS = (Kind.DECLARED, Kind.SEVERITY_CHANGED, Kind.REOPENED)
_ENDS = (Kind.RESOLVED, Kind.DISMISSED)
_NEWS = (Kind.SEVERITY_CHANGED, Kind.MITIGATED)  # stakeholders want to know before the next notice is due
_ASKS_AGAIN = frozenset({*_BEGINS, *_ENDS, *_NEWS, Kind.STAKEHOLDERS_TOLD, Kind.NOTICE_SNOOZED})
_SPEAKERS = (Role.COMMS, Role.COMMANDER, Role.OPS, Role.SCRIBE)  # who is asked first
LAST_CALL = 5  # the second request comes when this part of the time is left
AHEAD = timedelta(minutes=5)  # so long before the time that stakeholders were promised, a draft is there


@dataclass(frozen=True, slots=True)
class Draft:
    """A notice that waits for somebody to publish it: exactly this `text`, which promises news at `news_at`.

    It is about the incident as it was after the event number `seq` of its timeline; None: written by a person.
    """

    incident_id: str
    seq: int | None
    news_at: datetime | None
    text: str

    def to_value(self, *, text: str | None = None) -> str:
        """Return it as the value of a button; with another `text` if one is given."""
        news_at = self.news_at.isoformat() if self.news_at else ""
        return f"{self.incident_id}|{self.seq or ''}|{news_at}|{self.text if text is None else text}"

    @classmethod
    def parse(cls, value: str) -> Draft:
        """Read a button's value. Raises BadInput."""
        parts = value.split("|", 3)
        try:
            id, seq, news_at, text = parts
            return cls(id, int(seq) if seq else None, datetime.fromisoformat(news_at) if news_at else None, text)
        except ValueError:
            raise BadInput("malformed_request") from None


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is due at `due`; `ends` says that the incident is over. `asks` are the times at which somebody is
    asked to publish it; at `due` it is somebody else.
    """

    due: datetime
    ends: bool
    asks: tuple[datetime, ...]


def next_notice(incident: Incident, timeline: Sequence[TimelineEvent], within: timedelta | None) -> Notice | None:
    """Return the notice that stakeholders are to get next; None if there is none.

    The first is due `within` that time after the declaration (of this severity), the others when the one before
    promised news, and the last one `within` the same time after the end, if there was any before. Without `within`
    they are told nothing.
    """
    told = next((event for event in reversed(timeline) if event.kind is Kind.STAKEHOLDERS_TOLD), None)
    ends = not incident.status.is_open
    if within is None or (ends and (told is None or told.facts["ends"])):
        return None
    if ends:
        begins = _newest(timeline, _ENDS).at
        due = begins + within
    elif told is None or told.facts["ends"]:
        begins = _newest(timeline, _BEGINS).at
        due = begins + within
    elif told.facts["next"] is None:
        return None
    else:
        due = datetime.fromisoformat(told.facts["next"])
        news = next((event.at for event in reversed(timeline) if event.kind in _NEWS and event.seq > told.seq), None)
        begins = min(news or max(due - AHEAD, told.at), due)
    asks = [begins, due - (due - begins) / LAST_CALL, due]
    newest = last_change(timeline)
    if newest.kind is Kind.NOTICE_SNOOZED:
        asks = _from(datetime.fromisoformat(newest.facts["until"]), asks)
    elif newest.kind is Kind.ROLE_ASSIGNED:
        asks = _from(max(begins, newest.at), asks)
    return Notice(due, ends, tuple(asks))


def asks_again(event: TimelineEvent) -> bool:
    """Return True if the next notice is worked out anew after this event: another text, time or person."""
    if event.kind is Kind.ROLE_ASSIGNED:
        return event.facts["role"] in _SPEAKERS[:2]
    return event.kind in _ASKS_AGAIN


def last_change(timeline: Sequence[TimelineEvent]) -> TimelineEvent:
    """Return the newest event after which the next notice is worked out anew."""
    return next(event for event in reversed(timeline) if asks_again(event))


def _from(start: datetime, asks: Sequence[datetime]) -> list[datetime]:
    return [start, *(at for at in asks if at > start)]


def _newest(timeline: Sequence[TimelineEvent], kinds: Collection[Kind]) -> TimelineEvent:
    return next(event for event in reversed(timeline) if event.kind in kinds)


def speakers(incident: Incident, on_call: Iterable[str]) -> tuple[str, ...]:
    """Return the Slack user ids of those who may be asked, the first one first: communications, the commander, the
    other roles, and who is on call.
    """
    people = [incident.roles.get(role) for role in _SPEAKERS]
    return tuple(dict.fromkeys(person for person in [*people, *on_call] if person))


def told_part(timeline: Iterable[TimelineEvent]) -> tuple[int, list[TimelineEvent]]:
    """Return the number of notices that ended an incident before it was reopened, and the notices since then."""
    part, notices = 0, list[TimelineEvent]()
    for event in timeline:
        if event.kind is Kind.STAKEHOLDERS_TOLD:
            if notices and notices[-1].facts["ends"]:
                part, notices = part + 1, []
            notices.append(event)
    return part, notices
