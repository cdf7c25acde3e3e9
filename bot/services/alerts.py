"""Alerts: notifications of monitoring systems, and splitting alerts off from a storm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.deps import Deps
from bot.domain.alert import Alert, IncidentAlert, Notification
from bot.domain.alert_rule import SeverityRule
from bot.domain.errors import BadInput
from bot.domain.incident import Declaration, Incident, headline
from bot.domain.people import Person
from bot.domain.policy import Risk
from bot.domain.runbook import Runbook, Step
from bot.runbooks import Library
from bot.store.alerts import Applied
from bot.workflows.incidents.alert_service import service_of
from bot.workflows.incidents.alerts import handle_notification
from bot.workflows.incidents.diagnostics import DIAGNOSTICS


class Alerts:
    def __init__(self, deps: Deps, library: Library) -> None:
        self._deps = deps
        self._library = library

    async def handle(self, notification: Notification) -> list[Applied]:
        """Declare incidents for the notification's alerts, or append to open ones which alerts started and ended."""
        return await handle_notification(self._deps, notification, self._runbooks)

    async def of_incident(self, incident: Incident) -> list[IncidentAlert]:
        return await self._deps.store.alerts.of_incident(incident.id)

    async def split(self, incident: Incident, wanted: str, *, by: Person, idempotency_key: str) -> Incident:
        """Move the alerts that have all of these words as name, label or fingerprint into an incident of their own.

        Raises BadInput if there are none, or if no others would be left.
        """
        alerts = await self.of_incident(incident)
        chosen = [alert for alert in alerts if _is_wanted(alert, wanted)]
        if not chosen:
            raise BadInput("no_such_alert", alert=wanted, known=sorted({alert.name for alert in alerts})[:20])
        if len(chosen) == len(alerts):
            raise BadInput("nothing_left", incident=incident.id)
        at = self._deps.clock.now()
        labels = chosen[0].labels
        service = service_of(labels, self._deps.team)
        title = headline(f"{chosen[0].name} {service or labels.get('service', '')}", chosen[0].fingerprint)
        facts = {"alert": chosen[0].name, "labels": dict(labels), "alerts": len(chosen), "split_from": incident.id}
        rules = self._deps.team.alerts
        severities = SeverityRule(rules.severity, rules.default)
        severity = min(severities.of_labels(alert.labels) for alert in chosen)
        declaration = Declaration(title, severity, by=by, at=at, service=service, source="alertmanager", facts=facts)
        made, _ = await self._deps.store.alerts.split(
            incident.id,
            [alert.id for alert in chosen],
            lambda id: self._deps.redaction.of(Incident.declare(id, declaration)),
            at,
            key=f"{idempotency_key}/split",
        )
        return made

    def _runbooks(self, firing: Sequence[Alert]) -> list[dict[str, Any]]:
        """Return the runbooks that these alerts trigger, each once: `name`, and the title in each language.

        The first one comes with its diagnostics, as they are now: editing the file changes nothing of an incident.
        """
        runbooks = {
            runbook.name: runbook
            for alert in firing
            for runbook in self._library.for_alert(alert.labels.get("alertname", ""), alert.labels)
        }
        proposed: list[dict[str, Any]] = [
            {"name": name} | {str(language): text for language, text in runbook.title.items()}
            for name, runbook in runbooks.items()
        ]
        if proposed and (steps := _diagnostics(next(iter(runbooks.values())))):
            runbook = next(iter(runbooks.values()))
            only_reads = runbook.model_copy(update={"steps": steps, "on_failure": "stop"})
            proposed[0][DIAGNOSTICS] = only_reads.to_json()
        return proposed


def _diagnostics(runbook: Runbook) -> list[Step]:
    """Return the steps that a runbook begins with, as long as they only read; figures are in the snapshot already."""
    steps = takewhile(
        lambda step: step.if_ is None and step.approval is None and _only_reads(ACTIONS.get(step.uses)), runbook.steps
    )
    return [step for step in steps if not step.uses.startswith("prometheus.")]


def _only_reads(action: Action) -> bool:
    return action.risk is Risk.READ and action.waits_for is None


def _is_wanted(alert: IncidentAlert, wanted: str) -> bool:
    """Return True if each word is the alert's name, its fingerprint, a label's value or `label=value`."""
    labels = alert.labels.items()
    sent = alert.fingerprint.partition("/")[0]
    texts = {sent, *(value for _, value in labels), *(f"{name}={value}" for name, value in labels)}
    folded = {text.casefold() for text in texts}
    return wanted.casefold() in folded or all(word.casefold() in folded for word in wanted.split())
