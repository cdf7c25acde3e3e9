"""How an incident ends, read from its timeline: calm, mitigated, resolved; and whether it came back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bot.domain.timeline import Kind, TimelineEvent


@dataclass(frozen=True, slots=True)
class Ending:
    """One end, or try of one. `calm` is when the last alert ended, `remains` a cause that is still in place, and `back`
    what showed that it was none: an alert, or a person who reopened the incident.
    """

    began: int  # the number of its first event
    calm: TimelineEvent | None = None
    mitigated: TimelineEvent | None = None
    resolved: TimelineEvent | None = None
    dismissed: TimelineEvent | None = None
    remains: TimelineEvent | None = None
    back: TimelineEvent | None = None


def endings(timeline: Iterable[TimelineEvent]) -> list[Ending]:
    """Return all endings of an incident, oldest first; only the last one may have no `back`."""
    found: list[Ending] = []
    for event in timeline:
        going = bool(found) and found[-1].back is None
        name = _PART.get(event.kind)
        if event.kind is Kind.ALERT_RESOLVED and event.facts.get("firing"):
            continue
        if event.kind in (Kind.ALERT_FIRING, Kind.REOPENED) and going:
            found[-1] = replace(found[-1], back=event)
        elif name and (going or event.kind is not Kind.CAUSE_REMAINS):
            if not going:
                found.append(Ending(event.seq))
            part: dict[str, Any] = {name: event}
            found[-1] = replace(found[-1], **part)
    return found


_PART = {
    Kind.ALERT_RESOLVED: "calm",
    Kind.MITIGATED: "mitigated",
    Kind.RESOLVED: "resolved",
    Kind.DISMISSED: "dismissed",
    Kind.CAUSE_REMAINS: "remains",
}
