"""A snapshot: a service's metrics at one moment, compared with their thresholds and with another snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any, Self

from bot.domain.translated import in_language

Point = tuple[datetime, float]

# A difference counts as a change beyond this share of the metric's value, or of its threshold if that is larger.
TOLERANCE = 0.1


class Direction(StrEnum):
    """The side of the threshold that is bad."""

    ABOVE = "above"
    BELOW = "below"


class Verdict(StrEnum):
    OK = "ok"
    BREACH = "breach"
    UNKNOWN = "unknown"
    NO_THRESHOLD = "no_threshold"


class Trend(StrEnum):
    """How one metric went from one snapshot to another.

    `changed`: there is no threshold to call it better or worse. `gone`: it was out of bounds, and has no data any more.
    """

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    UNKNOWN = "unknown"


class Assessment(StrEnum):
    """The verdict over all metrics between two snapshots."""

    HELPED = "helped"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """What is measured. `query` is its name in the catalogue, or PromQL; `title` is by language."""

    query: str
    title: Mapping[str, str]
    unit: str = ""
    threshold: float | None = None
    direction: Direction = Direction.ABOVE

    def in_language(self, locale: str) -> str:
        return in_language(self.title, locale) or self.query

    def is_breached_by(self, value: float) -> bool:
        """Return True if `value` is on the bad side of the threshold; the threshold itself is not."""
        if self.threshold is None:
            return False
        return value > self.threshold if self.direction is Direction.ABOVE else value < self.threshold


@dataclass(frozen=True, slots=True)
class Series:
    """One time series of a query: its finite values (UTC), every `step` seconds, possibly with gaps.

    `label` distinguishes the series of one query; empty if there is only one.
    """

    query: str
    step: float
    points: tuple[Point, ...]
    label: str = ""

    def at(self, moment: datetime) -> float | None:
        """Return the last value less than one step before `moment`; None if there is none."""
        latest = next((point for point in reversed(self.points) if point[0] <= moment), None)
        return latest[1] if latest and (moment - latest[0]).total_seconds() < self.step else None

    def median(self, until: datetime, since: datetime | None = None) -> float | None:
        """Return the median of the values before `until` (and from `since` on); None if there are none."""
        values = [value for at, value in self.points if at < until and (since is None or at >= since)]
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a forecast expects at one time, and its interval (see `bot.domain.forecast`)."""

    at: datetime
    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True)
class MetricResult(MetricDefinition):
    """A metric with its value at the time of the snapshot. None is unknown: no data, NaN or infinity.

    `normal` is the median over the window until the incident began. Of several series the worst one counts; `label`
    names it, and `count` is their number. `incomplete` is why not all data was there: then nothing proves it in bounds.
    """

    value: float | None = None
    normal: float | None = None
    label: str = ""
    count: int = 1
    incomplete: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.value is None or (self.incomplete and not self.is_breached_by(self.value)):
            return Verdict.UNKNOWN
        if self.threshold is None:
            return Verdict.NO_THRESHOLD
        return Verdict.BREACH if self.is_breached_by(self.value) else Verdict.OK

    @property
    def change(self) -> float | None:
        """Change since normal in percent; None if either is unknown, or normal is 0 and the value is not."""
        if self.value is None or self.normal is None:
            return None
        if self.normal == 0:
            return 0.0 if self.value == 0 else None
        return (self.value - self.normal) / abs(self.normal) * 100


def build_result(
    definition: MetricDefinition,
    series: Sequence[Series],
    at: datetime,
    calm_until: datetime,
    incomplete: str = "",
    calm_from: datetime | None = None,
) -> MetricResult:
    """Return a metric's result from its series: the worst value at `at`, and its normal before `calm_until`.

    `calm_from` is when the outage before ended: what was measured earlier is not normal.
    """
    facts = {f.name: getattr(definition, f.name) for f in fields(MetricDefinition)}
    facts |= {"count": len(series), "incomplete": incomplete}
    with_value = [(value, s) for s in series if (value := s.at(at)) is not None]
    if with_value:
        pick = min if definition.direction is Direction.BELOW else max
        value, worst = pick(with_value, key=lambda pair: pair[0])
        return MetricResult(**facts, value=value, normal=worst.median(calm_until, calm_from), label=worst.label)
    if len(series) == 1:
        return MetricResult(**facts, normal=series[0].median(calm_until, calm_from), label=series[0].label)
    return MetricResult(**facts)


