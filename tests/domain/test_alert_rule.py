"""The alert rule: what comes of each notification, from what is known of its alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.alert import EARLIEST, Alert, Notification
from bot.domain.alert_rule import (
    SETTLE,
    Decision,
    Declare,
    Join,
    KnownAlert,
    Nothing,
    Over,
    Raise,
    SeverityRule,
    Situation,
    decide,
)
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import BOT

AT = datetime(2026, 1, 7, 3, 0, tzinfo=UTC)
STARTED = AT - timedelta(minutes=50)
LATER = AT - timedelta(minutes=2)
EU, US = "http://eu:9093", "http://us:9093"
SEVERITIES = SeverityRule({"critical": Severity.SEV2, "emergency": Severity.SEV1, "warning": Severity.SEV3})


def made(id: str, severity: Severity = Severity.SEV2, **facts: object) -> Incident:
    declaration = Declaration("x", severity, by=BOT, at=STARTED, **facts)  # type: ignore[arg-type]
    return Incident.declare(id, declaration)[0]


def ended(incident: Incident, ago: timedelta) -> Incident:
    return incident.resolve(by=BOT, at=AT - ago)[0]


A, B = made("A"), made("B")
MILD = made("MILD", Severity.SEV3)
DRILL, STORM = made("DRILL", Severity.SEV3, drill=True), made("STORM", source="storm")
JUST, LONG = ended(A, timedelta(minutes=5)), ended(A, SETTLE + timedelta(minutes=1))


def fires(name: str, severity: str = "critical", started: datetime = STARTED) -> Alert:
    return Alert(name, True, {"alertname": name, "severity": severity}, {}, started)


def ends(name: str, started: datetime = STARTED, at: datetime | None = None) -> Alert:
    return Alert(name, False, {"alertname": name, "severity": "critical"}, {}, started, at)


def known(
    name: str,
    incident: Incident | None = A,
    *,
    firing: bool = True,
    sender: str | None = EU,
    started: datetime | None = STARTED,
    returned: int = 0,
    severity: str = "critical",
) -> KnownAlert:
    owner, labels = incident.id if incident else None, {"alertname": name, "severity": severity}
    return KnownAlert(hash(name), name, sender, started, firing, owner, 1, returned, labels)


def situation(
    *alerts: KnownAlert, group: Incident | None = None, others: Sequence[Incident] = (), **facts: object
) -> Situation:
    incidents = {one.id: one for one in (A, B, MILD) if any(alert.incident == one.id for alert in alerts)}
    incidents |= {one.id: one for one in (*others, *([group] if group else []))}
    firing: dict[str, int] = {}
    for alert in alerts:
        if alert.incident and alert.firing:
            firing[alert.incident] = firing.get(alert.incident, 0) + alert.count
    return Situation(group.id if group else None, alerts, incidents, firing, **facts)  # type: ignore[arg-type]


def told(*alerts: Alert, sender: str = EU, status: str = "", truncated: int = 0) -> Notification:
    firing = status == "firing" if status else any(alert.firing for alert in alerts)
    return Notification("group", tuple(alerts), {}, {}, {}, truncated, sender, firing_group=firing)


def shown(decision: Decision) -> str:
    """A decision in a few words: what, to which incident, and about which alerts."""
    match decision:
        case Declare(alerts, severity, before, storm):
            words = ["declare", severity.value, *_names(alerts), *(["storm"] if storm else [])]
            return " ".join([*words, *([f"after {before.id}"] if before else [])])
        case Join(incident, started, returned, over, firing, is_news):
            parts = [f"+{name}" for name in _names(started)] + [f"~{name}" for name in _names(returned)]
            parts += [f"-{name}" for name in _names(over)]
            return f"join {incident} {' '.join(parts)} ={firing}{'' if is_news else ' quietly'}"
        case Raise(incident, severity):
            return f"raise {incident} {severity}"
        case Over(incident, over, is_news):
            return f"over {incident} {' '.join(_names(over))}{'' if is_news else ' quietly'}"
        case Nothing():
            return "nothing"


def _names(alerts: Sequence[Alert]) -> list[str]:
    return [alert.fingerprint.partition("/")[0] for alert in alerts]


UNLISTED = f"unlisted/{told().digest}"
NEW = situation()
OPEN = situation(known("a"), group=A)
TWO = situation(known("a"), known("b"), group=A)
CALM = situation(known("a", firing=False), group=A)

TABLE = [
    # what says firing opens an incident, once
    ("the first alert", NEW, told(fires("a")), "declare SEV2 a"),
    ("two at once", NEW, told(fires("a"), fires("b")), "declare SEV2 a b"),
    ("the worst says how bad", NEW, told(fires("a", "warning"), fires("b", "emergency")), "declare SEV1 a b"),
    ("a severity that nobody knows", NEW, told(fires("a", "strange")), "declare SEV3 a"),
    ("a severity by its own name", NEW, told(fires("a", " sev1 ")), "declare SEV1 a"),
    ("the case of a severity", NEW, told(fires("a", "Critical")), "declare SEV2 a"),
    ("spaces around a severity", NEW, told(fires("a", " EMERGENCY ")), "declare SEV1 a"),
    ("no severity", NEW, told(replace(fires("a"), labels={})), "declare SEV3 a"),
    ("one fires, one has ended", NEW, told(fires("a"), ends("b")), "declare SEV2 a"),
    ("the same alert twice in one body", NEW, told(fires("a"), fires("a")), "declare SEV2 a"),
    ("only ends, of what nobody knows", NEW, told(ends("a")), "nothing"),
    ("again", OPEN, told(fires("a")), "nothing"),
    ("again, by the pair", OPEN, told(fires("a"), sender=US), "nothing"),
    ("again, both", TWO, told(fires("a"), fires("b")), "nothing"),
    # what joins
    ("one more", OPEN, told(fires("a"), fires("b")), "join A +b =2"),
    ("one more, the first is left out", OPEN, told(fires("b")), "join A +b =2"),
    ("two more", OPEN, told(fires("a"), fires("b"), fires("c")), "join A +b +c =3"),
    ("one more, worse", OPEN, told(fires("b", "emergency")), "join A +b =2; raise A SEV1"),
    ("one more, milder", OPEN, told(fires("b", "warning")), "join A +b =2"),
    ("it is worse now", situation(known("a", MILD), group=MILD), told(fires("a", "emergency")), "raise MILD SEV1"),
    (
        "it was as bad, and a person has said otherwise",
        situation(known("a", MILD, severity="emergency"), group=MILD),
        told(fires("a", "emergency")),
        "nothing",
    ),
    ("it is milder now", OPEN, told(fires("a", "warning")), "nothing"),
    (
        "it is worse now, and the other one has ended",
        TWO,
        told(fires("a", "emergency"), ends("b")),
        "join A -b =1; raise A SEV1",
    ),
    ("after all was calm", CALM, told(fires("b")), "join A +b =1"),
    ("one more and one ended", TWO, told(fires("c"), ends("a")), "join A +c -a =2"),
    # what ends, and what does not
    ("the only one ends", OPEN, told(ends("a")), "over A a"),
    ("one of two ends", TWO, told(fires("b"), ends("a")), "join A -a =1"),
    ("one of two ends, the other is left out", TWO, told(ends("a")), "join A -a =1"),
    ("both end", TWO, told(ends("a"), ends("b")), "over A a b"),
    ("an end twice", CALM, told(ends("a")), "nothing"),
    ("left out: silenced or inhibited", TWO, told(fires("a")), "nothing"),
    ("left out, the group ends", TWO, told(ends("a"), status="resolved"), "join A -a =1"),
    ("an end reported late", situation(known("a", started=LATER), group=A), told(ends("a", at=STARTED)), "nothing"),
    ("its end, its restart unseen", OPEN, told(ends("a", started=LATER, at=AT)), "over A a"),
    ("the end by the pair", OPEN, told(ends("a"), sender=US), "over A a"),
    # two senders with equal group keys
    ("another sender's alert", OPEN, told(fires("b"), sender=US), "join A +b =2"),
    ("another sender's end", TWO, told(ends("c"), sender=US), "nothing"),
    (
        "the other's ends, ours fires",
        situation(known("a"), known("b", sender=US), group=A),
        told(ends("b"), sender=US),
        "join A -b =1",
    ),
    ("an equal fingerprint, another start", OPEN, told(fires("a", started=LATER), sender=US), "join A +a =2"),
    ("its end is not ours", OPEN, told(ends("a", started=LATER), sender=US), "nothing"),
    (
        "and ours is not its",
        situation(known("a"), known("a", sender=US, started=LATER), group=A),
        told(ends("a")),
        "join A -a =1",
    ),
    # whatever the group
    ("a known alert in another group", situation(known("a")), told(fires("a")), "nothing"),
    ("and one more of that group", situation(known("a")), told(fires("a"), fires("b")), "join A +b =2"),
    ("its end in another group", situation(known("a")), told(ends("a")), "over A a"),
    (
        "a group of alerts of two incidents",
        situation(known("a"), known("b", B)),
        told(fires("a"), fires("b")),
        "nothing",
    ),
    (
        "one more joins the incident of most of them",
        situation(known("a"), known("b", B), known("c", B)),
        told(fires("a"), fires("b"), fires("c"), fires("d")),
        "join B +d =3",
    ),
    (
        "ends of two incidents",
        situation(known("a"), known("b", B)),
        told(ends("a"), ends("b")),
        "over A a; over B b",
    ),
    (
        "an alert of another incident, in this group",
        situation(known("b", B), group=A),
        told(fires("b")),
        "nothing",
    ),
    (
        "a group whose incident is over, its alert lives in another",
        situation(known("a", B), group=LONG),
        told(fires("a")),
        "nothing",
    ),
    # limits
    ("beyond the limit", NEW, told(fires("a"), truncated=9), "declare SEV2 a unlisted"),
    (
        "only what is beyond the limit fires",
        NEW,
        told(ends("a"), status="firing", truncated=3),
        "declare SEV3 unlisted",
    ),
    ("it fires, though none that is listed does", NEW, told(ends("a"), status="firing"), "declare SEV3 unlisted"),
    (
        "the same again",
        situation(known("a", firing=False), known(UNLISTED, A, started=EARLIEST), group=A),
        told(ends("a"), status="firing", truncated=3),
        "nothing",
    ),
    ("cut off, not over", TWO, told(fires("a"), truncated=1), "join A +unlisted =3"),
    ("all end, some unlisted", TWO, told(ends("a"), status="resolved", truncated=1), "join A -a =1"),
    # coming and going
    ("it comes back", CALM, told(fires("a", started=LATER)), "join A ~a =1 quietly"),
    ("it comes back, by the pair", CALM, told(fires("a", started=LATER), sender=US), "join A ~a =1 quietly"),
    ("it goes again", situation(known("a", returned=1), group=A), told(ends("a")), "over A a quietly"),
    (
        "it goes again, another stays",
        situation(known("a", returned=3), known("b"), group=A),
        told(ends("a")),
        "join A -a =1 quietly",
    ),
    (
        "it comes back with a new one",
        CALM,
        told(fires("a", started=LATER), fires("b")),
        "join A +b ~a =2",
    ),
    ("a restart between two reports", OPEN, told(fires("a", started=LATER)), "nothing"),
    (
        "it comes back as bad as before",
        situation(known("a", firing=False, severity="emergency"), group=A),
        told(fires("a", "emergency", LATER)),
        "join A ~a =1 quietly",
    ),
    ("it comes back worse", CALM, told(fires("a", "emergency", LATER)), "join A ~a =1 quietly; raise A SEV1"),
    # after the incident
    ("left over", situation(known("a", JUST), group=JUST), told(fires("a")), "nothing"),
    ("left over, another of that time", situation(group=JUST), told(fires("b")), "nothing"),
    ("left over, in another group", situation(known("a", JUST), others=[JUST]), told(fires("a")), "nothing"),
    ("left over ends", situation(known("a", JUST), group=JUST), told(ends("a")), "over A a"),
    ("begun after it", situation(group=JUST), told(fires("b", started=LATER)), "declare SEV2 b"),
    ("it was not over", situation(known("a", LONG), group=LONG), told(fires("a")), "declare SEV2 a after A"),
    (
        "it was not over, in another group",
        situation(known("a", LONG), others=[LONG]),
        told(fires("a")),
        "declare SEV2 a after A",
    ),
    ("later, something else", situation(group=LONG), told(fires("b", started=LATER)), "declare SEV2 b"),
    # drills
    ("caused by a drill", situation(drill=DRILL), told(fires("a", "emergency")), "join DRILL +a =1"),
    ("known before the drill", situation(known("a"), group=A, drill=DRILL), told(fires("a")), "nothing"),
    ("an open incident before a drill", situation(group=A, drill=DRILL), told(fires("b")), "join A +b =1"),
    # storms
    ("one group too many", situation(is_storm=True), told(fires("a")), "declare SEV2 a storm"),
    ("the next one", situation(is_storm=True, storm=STORM), told(fires("a")), "join STORM +a =1"),
    (
        "the next one, worse",
        situation(is_storm=True, storm=STORM),
        told(fires("a", "emergency")),
        "join STORM +a =1; raise STORM SEV1",
    ),
    ("a known group in a storm", replace(OPEN, is_storm=True, storm=STORM), told(fires("b")), "join A +b =2"),
    ("after the storm", situation(storm=STORM), told(fires("a")), "declare SEV2 a"),
    # told to an older version
    ("known without a start", situation(known("a", started=None, sender=None), group=A), told(fires("a")), "nothing"),
    ("and its end", situation(known("a", started=None, sender=None), group=A), told(ends("a")), "over A a"),
]


@pytest.mark.parametrize(("before", "notification", "expected"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_what_comes_of_a_notification(before: Situation, notification: Notification, expected: str) -> None:
    verdict = decide(notification, before, SEVERITIES, AT)
    assert "; ".join(shown(one) for one in verdict.decisions) == expected


@pytest.mark.parametrize(("before", "notification"), [pytest.param(*row[1:3], id=row[0]) for row in TABLE])
def test_every_firing_alert_is_remembered_once(before: Situation, notification: Notification) -> None:
    """None is lost: each belongs to an incident that exists, or to the one that is declared."""
    verdict = decide(notification, before, SEVERITIES, AT)
    firing = [fact for fact in verdict.facts if fact.alert.firing]
    assert sorted(fact.alert.fingerprint for fact in firing) == sorted(
        alert.fingerprint for alert in notification.complete() if alert.firing
    )
    declared = [one for one in verdict.decisions if isinstance(one, Declare)]
    assert len(declared) <= 1
    assert all(fact.incident or declared for fact in firing)
