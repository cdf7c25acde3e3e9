"""Notifications of alerts: what comes of them by the alert rule, and the words and facts of their incidents.

Alerts caused by an open drill (of its service, started after it) join the drill and page nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.alert import EARLIEST, STORM, Alert, Notification
from bot.domain.alert_rule import Decision, Declare, Join, Over, Raise, SeverityRule, decide
from bot.domain.incident import TITLE_LIMIT, Changed, Declaration, Incident, Milestone, headline, shorten
from bot.domain.people import Person
from bot.domain.timeline import Kind
from bot.messages.alerts import alert_line
from bot.slack_messages import upsert_message
from bot.store.alerts import Applied, Policy, StormLimit, heartbeat_key
from bot.team import Heartbeat, fits
from bot.workflows.engine.durable import durable_step, sleep_until
from bot.workflows.incidents.alert_service import service_of
from bot.workflows.incidents.messages import (
    MESSAGE_TIMEOUT,
    destination,
    thread_destination,
    update_incident_messages,
)

SENDERS = {"alertmanager": Person("alertmanager", "Alertmanager"), "grafana": Person("grafana", "Grafana")}
EVENTS_LIMIT = 6  # of one incident's alerts; what comes then is told in one line, which is edited
TEXT_LIMIT = 600  # of an alert's description
VALUES_LIMIT = 5  # of one label, over all alerts
# Labels that say where and why, in the order in which they are shown.
TELLING = (
    "rulename", "namespace", "deployment", "statefulset", "daemonset", "job_name", "cronjob", "pod", "container",
    "reason", "node", "instance", "persistentvolumeclaim", "device", "mountpoint", "region", "cluster", "zone", "env",
    "environment",
)  # fmt: skip

Runbooks = Callable[[Sequence[Alert]], list[dict[str, Any]]]
"""The runbooks that alerts trigger, each once: `name`, and the title in each language; the first one's diagnostics."""