@dataclass(frozen=True, slots=True)
class Missing:
    """A metric that could not be queried, with the key and facts (plain JSON) of the error.

    `temporary`: querying again later may help.
    """

    measure: MetricDefinition
    error: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The metrics at `at` (UTC), and their series over the `window` before.

    `board` is the name of a board or query, or PromQL. `calm_until` is the end of the normal period: when the incident
    began, or `at` without an incident. `ahead` has what is expected after `at`, by query.
    """

    board: str
    service: str | None
    at: datetime
    window: timedelta
    calm_until: datetime
    figures: tuple[MetricResult, ...] = ()
    series: tuple[Series, ...] = ()
    missing: tuple[Missing, ...] = ()
    ahead: Mapping[str, tuple[Expected, ...]] = field(default_factory=dict)

    @property
    def start(self) -> datetime:
        return self.at - self.window

    @property
    def is_temporarily_incomplete(self) -> bool:
        return any(missing.temporary for missing in self.missing)

    def of(self, query: str) -> tuple[Series, ...]:
        """Return the series of one query."""
        return tuple(series for series in self.series if series.query == query)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON. Times are ISO 8601, a point is `[seconds since 1970, value]`.

        Verdict and change are included for readers; `from_json` computes them again.
        """
        return {
            "board": self.board,
            "service": self.service,
            "at": self.at.isoformat(),
            "window": self.window.total_seconds(),
            "calm_until": self.calm_until.isoformat(),
            "figures": [metric_json(metric) for metric in self.figures],
            "series": [
                {
                    "query": series.query,
                    "step": series.step,
                    "points": [[at.timestamp(), value] for at, value in series.points],
                    "label": series.label,
                }
                for series in self.series
            ],
            "missing": [asdict(missing) for missing in self.missing],
            "ahead": {
                query: [[one.at.timestamp(), one.low, one.value, one.high] for one in expected]
                for query, expected in self.ahead.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(
            board=content["board"],
            service=content["service"],
            at=datetime.fromisoformat(content["at"]),
            window=timedelta(seconds=content["window"]),
            calm_until=datetime.fromisoformat(content["calm_until"]),
            figures=tuple(_metric_from(raw) for raw in content["figures"]),
            series=tuple(
                Series(**raw | {"points": tuple((datetime.fromtimestamp(at, UTC), v) for at, v in raw["points"])})
                for raw in content["series"]
            ),
            missing=tuple(Missing(**raw | {"measure": _definition_from(raw["measure"])}) for raw in content["missing"]),
            ahead={
                query: tuple(Expected(datetime.fromtimestamp(at, UTC), *values) for at, *values in expected)
                for query, expected in content.get("ahead", {}).items()
            },
        )


def metric_json(metric: MetricResult) -> dict[str, Any]:
    """Return a metric as plain JSON, with its verdict and its change since normal."""
    return asdict(metric) | {"verdict": metric.verdict.value, "change": metric.change}


def _metric_from(content: Mapping[str, Any]) -> MetricResult:
    return MetricResult(**_facts(MetricResult, content))


def _definition_from(content: Mapping[str, Any]) -> MetricDefinition:
    return MetricDefinition(**_facts(MetricDefinition, content))


def _facts(kind: type[MetricDefinition], content: Mapping[str, Any]) -> dict[str, Any]:
    values = {f.name: content[f.name] for f in fields(kind) if f.name in content}  # older ones have fewer
    return values | {"direction": Direction(values["direction"])}


@dataclass(frozen=True, slots=True)
class Change:
    """One metric in two snapshots."""

    before: MetricResult
    after: MetricResult
    trend: Trend


def compare(before: Snapshot, after: Snapshot, tolerance: float = TOLERANCE) -> tuple[Change, ...]:
    """Return how each metric that is in both snapshots changed, in the order of the second one."""
    earlier = {metric.query: metric for metric in before.figures}
    return tuple(
        Change(earlier[metric.query], metric, trend(earlier[metric.query], metric, tolerance))
        for metric in after.figures
        if metric.query in earlier
    )


def trend(before: MetricResult, after: MetricResult, tolerance: float = TOLERANCE) -> Trend:
    """Return the trend. Crossing the threshold always counts; any other change only beyond the tolerance.

    Incomplete data prove nothing good: neither that it was well before a change, nor that it is better after it.
    """
    if after.value is None and before.verdict is Verdict.BREACH and not after.incomplete:
        return Trend.GONE
    if before.value is None or after.value is None or Verdict.UNKNOWN in (before.verdict, after.verdict):
        return Trend.UNKNOWN
    seen = _trend(before, before.value, after, after.value, tolerance)
    unproven = (seen is Trend.BETTER and after.incomplete) or (seen is Trend.WORSE and before.incomplete)
    return Trend.UNKNOWN if unproven else seen


def _trend(before: MetricResult, earlier: float, after: MetricResult, later: float, tolerance: float) -> Trend:
    if after.threshold is not None and before.is_breached_by(earlier) != after.is_breached_by(later):
        return Trend.WORSE if after.is_breached_by(later) else Trend.BETTER
    difference = later - earlier
    if abs(difference) <= tolerance * max(abs(earlier), abs(after.threshold or 0)):
        return Trend.SAME
    if after.threshold is None:
        return Trend.CHANGED
    rose = difference > 0
    return Trend.WORSE if rose is (after.direction is Direction.ABOVE) else Trend.BETTER


def assess(changes: Sequence[Change]) -> Assessment:
    """Return the verdict. Only metrics that are out of bounds before or after count: a healthy metric may move."""
    out_of_bounds = [change for change in changes if Verdict.BREACH in (change.before.verdict, change.after.verdict)]
    trends = {change.trend for change in out_of_bounds}
    if {Trend.BETTER, Trend.WORSE} <= trends:
        return Assessment.MIXED
    if Trend.WORSE in trends:
        return Assessment.WORSE
    if trends & {Trend.UNKNOWN, Trend.GONE} or all(change.trend is Trend.UNKNOWN for change in changes):
        return Assessment.UNKNOWN
    return Assessment.HELPED if Trend.BETTER in trends else Assessment.NO_EFFECT
