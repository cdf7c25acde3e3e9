"""Alerts of Alertmanager: a group of alerts is one incident for as long as that incident is open.

Alerts caused by an open drill (of its service, started after it) join the drill and page nobody.

An incident may be resolved while its alerts still fire, since alerts take some minutes to clear. If they still fire
after SETTLE, a new incident is declared, which refers to the one before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.deps import Deps
from bot.domain.alert import Alert, Notification
from bot.domain.incident import TITLE_LIMIT, Changed, Declaration, Incident, Milestone, Severity, Status
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.runbooks import Library
from bot.store.alerts import GroupUpdate

ALERTMANAGER = Person("alertmanager", "Alertmanager")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # earlier start times are invalid, such as Go's zero time
SETTLE = timedelta(minutes=15)  # a rule's window of 5 min, and two group intervals of Alertmanager


class Alerts:
    def __init__(self, deps: Deps, library: Library) -> None:
        self._deps = deps
        self._library = library

    async def handle(self, notification: Notification) -> GroupUpdate:
        """Declare an incident for the group, or append to its open one which alerts started and ended."""
        at = self._deps.clock.now()
        redacted = self._deps.redaction.of
        firing = notification.firing
        return await self._deps.store.alerts.update(
            notification.group_key[:512],
            list(firing),
            at,
            on_new=lambda id, before: redacted(self._declare(id, notification, list(firing.values()), before, at)),
            on_change=lambda incident, started, ended: redacted(
                self._alert_event(incident, notification, firing, started, ended, at)
            ),
            on_escalation=lambda incident, started: self._escalate(
                incident, [firing[fingerprint] for fingerprint in started], at
            ),
            is_settling=lambda incident: _is_settling(incident, list(firing.values()), at),
            drill=await self._drill(notification, list(firing.values())),
        )

    async def _drill(self, notification: Notification, firing: list[Alert]) -> str | None:
        """Return the open drill that caused these alerts: they are of its service and started after it."""
        label = self._deps.team.alerts.service_label
        for drill in await self._deps.store.incidents.open_drills() if firing else ():
            started_at = drill.milestones[Milestone.DECLARED]
            if all(
                {**notification.common_labels, **alert.labels}.get(label) == drill.service
                and alert.started_at >= started_at
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
        recurred_from = before.id if before and first.started_at <= _resolved_at(before) else None
        suffix = f" (↩ {recurred_from})" if recurred_from else ""
        facts = {
            "alert": name,
            "labels": labels,
            "alerts": len(firing) + notification.truncated,
            "link": first.link,
            "runbook": first.annotations.get("runbook_url"),
            "before": recurred_from,
            "runbooks": self._triggered_runbooks(firing),
        }
        return Incident.declare(
            id,
            Declaration(
                _truncate(title, TITLE_LIMIT - len(suffix)) + suffix,
                min(severities),
                by=ALERTMANAGER,
                at=at,
                service=known_service,
                detected=first.started_at if first.started_at > EARLIEST and not recurred_from else None,
                source="alertmanager",
                facts=facts,
            ),
        )

    def _triggered_runbooks(self, firing: list[Alert]) -> list[dict[str, str]]:
        """Return the runbooks that these alerts trigger, each once: `name`, and the title in each language."""
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

    def _escalate(self, incident: Incident, started: list[Alert], at: datetime) -> Changed | None:
        """Raise the severity if an alert of a higher severity joined, so that the right team is paged."""
        if incident.drill:
            return None
        worst = min([incident.severity, *(self._severity(alert) for alert in started)])
        if worst is incident.severity or not incident.status.is_open:
            return None
        return incident.with_severity(worst, by=ALERTMANAGER, at=at)

    def _alert_event(
        self,
        incident: Incident,
        notification: Notification,
        firing: dict[str, Alert],
        started: set[str],
        ended: set[str],
        at: datetime,
    ) -> Changed:
        summary = next((firing[fingerprint].annotations.get("summary", "") for fingerprint in sorted(started)), "")
        changed = started or ended
        names = {alert.name for alert in notification.alerts if alert.fingerprint in changed}
        facts = {
            "name": ", ".join(sorted(names)) or notification.name,
            "summary": summary,
            "began": len(started),
            "ended": len(ended),
            "firing": len(firing) + notification.truncated,
        }
        kind = Kind.ALERT_FIRING if started else Kind.ALERT_RESOLVED
        return incident.with_event(kind, facts, by=ALERTMANAGER, at=at)


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _resolved_at(incident: Incident) -> datetime:
    """Return when it was resolved; EARLIEST while it is open."""
    return incident.milestones.get(Milestone.RESOLVED, EARLIEST)


def _is_settling(incident: Incident, firing: list[Alert], at: datetime) -> bool:
    """Return True if the firing alerts are left over from an incident that was resolved within SETTLE or dismissed."""
    if incident.status is Status.DISMISSED:
        return all(alert.started_at <= (incident.updated_at or at) for alert in firing)
    resolved_at = _resolved_at(incident)
    return at - resolved_at < SETTLE and all(alert.started_at <= resolved_at for alert in firing)