def no_runbooks(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    return []


async def handle_notification(deps: Deps, notification: Notification, runbooks: Runbooks) -> list[Applied]:
    """Do what comes of a notification: declare incidents, append to open ones which alerts started and ended."""
    applied: list[Applied] = []
    for part in await _parts(deps, notification):
        applied += await _apply(deps, part, runbooks)
    return applied


async def _apply(deps: Deps, notification: Notification, runbooks: Runbooks) -> list[Applied]:
    at, rules = deps.clock.now(), deps.team.alerts
    severities = SeverityRule(rules.severity, rules.default)

    def change(decision: Decision, incident: Incident | str, applied: int) -> Changed | None:
        changed = None
        match decision, incident:
            case Declare(), str(id):
                changed = Incident.declare(id, _declaration(deps, notification, decision, runbooks, at))
            case Raise(), Incident():
                changed = incident.with_severity(decision.severity, by=_sender(notification), at=at)
            case Join() | Over(), Incident():
                if decision.is_news and incident.source != STORM and applied < EVENTS_LIMIT:
                    changed = _alert_event(incident, notification, decision, at)
        return deps.redaction.of(changed)

    policy = Policy(
        rule=lambda situation: decide(notification, situation, severities, at),
        change=change,
        limit=StormLimit(rules.storm.incidents, rules.storm.within),
        redact=deps.redaction.of,
        drill=await _drill(deps, notification),
    )
    return await deps.store.alerts.apply(notification, at, policy)


async def _parts(deps: Deps, notification: Notification) -> list[Notification]:
    """Return the notification without alerts that open no incident, and one for each heartbeat in it."""
    rules = deps.team.alerts
    kept, parts = [], []
    for alert in notification.alerts:
        heartbeat = next((one for one in rules.heartbeats if fits(alert.labels, one.labels)), None)
        if heartbeat:
            parts.append(await _heartbeat(deps, notification, alert, heartbeat))
        elif not any(fits(alert.labels, pattern) for pattern in rules.ignore):
            kept.append(alert)
    if len(kept) == len(notification.alerts):
        return [notification]
    if not kept:
        return parts
    firing = any(alert.firing for alert in kept) or (notification.firing_group and notification.truncated > 0)
    return [replace(notification, alerts=tuple(kept), firing_group=firing), *parts]


async def _heartbeat(deps: Deps, notification: Notification, alert: Alert, heartbeat: Heartbeat) -> Notification:
    """Remember that a heartbeat was heard, and return what it means: the alert that it has stopped, or that it goes."""
    now = deps.clock.now()
    if alert.firing:
        key = heartbeat_key(alert.fingerprint)
        facts = {
            "fingerprint": alert.fingerprint,
            "labels": dict(alert.labels),
            "source": notification.source,
            "severity": heartbeat.severity.value,
        }
        await deps.store.alerts.heard(key, now, now + heartbeat.within, [now.isoformat(), facts])
    stopped = replace(alert, firing=not alert.firing, started_at=now, ended_at=None, severity=heartbeat.severity)
    return _stopped(deps, notification, stopped)


def _stopped(deps: Deps, notification: Notification, alert: Alert) -> Notification:
    fingerprint = f"heartbeat/{alert.fingerprint}"[:256]
    summary = deps.words.label("alerts.heartbeat_stopped")
    stopped = replace(alert, fingerprint=fingerprint, annotations={"summary": summary})
    # Without the sender: of a pair of Alertmanagers now the one tells of it, now the other.
    return Notification(fingerprint, (stopped,), source=notification.source, firing_group=stopped.firing)


async def watch_heartbeat(deps: Deps, key: str, until: str, heard: str, facts: dict[str, Any]) -> None:
    """Declare an incident if a heartbeat is not heard again until then."""
    await sleep_until(deps, datetime.fromisoformat(until))
    await durable_step("heartbeat", partial(_check_heartbeat, deps, key, heard, facts))


async def _check_heartbeat(deps: Deps, key: str, heard: str, facts: dict[str, Any]) -> None:
    last = await deps.store.alerts.heard_at(key)
    if last is None or last > datetime.fromisoformat(heard) + timedelta(milliseconds=1):
        return
    now = deps.clock.now()
    severity = type(deps.team.alerts.default)(facts["severity"])
    alert = Alert(facts["fingerprint"], True, facts["labels"], {}, now, severity=severity)
    notification = Notification("", (alert,), source=facts["source"])
    await _apply(deps, _stopped(deps, notification, alert), no_runbooks)


async def _drill(deps: Deps, notification: Notification) -> str | None:
    """Return the open drill that caused these alerts: they are of its service and started after it."""
    firing = [alert for alert in notification.alerts if alert.firing]
    for drill in await deps.store.incidents.open_drills() if firing else ():
        started_at = drill.milestones[Milestone.DECLARED]
        if all(
            service_of({**notification.common_labels, **alert.labels}, deps.team) == drill.service
            and alert.started_at >= started_at
            for alert in firing
        ):
            return drill.id
    return None


def _sender(notification: Notification) -> Person:
    return SENDERS.get(notification.source, Person(notification.source, notification.source))


def _declaration(
    deps: Deps, notification: Notification, decision: Declare, runbooks: Runbooks, at: datetime
) -> Declaration:
    alerts, before = decision.alerts, decision.before
    first = min(alerts, key=lambda alert: alert.started_at)
    labels = {**first.labels, **notification.common_labels}
    text = first_text(notification.common_annotations) or first_text(first.annotations)
    description = first.annotations.get("description") or first.annotations.get("message") or ""
    name = notification.common_labels.get("alertname") or first.name
    service = None if decision.storm else _service(deps, notification, decision)
    if rule := labels.get("rulename"):  # Grafana's DatasourceNoData and DatasourceError name their rule so
        name = f"{name} · {rule}"
    title = headline(f"{name}: {text}" if text else f"{name} {labels.get('service', '')}", first.fingerprint)
    in_own_words = deps.team.alerts.titles.get(name)
    if decision.storm:
        title = deps.words.label("alerts.storm_title", name=name)
    elif in_own_words:
        what = deps.words.pick(deps.team.public_name(service)) or service or labels.get("service", "")
        title = headline(deps.words.pick(in_own_words).replace("{service}", what).rstrip(" :·,"), name)
    recurred = f" (↩ {before.id})" if before else ""
    facts = {
        "alert": name,
        "summary": text if in_own_words else "",
        "labels": labels,
        "where": telling(alerts),
        "alerts": sum(alert.count for alert in alerts),
        "description": shorten(description, TEXT_LIMIT),
        "link": web_address(first.link),
        "runbook": web_address(first.annotations.get("runbook_url") or first.annotations.get("runbook") or ""),
        "dashboard": dashboard(first),
        "before": before.id if before else None,
        "runbooks": [] if decision.storm else runbooks(alerts),
    }
    return Declaration(
        headline(title, limit=TITLE_LIMIT - len(recurred)) + recurred,
        decision.severity,
        by=_sender(notification),
        at=at,
        service=service,
        detected=first.started_at if first.started_at > EARLIEST and not before else None,
        source=STORM if decision.storm else notification.source,
        facts=facts,
    )


def _service(deps: Deps, notification: Notification, decision: Declare) -> str | None:
    """Return the service of the most severe alert whose service is recorded."""
    severities = SeverityRule(deps.team.alerts.severity, deps.team.alerts.default)
    for alert in sorted(decision.alerts, key=lambda one: (severities.of(one), one.started_at)):
        if service := service_of({**notification.common_labels, **alert.labels}, deps.team):
            return service
    return None


def telling(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    """Return the labels that say where and why: `label`, its `values` over all alerts, and how many `more`."""
    shown = []
    for label in TELLING:
        values = list(dict.fromkeys(alert.labels[label] for alert in alerts if alert.labels.get(label)))
        if values:
            rest = max(0, len(values) - VALUES_LIMIT)
            shown.append({"label": label, "values": values[:VALUES_LIMIT], "more": rest})
    return shown


def first_text(annotations: Mapping[str, str]) -> str:
    """Return what an alert says of itself in one line."""
    for name in ("summary", "description", "message", "Error"):  # the last one is Grafana's
        if lines := annotations.get(name, "").strip().splitlines():
            return lines[0].strip()
    return ""


def dashboard(alert: Alert) -> str | None:
    """Return the dashboard of an alert, as its sender or its annotations name it."""
    names = ("panelURL", "dashboardURL", "dashboard_url", "dashboard", "grafana_url", "panel_url")
    for source in (alert.links, alert.annotations):
        for name in names:
            if url := web_address(source.get(name, "")):
                return url
    return None


def web_address(url: str) -> str | None:
    """Return a URL that a button may open; None for anything else."""
    url = url.strip()
    is_web = url.startswith(("http://", "https://")) and len(url) <= 3000 and not any(c.isspace() for c in url)
    return url if is_web else None


def _alert_event(incident: Incident, notification: Notification, decision: Join | Over, at: datetime) -> Changed:
    started = decision.started if isinstance(decision, Join) else ()
    applied = (*started, *decision.ended)
    facts = {
        "name": ", ".join(sorted({alert.name for alert in applied})) or notification.name,
        "summary": next((text for alert in started if (text := first_text(alert.annotations))), ""),
        "where": telling(started)[:4],
        "began": sum(alert.count for alert in started),
        "ended": sum(alert.count for alert in decision.ended),
        "firing": decision.firing if isinstance(decision, Join) else 0,
    }
    kind = Kind.ALERT_FIRING if started else Kind.ALERT_RESOLVED
    return incident.with_event(kind, facts, by=_sender(notification), at=at)


async def show_alerts(deps: Deps, incident_id: str, until: float) -> None:
    """Edit the line about an incident's alerts that come and go or are many, and what its card says of them."""
    await sleep_until(deps, datetime.fromtimestamp(until, EARLIEST.tzinfo))
    await durable_step("line", partial(_show_line, deps, incident_id), MESSAGE_TIMEOUT)
    await update_incident_messages(deps, incident_id)


async def _show_line(deps: Deps, incident_id: str) -> None:
    key = f"{incident_id}/alert-line"
    async with deps.message_lock(key):
        incident = await deps.store.incidents.get(incident_id)
        place = await (destination if incident.source == STORM else thread_destination)(deps, incident)
        await deps.store.alerts.begin_edit(incident_id)
        message = alert_line(incident, await deps.store.alerts.of_incident(incident_id), deps.words)
        await upsert_message(deps, key, place, message)
