"""The timeline: an incident's events, append-only, each chained by hash to the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from bot.domain.people import Person

GENESIS = "0" * 64


class Kind(StrEnum):
    """What happened. The text for each kind is in `messages/timeline.j2`, in the block of the same name."""

    DECLARED = "declared"
    CHANNEL_OPENED = "channel_opened"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SEVERITY_CHANGED = "severity_changed"
    ROLE_ASSIGNED = "role_assigned"
    UPDATE = "update"
    NOTE = "note"
    SNOOZED = "snoozed"
    STAKEHOLDERS_TOLD = "stakeholders_told"
    NOTICE_SNOOZED = "notice_snoozed"
    STATUS_PAGE_UPDATED = "status_page_updated"
    MESSAGE_ADDED = "message_added"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"
    STILL_FIRING = "still_firing"
    REOPENED = "reopened"
    CLOSED = "closed"
    IMPACT_SET = "impact_set"
    CAUSE_SET = "cause_set"
    CAUSES_WEIGHED = "causes_weighed"
    CAUSE_RULED_OUT = "cause_ruled_out"
    CAUSE_CONFIRMED = "cause_confirmed"
    CAUSE_REMAINS = "cause_remains"
    ALERT_FIRING = "alert_firing"
    ALERT_RESOLVED = "alert_resolved"
    PAGE_ASKED = "page_asked"
    PAGED = "paged"
    PAGE_FAILED = "page_failed"
    PAGE_HELD = "page_held"
    PAGE_MERGED = "page_merged"
    PAGE_RESOLVED = "page_resolved"
    ESCALATED = "escalated"
    SNAPSHOT_TAKEN = "snapshot_taken"
    FOLLOWUP_OPENED = "followup_opened"
    FOLLOWUP_FILED = "followup_filed"
    FOLLOWUP_DONE = "followup_done"
    FOLLOWUP_REOPENED = "followup_reopened"
    REPORT_WRITTEN = "report_written"
    RUN_STARTED = "run_started"
    RUN_APPROVED = "run_approved"
    RUN_CHANGED = "run_changed"
    RUN_UNDONE = "run_undone"
    CHANGE_PROPOSED = "change_proposed"
    CHANGE_REVERTED = "change_reverted"
    RUN_ENDED = "run_ended"
    TROUBLE = "trouble"


# Somebody must see these: they stand in the channel. All others are records, below the card.
_CALLS = frozenset(
    {
        Kind.SEVERITY_CHANGED,
        Kind.UPDATE,
        Kind.NOTE,
        Kind.STILL_FIRING,
        Kind.REOPENED,
        Kind.UNACKNOWLEDGED,
        Kind.PAGE_ASKED,
        Kind.PAGE_FAILED,
        Kind.CHANGE_REVERTED,
        Kind.TROUBLE,
    }
)
TERMINAL = "terminal"  # fact of an event: from which terminal its person acted


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One event.

    `facts` is plain JSON and depends on the kind. `seq` (1, 2, … within the incident) and `hash` are set when the event
    is appended; before that they are 0 and empty.
    """

    kind: Kind
    at: datetime
    by: Person
    facts: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    hash: str = ""

    def chained(self, incident_id: str, after: str, seq: int) -> TimelineEvent:
        """Return the event as it is appended: with its number, and a hash over itself and the previous hash `after`."""
        event = replace(self, seq=seq)
        return replace(event, hash=event.digest(incident_id, after))

    def digest(self, incident_id: str, after: str) -> str:
        """Return SHA-256 (hex) over the previous hash and the canonical JSON of this event."""
        content = [
            incident_id,
            self.seq,
            self.kind.value,
            self.at.astimezone(UTC).isoformat(),
            self.by.id,
            self.by.name,
            self.facts,
        ]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(f"{after}\n{canonical}".encode()).hexdigest()


def is_call(event: TimelineEvent, timeline: Iterable[TimelineEvent]) -> bool:
    """Return True if somebody must see the event: also an alert that fires again after the incident was mitigated, and
    a cause that is still there a day later.
    """
    if event.kind is Kind.ALERT_FIRING:
        states = [one.kind for one in timeline if one.seq < event.seq and one.kind in (Kind.MITIGATED, Kind.REOPENED)]
        return states[-1:] == [Kind.MITIGATED]
    return event.kind in _CALLS or (event.kind is Kind.CAUSE_REMAINS and bool(event.facts.get("again")))


def first_broken_link(incident_id: str, events: Iterable[TimelineEvent]) -> int | None:
    """Return the number of the first event that breaks the chain; None if the chain is intact.

    `events` must be in order of `seq`. A changed, removed or inserted event breaks the chain from there on.
    """
    after = GENESIS
    for position, event in enumerate(events, start=1):
        if event.seq != position or event.hash != event.digest(incident_id, after):
            return position
        after = event.hash
    return None
