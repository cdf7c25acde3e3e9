"""Alerts of Alertmanager: a group of alerts is one incident for as long as that incident is open.

What a drill breaks is told in the drill and wakes nobody: alerts of its service that begin while it is open are its.

Who resolves an incident while its alerts fire is believed for a while, since alerts take some minutes to calm down.
If Alertmanager says after that while that they still fire, it was not over: that is a new incident, which names the
one before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.deps import Deps
from bot.domain.alert import Alert, Notification
from bot.domain.incident import TITLE_LIMIT, Changed, Declaration, Incident, Milestone, Severity
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.runbooks import Library
from bot.store.alerts import GroupUpdate

ALERTMANAGER = Person("alertmanager", "Alertmanager")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # before it there were no alerts: Go's zero time is not one
SETTLE = timedelta(minutes=15)  # a rule's window of 5 min, and two of Alertmanager's usual group intervals


class Alerts:
    def __init__(self, deps: Deps, library: Library) -> None:
        self._deps = deps
        self._library = library

    async def handle(self, notification: Notification) -> GroupUpdate:
        """Declare an incident for the group, or tell its open one what began and what ended."""
        at = self._deps.clock.now()
        redacted = self._deps.redaction.of
        firing = notification.firing
        return await self._deps.store.alerts.update(
            notification.group_key[:512],
            list(firing),
            at,
            on_new=lambda id, before: redacted(self._declare(id, notification, list(firing.values()), before, at)),
            on_change=lambda incident, began, ended: redacted(
                self._alert_event(incident, notification, firing, began, ended, at)
            ),
            on_escalation=lambda incident, began: self._escalate(
                incident, [firing[fingerprint] for fingerprint in began], at
            ),
            is_settling=lambda incident: _is_settling(incident, list(firing.values()), at),
            drill=await self._drill(notification, list(firing.values())),
        )

    async def _drill(self, notification: Notification, firing: list[Alert]) -> str | None:
        """The open drill that these alerts are of: it breaks their service, and they began after it did."""
        label = self._deps.team.alerts.service_label
        for drill in await self._deps.store.incidents.open_drills() if firing else ():
            began = drill.milestones[Milestone.DECLARED]
            if all(
                {**notification.common_labels, **alert.labels}.get(label) == drill.service and alert.started_at >= began
                for alert in firing
            ):
                return drill.id
        return None

    def _declare(
        self, id: str, notification: Notification, firing: list[Alert], before: Incident | None, at: datetime
    ) -> Changed:
        rules = self._deps.team.alerts
        first = min(firing, key=lambda alert: alert.started_at)
        labels = {**first.labels, **notification.common_labels}
        service = labels.get(rules.service_label)
        known_service = service if service in self._deps.team.services else None
        severities = [self._severity(alert) for alert in firing]
        summary = notification.common_annotations.get("summary") or first.annotations.get("summary") or ""
        name = notification.common_labels.get("alertname") or first.name
        title = f"{name}: {summary}" if summary else f"{name} {service or ''}".strip()
        again = before.id if before and first.started_at <= _resolved_at(before) else None
        suffix = f" (↩ {again})" if again else ""
        facts = {
            "alert": name,
            "labels": labels,
            "alerts": len(firing) + notification.truncated,
            "link": first.link,
            "runbook": first.annotations.get("runbook_url"),
            "before": again,
            "runbooks": self._proposed(firing),
        }
        return Incident.declare(
            id,
            Declaration(
                _truncate(title, TITLE_LIMIT - len(suffix)) + suffix,
                min(severities),
                by=ALERTMANAGER,
                at=at,
                service=known_service,
                detected=first.started_at if first.started_at > EARLIEST and not again else None,
                source="alertmanager",
                facts=facts,
            ),
        )

    def _proposed(self, firing: list[Alert]) -> list[dict[str, str]]:
        """The runbooks that these alerts trigger, each once: `name`, and the title in each language."""
        runbooks = [
            runbook
            for alert in firing
            for runbook in self._library.for_alert(alert.labels.get("alertname", ""), alert.labels)
        ]
        return [
            {"name": name} | {str(language): text for language, text in title.items()}
            for name, title in {runbook.name: runbook.title for runbook in runbooks}.items()
        ]

    def _severity(self, alert: Alert) -> Severity:
        rules = self._deps.team.alerts
        return rules.severity.get(alert.labels.get("severity", ""), rules.default)

    def _escalate(self, incident: Incident, began: list[Alert], at: datetime) -> Changed | None:
        """The incident of a warning which a critical alert joins is as severe as that: somebody has to be paged."""
        if incident.drill:
            return None
        worst = min([incident.severity, *(self._severity(alert) for alert in began)])
        if worst is incident.severity or not incident.status.is_open:
            return None
        return incident.with_severity(worst, by=ALERTMANAGER, at=at)

    def _alert_event(
        self,
        incident: Incident,
        notification: Notification,
        firing: dict[str, Alert],
        began: set[str],
        ended: set[str],
        at: datetime,
    ) -> Changed:
        summary = next((firing[fingerprint].annotations.get("summary", "") for fingerprint in sorted(began)), "")
        changed = began or ended
        names = {alert.name for alert in notification.alerts if alert.fingerprint in changed}
        facts = {
            "name": ", ".join(sorted(names)) or notification.name,
            "summary": summary,
            "began": len(began),
            "ended": len(ended),
            "firing": len(firing) + notification.truncated,
        }
        kind = Kind.ALERT_FIRING if began else Kind.ALERT_RESOLVED
        return incident.with_event(kind, facts, by=ALERTMANAGER, at=at)


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _resolved_at(incident: Incident) -> datetime:
    """When it was resolved; the beginning of time while it is open."""
    return incident.milestones.get(Milestone.RESOLVED, EARLIEST)


def _is_settling(incident: Incident, firing: list[Alert], at: datetime) -> bool:
    """Whether what still fires is no more than the rest of an incident that was resolved just now."""
    over = _resolved_at(incident)
    return at - over < SETTLE and all(alert.started_at <= over for alert in firing)
