"""Alerting rules: a Prometheus rule file, evaluated on the samples (prometheus/rules/alerting.go)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import promql_parser as promql
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sandbox.prometheus.engine import parse, query_range
from sandbox.prometheus.numbers import go_exponent
from sandbox.prometheus.templates import template
from sandbox.prometheus.tsdb import Labels, Tsdb
from sandbox.prometheus.values import Vector, unnamed

INTERVAL = 15_000  # ms between two evaluations
KEPT = 15 * 60_000  # ms for which a resolved alert is told again
CATCH_UP = 60 * 60_000  # ms; evaluations longer ago than this are left out

State = Literal["pending", "firing", "resolved"]
Key = frozenset[tuple[str, str]]


class Rule(BaseModel):
    """One alerting rule of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alert: str
    expr: str
    hold: timedelta = Field(timedelta(0), alias="for")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @field_validator("expr")
    @classmethod
    def _is_promql(cls, text: str) -> str:
        parse(text)
        return text

    @field_validator("hold", mode="before")
    @classmethod
    def _is_duration(cls, text: str) -> timedelta:
        return timedelta(0) if text in ("0", "0s") else promql.parse_duration(text)

    @field_validator("labels", "annotations")
    @classmethod
    def _are_templates(cls, texts: dict[str, str]) -> dict[str, str]:
        for text in texts.values():
            template(text)
        return texts


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rules: list[Rule]


class RuleFile(BaseModel):
    """A rule file. Recording rules and an interval of a group's own are not supported."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: list[Group]


@dataclass(frozen=True)
class Alert:
    """One alert of a rule; times in ms."""

    rule: Rule
    labels: Labels
    annotations: Labels
    value: float
    state: State
    active_at: int
    fired_at: int = 0
    resolved_at: int = 0

    @property
    def key(self) -> Key:
        return frozenset(self.labels.items())

    @property
    def generator_path(self) -> str:
        """Where Prometheus' page shows the expression, to be put behind its address."""
        return f"/graph?g0.expr={quote(self.rule.expr, safe='')}&g0.tab=1"


class Rules:
    """The rules of a file and the alerts that they have raised."""

    def __init__(self, groups: Sequence[Group], file: str = "") -> None:
        self._groups = groups
        self._file = file
        self._active: dict[tuple[str, str], dict[Key, Alert]] = {}
        self._evaluated: int | None = None

    @classmethod
    def load(cls, path: Path) -> "Rules":
        """Read a rule file. pydantic's ValidationError or QueryError when it is wrong."""
        read = RuleFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
        return cls(read.groups, path.name)

    def evaluate(self, tsdb: Tsdb, now: int) -> list[Alert]:
        """Evaluate at every interval up to `now` (ms); the alerts that Alertmanager should hear of."""
        newest = now // INTERVAL * INTERVAL
        start = newest if self._evaluated is None else max(self._evaluated + INTERVAL, newest - CATCH_UP)
        if start <= newest:
            for group, rule in self._each():
                alerts = self._active.setdefault((group.name, rule.alert), {})
                for at, found in _found(rule, tsdb, start, newest):
                    _bring_up(rule, at, found, alerts)
            self._evaluated = newest
        return [alert for alert in self._alerts() if alert.state != "pending"]

    def _each(self) -> Iterator[tuple[Group, Rule]]:
        for group in self._groups:
            for rule in group.rules:
                yield group, rule

    def _alerts(self) -> Iterator[Alert]:
        for alerts in self._active.values():
            yield from alerts.values()

    def alerts_as_json(self) -> list[dict[str, Any]]:
        """The pending and firing alerts as /api/v1/alerts tells them."""
        return [_alert_json(alert) for alert in self._alerts() if alert.state != "resolved"]

    def as_json(self) -> dict[str, Any]:
        """The rules as /api/v1/rules tells them."""
        told = []
        for group in self._groups:
            rules = [self._rule_json(group, rule) for rule in group.rules]
            told.append({"name": group.name, "file": self._file, "rules": rules, **self._timing(), "limit": 0})
            told[-1]["interval"] = INTERVAL / 1000
        return {"groups": told}

    def _rule_json(self, group: Group, rule: Rule) -> dict[str, Any]:
        alerts = self._active.get((group.name, rule.alert), {}).values()
        active = [alert for alert in alerts if alert.state != "resolved"]
        states = {alert.state for alert in active}
        return {
            "state": "firing" if "firing" in states else "pending" if states else "inactive",
            "name": rule.alert,
            "query": rule.expr,
            "duration": rule.hold.total_seconds(),
            "keepFiringFor": 0,
            "labels": rule.labels,
            "annotations": rule.annotations,
            "alerts": [_alert_json(alert) for alert in active],
            "health": "unknown" if self._evaluated is None else "ok",
            "type": "alerting",
            **self._timing(),
        }

    def _timing(self) -> dict[str, Any]:
        last = "0001-01-01T00:00:00Z" if self._evaluated is None else rfc3339(self._evaluated)
        return {"lastEvaluation": last, "evaluationTime": 0.0}


def _bring_up(rule: Rule, at: int, found: Mapping[Key, Alert], alerts: dict[Key, Alert]) -> None:
    """Bring the rule's alerts up to what its expression gave at `at` ms."""
    for key, alert in found.items():
        known = alerts.get(key)
        if known is not None and known.state != "resolved":
            alert = replace(known, value=alert.value, annotations=alert.annotations)
        if alert.state == "pending" and at - alert.active_at >= rule.hold.total_seconds() * 1000:
            alert = replace(alert, state="firing", fired_at=at)
        alerts[key] = alert
    for key, alert in list(alerts.items()):
        if key in found:
            continue
        if alert.state == "pending" or (alert.state == "resolved" and at - alert.resolved_at > KEPT):
            del alerts[key]
        elif alert.state == "firing":
            alerts[key] = replace(alert, state="resolved", resolved_at=at)


def _found(rule: Rule, tsdb: Tsdb, start: int, end: int) -> Iterator[tuple[int, dict[Key, Alert]]]:
    """What the expression gives at each evaluation from `start` to `end` ms, one query for all of them."""
    answer = query_range(tsdb, rule.expr, start, end, INTERVAL)
    for number, at in enumerate(range(start, end + 1, INTERVAL)):
        found: dict[Key, Alert] = {}
        if isinstance(answer, Vector):
            for row in np.flatnonzero(answer.present[:, number]):
                alert = _alert(rule, answer.labels[int(row)], float(answer.values[row, number]), at)
                found[alert.key] = alert
        yield at, found


def _alert(rule: Rule, own: Labels, value: float, at: int) -> Alert:
    labels = {name: template(text)(own, value) for name, text in rule.labels.items()}
    annotations = {name: template(text)(own, value) for name, text in rule.annotations.items()}
    return Alert(rule, {**unnamed(own), **labels, "alertname": rule.alert}, annotations, value, "pending", at)


def _alert_json(alert: Alert) -> dict[str, Any]:
    return {
        "labels": dict(sorted(alert.labels.items())),
        "annotations": dict(alert.annotations),
        "state": alert.state,
        "activeAt": rfc3339(alert.active_at),
        "value": go_exponent(alert.value),
    }


def rfc3339(at: int) -> str:
    """A time in ms as RFC 3339, UTC."""
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace(".000", "").replace("+00:00", "Z")
