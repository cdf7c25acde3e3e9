"""One whole incident, told event by event, for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from bot.domain.followup import FollowUp, FollowUpState
from bot.domain.incident import Cause, Changed, Declaration, Impact, Incident, Role, Severity
from bot.domain.people import BOT, Person
from bot.domain.snapshot import Direction, MetricResult, Series, Snapshot
from bot.domain.timeline import GENESIS, Kind, TimelineEvent

BEGAN = datetime(2026, 11, 24, 3, 12, 4, tzinfo=UTC)
ALERTMANAGER = Person("alertmanager", "Alertmanager")
ANA, BRUNO = Person("U0ANA00001", "Ana Torres"), Person("U0BRUNO002", "Bruno Díaz")


def after(minutes: float) -> datetime:
    """So many minutes after the alert began."""
    return BEGAN + timedelta(minutes=minutes)


@dataclass
class Story:
    """An incident and its timeline as they grow."""

    incident: Incident
    timeline: list[TimelineEvent] = field(default_factory=list)

    @classmethod
    def begin(cls, title: str = "HighLatency: p95 por encima de 500 ms", *, drill: bool = False) -> Story:
        incident, event = Incident.declare(
            "INC-2026-0001",
            Declaration(
                title,
                Severity.SEV2,
                by=ALERTMANAGER,
                at=after(0.5),
                service="xr-engine",
                detected=BEGAN,
                source="alertmanager",
                drill=drill,
                facts={"alert": "HighLatency", "link": "https://prometheus.tamv.world/graph?g0.expr=latency"},
            ),
        )
        story = cls(incident)
        story._append(event)
        return story

    def then(self, change: Callable[[Incident], Changed]) -> Story:
        self.incident, event = change(self.incident)
        self._append(event)
        return self

    def _append(self, event: TimelineEvent) -> None:
        last = self.timeline[-1].hash if self.timeline else GENESIS
        self.timeline.append(event.chained(self.incident.id, last, len(self.timeline) + 1))


def resolved(title: str = "HighLatency: p95 por encima de 500 ms", *, drill: bool = False) -> Story:
    """From the alert to the end; what only people know is still unsaid."""
    story = Story.begin(title, drill=drill)
    story.then(lambda now: now.opened_in("C0INC00001", "inc-2026-0001-highlatency", by=BOT, at=after(0.6)))
    story.then(lambda now: now.with_event(Kind.PAGED, {"team": "SRETeam", "who": "Ana Torres"}, by=BOT, at=after(0.7)))
    story.then(
        lambda now: now.with_event(Kind.TROUBLE, {"what": "links", "why": "Slack no respondió."}, by=BOT, at=after(0.8))
    )
    story.then(lambda now: now.acknowledge(by=ANA, at=after(2)))
    story.then(lambda now: now.assign(Role.COMMANDER, ANA.id, by=ANA, at=after(2.1)))
    story.then(lambda now: now.assign(Role.OPS, BRUNO.id, by=ANA, at=after(2.2)))
    story.then(lambda now: now.update("Escalamos xr-engine de 3 a 10 réplicas", by=ANA, at=after(4)))
    story.then(
        lambda now: now.add_message(
            "La GPU baja: <@U0ANA00001> mira los cuadros",
            "https://tamv.slack.com/archives/C0INC00001/p1",
            BRUNO.id,
            by=ANA,
            at=after(6),
        )
    )
    story.then(lambda now: now.mitigate(by=BRUNO, at=after(9)))
    story.then(lambda now: now.resolve(by=ANA, at=after(13)))
    return story


def completed() -> Story:
    """The same, with all that people had to say."""
    story = resolved()
    story.then(
        lambda now: now.with_impact(
            Impact(1240, ("xr-engine", "tamv-core"), "$4,200", "Los mundos 4D se veían a saltos"), by=ANA, at=after(60)
        )
    )
    story.then(
        lambda now: now.with_cause(
            Cause(
                "Fuga de memoria en el render",
                ("Sin alerta de memoria", "Límites demasiado altos"),
                "La alerta HighLatency, dos minutos antes que la primera queja",
                ("El escalado funcionó", "Falta vigilar la memoria"),
            ),
            by=ANA,
            at=after(61),
        )
    )
    return story


def followups() -> list[FollowUp]:
    opened = after(62)
    return [
        FollowUp(
            "INC-2026-0001/F1", "INC-2026-0001", "Alertar del uso de memoria", "SRETeam", date(2026, 12, 8),
            ("incident-followup",), FollowUpState.FILED, opened, 41, "https://github.com/tamv/tamv-platform/issues/41",
        ),
        FollowUp(
            "INC-2026-0001/F2", "INC-2026-0001", "Bajar los límites de memoria", BRUNO.id, date(2026, 12, 1),
            (), FollowUpState.DONE, opened, 42, "https://github.com/tamv/tamv-platform/issues/42", after(600),
        ),
    ]  # fmt: skip


def snapshot(at: datetime, latency: float | None, frames: float | None) -> Snapshot:
    """The board `render` with two figures: the latency should be low, the frame rate high."""
    latency_title = {"es": "Latencia p95", "en": "Latency p95"}
    frames_title = {"es": "Cuadros por segundo", "en": "Frame rate"}
    figures = (
        MetricResult("latency_p95", latency_title, "ms", 500, Direction.ABOVE, value=latency, normal=180),
        MetricResult("frame_rate", frames_title, "fps", 60, Direction.BELOW, value=frames, normal=72),
    )
    points = ((BEGAN - timedelta(minutes=10), 2000.0), (BEGAN + timedelta(minutes=3), 1312.5))
    series = (Series("latency_p95", 60, points),)
    return Snapshot("render", "xr-engine", at, timedelta(hours=1), BEGAN, figures, series)
