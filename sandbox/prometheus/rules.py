"""Alerting rules: a Prometheus rule file, evaluated on the samples (prometheus/rules/alerting.go)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import promql_parser as promql
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sandbox import yaml_file
from sandbox.prometheus.engine import parse, query_range
from sandbox.prometheus.literals import go_exponent
from sandbox.prometheus.tsdb import Labels, Tsdb
from sandbox.prometheus.values import Vector, unnamed

INTERVAL = 15_000  # ms between two evaluations
RESOLVED_RETENTION = 15 * 60_000  # ms; a resolved alert is sent to Alertmanager for this long
CATCH_UP = 60 * 60_000  # ms; older evaluations are skipped
EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")
VALUE = re.compile(r"\$value|\.Value")
PRINTF = re.compile(r'printf "(%(?:\.\d+)?[efg](?:%%)?)"')
State = Literal["pending", "firing", "resolved"]
Key = frozenset[tuple[str, str]]
Template = Callable[[Labels, float], str]


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
        """Path and query of the expression in Prometheus' web interface."""
        return f"/graph?g0.expr={quote(self.rule.expr, safe='')}&g0.tab=1"


class Rules:
    """The rules of a file and the alerts they have raised."""

    def __init__(self, groups: Sequence[Group], file: str = "") -> None:
        self._groups = groups
        self._file = file
        self._active: dict[tuple[str, str], dict[Key, Alert]] = {}
        self._evaluated: int | None = None

    @classmethod
    def load(cls, path: Path) -> Rules:
        """Read a rule file. Raises pydantic's ValidationError or QueryError when it is invalid."""
        file = RuleFile.model_validate(yaml_file.read(path))
        return cls(file.groups, path.name)

    def evaluate(self, tsdb: Tsdb, now: int) -> list[Alert]:
        """Evaluate at every interval up to `now` (ms). Return the alerts to send to Alertmanager."""
        newest = now // INTERVAL * INTERVAL
        start = newest if self._evaluated is None else max(self._evaluated + INTERVAL, newest - CATCH_UP)
        if start <= newest:
            for group, rule in self._all_rules():
                alerts = self._active.setdefault((group.name, rule.alert), {})
                for at, results in _evaluate(rule, tsdb, start, newest):
                    _update_alerts(rule, at, results, alerts)
            self._evaluated = newest
        return [alert for alert in self._alerts() if alert.state != "pending"]

    def _all_rules(self) -> Iterator[tuple[Group, Rule]]:
        for group in self._groups:
            for rule in group.rules:
                yield group, rule

    def _alerts(self) -> Iterator[Alert]:
        for alerts in self._active.values():
            yield from alerts.values()

    def alerts_as_json(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts as in /api/v1/alerts."""
        return [_alert_json(alert) for alert in self._alerts() if alert.state != "resolved"]

    def as_json(self) -> dict[str, Any]:
        """Return the rules as in /api/v1/rules."""
        return {
            "groups": [
                {
                    "name": group.name,
                    "file": self._file,
                    "rules": [self._rule_json(group, rule) for rule in group.rules],
                    **self._timing(),
                    "limit": 0,
                    "interval": INTERVAL / 1000,
                }
                for group in self._groups
            ]
        }

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


def _update_alerts(rule: Rule, at: int, results: Mapping[Key, Alert], alerts: dict[Key, Alert]) -> None:
    """Apply the expression's results at `at` ms to the rule's alerts."""
    for key, alert in results.items():
        previous = alerts.get(key)
        if previous is not None and previous.state != "resolved":
            alert = replace(previous, value=alert.value, annotations=alert.annotations)
        if alert.state == "pending" and at - alert.active_at >= rule.hold.total_seconds() * 1000:
            alert = replace(alert, state="firing", fired_at=at)
        alerts[key] = alert
    for key, alert in list(alerts.items()):
        if key in results:
            continue
        if alert.state == "pending" or (alert.state == "resolved" and at - alert.resolved_at > RESOLVED_RETENTION):
            del alerts[key]
        elif alert.state == "firing":
            alerts[key] = replace(alert, state="resolved", resolved_at=at)


def _evaluate(rule: Rule, tsdb: Tsdb, start: int, end: int) -> Iterator[tuple[int, dict[Key, Alert]]]:
    """Yield each evaluation's time and results from `start` to `end` ms; one query computes them all."""
    answer = query_range(tsdb, rule.expr, start, end, INTERVAL)
    for number, at in enumerate(range(start, end + 1, INTERVAL)):
        results: dict[Key, Alert] = {}
        if isinstance(answer, Vector):
            for row in np.flatnonzero(answer.present[:, number]):
                alert = _alert(rule, answer.labels[int(row)], float(answer.values[row, number]), at)
                results[alert.key] = alert
        yield at, results


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


# The part of Go's templates that alert annotations use: `{{ $labels.service }}`, `{{ $value | humanize }}`.


def template(text: str) -> Template:
    """Compile the expressions of a text. Raises ValueError for an unsupported expression."""
    parts: list[str | Template] = []
    end = 0
    for match in EXPRESSION.finditer(text):
        parts += [text[end : match.start()], _compile(match[1])]
        end = match.end()
    parts.append(text[end:])
    return lambda labels, value: "".join(part if isinstance(part, str) else part(labels, value) for part in parts)


def _compile(expression: str) -> Template:
    source, *filters = [part.strip() for part in expression.split("|")]
    prefixed = PRINTF.match(source)
    if prefixed:
        source, filters = source[prefixed.end() :].strip(), [prefixed[0], *filters]
    label = LABEL.fullmatch(source)
    if label and not filters:
        name = label[1]
        return lambda labels, _: labels.get(name, "")
    if VALUE.fullmatch(source) and len(filters) <= 1:
        show = _format(filters[0]) if filters else repr
        return lambda _, value: show(value)
    raise ValueError(f"unknown template expression: {{{{ {expression} }}}}")


def _format(name: str) -> Callable[[float], str]:
    if name in FORMATS:
        return FORMATS[name]
    printed = PRINTF.fullmatch(name)
    if printed is None:
        raise ValueError(f"unknown template function: {name}")
    pattern = printed[1]
    return lambda value: pattern % value


def humanize(value: float) -> str:
    """A number with an SI prefix, four digits: 1234567 → 1.235M."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    prefixes = ("k", "M", "G", "T", "P", "E", "Z", "Y") if abs(value) >= 1 else ("m", "u", "n", "p", "f", "a")
    factor = 1000.0 if abs(value) >= 1 else 0.001
    prefix = ""
    for next_prefix in prefixes:
        if 1 <= abs(value) < 1000:
            break
        prefix, value = next_prefix, value / factor
    return f"{value:.4g}{prefix}"


def humanize_percentage(value: float) -> str:
    """A ratio as a percentage: 0.0312 → 3.12%."""
    return f"{value * 100:.4g}%"


def humanize_duration(value: float) -> str:
    """Seconds as days, hours, minutes, seconds; below one second with a prefix: 0.9123 → 912.3ms."""
    if abs(value) < 1:
        return humanize(value) + "s"
    seconds = int(abs(value))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    if len(parts) == 1:
        return f"{value:.4g}s"
    return ("-" if value < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts)


FORMATS: dict[str, Callable[[float], str]] = {
    "humanize": humanize,
    "humanizePercentage": humanize_percentage,
    "humanizeDuration": humanize_duration,
}
