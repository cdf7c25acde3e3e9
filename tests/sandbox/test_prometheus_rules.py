"""Alerting rules: pending, firing, resolved, on the samples' times; annotations from templates."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sandbox.prometheus.rules import Rules, template
from sandbox.prometheus.tsdb import Tsdb
from sandbox.server import RULES

START = 1_772_452_800_000  # 2026-03-02T12:00:00Z in ms; a multiple of the evaluation interval
EVERY = 15_000

Seen = tuple[list[tuple[str, str]], list[tuple[str, int, int]]]

FILE = """
groups:
  - name: test
    rules:
      - alert: Slow
        expr: slowness > 5
        for: 1m
        labels: {severity: critical, of: "{{ $labels.service }}"}
        annotations: {summary: "{{ $labels.service }} takes {{ $value }} s"}
      - alert: Gone
        expr: absent(slowness)
"""


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    (tmp_path / "rules.yaml").write_text(FILE)
    return Rules.load(tmp_path / "rules.yaml")


def samples(values: Sequence[float], service: str = "a", tsdb: Tsdb | None = None) -> Tsdb:
    """One value each 15 seconds from the start."""
    filled = tsdb or Tsdb()
    series = filled.series("slowness", {"service": service})
    for number, value in enumerate(values):
        series.append(START + number * EVERY, value)
    return filled


def states(rules: Rules) -> list[tuple[str, str]]:
    return [(alert["labels"]["alertname"], alert["state"]) for alert in rules.alerts_as_json()]


def test_an_alert_is_pending_before_it_fires_and_then_resolved(rules: Rules) -> None:
    tsdb = samples([1, 9, 9, 9, 9, 9, 9, 2, 2])
    seen: list[Seen] = []
    for number in range(9):
        told = rules.evaluate(tsdb, START + number * EVERY)
        times: list[tuple[str, int, int]] = [
            (alert.state, alert.fired_at - START, alert.resolved_at - START) for alert in told
        ]
        seen.append((states(rules), times))
    none: Seen = ([], [])
    pending: Seen = ([("Slow", "pending")], [])
    firing: Seen = ([("Slow", "firing")], [("firing", 75_000, -START)])
    resolved: Seen = ([], [("resolved", 75_000, 105_000)])
    assert seen == [none, pending, pending, pending, pending, firing, firing, resolved, resolved]


def test_an_interruption_starts_the_wait_again(rules: Rules) -> None:
    tsdb = samples([9, 9, 9, 1, 9, 9, 9, 9])
    assert rules.evaluate(tsdb, START + 7 * EVERY) == []
    assert states(rules) == [("Slow", "pending")]


def test_late_evaluations_give_what_punctual_ones_would_have(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(FILE)
    values = [1, 9, 9, 9, 9, 9, 9, 9, 2, 9, 9, 9, 9, 9, 9, 1, 1]
    punctual, late = Rules.load(tmp_path / "rules.yaml"), Rules.load(tmp_path / "rules.yaml")
    tsdb = samples(values)
    for number in range(len(values)):
        expected = punctual.evaluate(tsdb, START + number * EVERY)
    late.evaluate(tsdb, START)
    assert late.evaluate(tsdb, START + (len(values) - 1) * EVERY + 7_000) == expected
    assert expected[0].state == "resolved"


def test_an_alert_that_comes_back_is_a_new_one(rules: Rules) -> None:
    tsdb = samples([9] * 6 + [1] * 4 + [9] * 6)
    rules.evaluate(tsdb, START)
    (alert,) = rules.evaluate(tsdb, START + 15 * EVERY)
    assert (alert.state, alert.fired_at - START) == ("firing", 14 * EVERY)


def test_a_resolved_alert_is_told_for_a_quarter_of_an_hour(rules: Rules) -> None:
    tsdb = samples([9] * 6 + [1] * 70)
    rules.evaluate(tsdb, START)
    assert len(rules.evaluate(tsdb, START + 66 * EVERY)) == 1
    assert rules.evaluate(tsdb, START + 67 * EVERY) == []


def test_each_series_is_an_alert_with_its_own_words(rules: Rules) -> None:
    tsdb = samples([7.5] * 6, "b", samples([9] * 6, "a"))
    rules.evaluate(tsdb, START)
    first, second = rules.evaluate(tsdb, START + 5 * EVERY)
    assert dict(first.labels) == {"alertname": "Slow", "severity": "critical", "of": "a", "service": "a"}
    assert second.annotations == {"summary": "b takes 7.5 s"}
    assert first.generator_path == "/graph?g0.expr=slowness%20%3E%205&g0.tab=1"


def test_a_rule_without_a_wait_fires_at_once(rules: Rules) -> None:
    (alert,) = rules.evaluate(Tsdb(), START)
    assert (alert.labels["alertname"], alert.state) == ("Gone", "firing")


def test_the_project_s_rules_are_the_manual_s_put_right() -> None:
    (critical, rendering) = Rules.load(RULES).as_json()["groups"]
    latency, errors = critical["rules"]
    assert "sum by (service, namespace, le) (rate(http_request_duration_seconds_bucket[5m]))" in latency["query"]
    assert latency["query"].endswith("> 0.5")
    assert errors["query"].count("sum by (service, namespace)") == 2
    assert errors["query"].endswith("> 0.02")
    assert (latency["duration"], errors["duration"]) == (300, 120)
    assert {rule["labels"]["severity"] for rule in critical["rules"]} == {"critical"}
    assert [rule["name"] for rule in rendering["rules"]] == ["HighGpuUtilization", "LowFrameRate"]


@pytest.mark.parametrize(
    "wrong",
    [
        "groups: [{name: a, rules: [{alert: A, expr: 'sum('}]}]",
        "groups: [{name: a, rules: [{record: a, expr: up}]}]",
        "groups: [{name: a, rules: [{alert: A, expr: up, annotations: {s: '{{ range $x }}'}}]}]",
        "groups: [{name: a, rules: [{alert: A, expr: up, surprise: 1}]}]",
    ],
)
def test_a_wrong_file_is_refused(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(wrong)
    with pytest.raises(Exception, match=r"parse error|Field required|unknown template|Extra inputs"):
        Rules.load(tmp_path / "rules.yaml")


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{{ $value }}", 0.5, "0.5"),
        ("{{$value | humanizePercentage}}", 0.03125, "3.125%"),
        ("{{ .Value | humanize }}", 1_234_567, "1.235M"),
        ("{{ $value | humanize }}", 0.0123, "12.3m"),
        ("{{ $value | humanize }}", 0, "0"),
        ("{{ $value | humanizeDuration }}", 0.9123, "912.3ms"),
        ("{{ $value | humanizeDuration }}", 90, "1m 30s"),
        ("{{ $value | humanizeDuration }}", 1.5, "1.5s"),
        ("{{ $value | humanizeDuration }}", -3_700, "-1h 1m 40s"),
        ("{{ $value | humanizeDuration }}", 90_061, "1d 1h 1m 1s"),
        ('{{ $value | printf "%.1f" }} FPS', 41.26, "41.3 FPS"),
        ('{{ printf "%.0f%%" $value }}', 96.2, "96%"),
        ("{{ $labels.service }}/{{ .Labels.pod }}/{{ $labels.missing }}", 1, "xr-engine/p-1/"),
        ("no template", 1, "no template"),
        ("{{ $labels.evil }}", 1, "{{ $value }}"),
    ],
)
def test_templates_are_filled(text: str, value: float, expected: str) -> None:
    labels = {"service": "xr-engine", "pod": "p-1", "evil": "{{ $value }}"}
    assert template(text)(labels, value) == expected
