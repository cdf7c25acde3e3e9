"""Whether a metric will cross its threshold within the hour, with how sure that is; and how often that came true.

The forecast is a line through the last window, by the median of the slopes between all pairs of its points (P. K. Sen,
*Estimates of the Regression Coefficient Based on Kendall's Tau*, Journal of the American Statistical Association 63
(1968)), over the usual course of the day where the days before make it more exact. Its interval and its probability are
no assumption about noise: the same forecast is made at every moment of the past, and what it missed by there is what it
may miss by now (split conformal prediction: V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a Random World*,
chapter 2). So little history gives little certainty by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from bot.domain.snapshot import Direction, Expected, MetricDefinition, Point
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
else:
    np = LazyModule("numpy")
    Floats: TypeAlias = Any

STEP = timedelta(minutes=5)  # as long as the rates of a board: samples that share no data
HISTORY = timedelta(days=8)
HORIZON = timedelta(hours=1)
LEAST_LEAD = timedelta(minutes=10)  # with less the alert itself is soon enough
LATE = timedelta(minutes=15)  # a crossing so long after the hour still counts as foreseen
SURE = 0.9  # how probable a crossing must be to be told
BAND = 0.9  # of the outcomes are within the interval
WINDOW = 9  # points that the line goes through: forty minutes
LEAST_POINTS = 7  # of them must be there
LEAST_ERRORS = 20  # forecasts of the past, to know what this one may miss by
LEAST_DAYS = 3  # before, to know the usual course of a day
JUMP = 0.7  # a window whose two levels miss by less than this part of what a line misses by has jumped
RECENT = 6  # predictions by which a metric is silenced
SNOOZE = timedelta(hours=4)  # so long a metric is not told after somebody has said *not now*
STEPS = HORIZON // STEP
DAY = timedelta(days=1) // STEP
DAYS = 7


class NotEnough(StrEnum):
    """Why nothing can be said."""

    NO_THRESHOLD = "no_threshold"
    NO_DATA = "no_data"  # the newest value is missing
    GAPS = "gaps"
    JUMP = "jump"  # it jumped: a jump is no trend
    LITTLE_HISTORY = "little_history"


class Outcome(StrEnum):
    """What became of a prediction. `unknown`: there were no data to tell.

    `averted`: it did not come, and a run changed something meanwhile, so that nobody knows whether it was right.
    """

    WAITING = "waiting"
    CAME = "came"
    DID_NOT = "did_not"
    AVERTED = "averted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next hour of a metric.

    `probability` that it is beyond its threshold at some time of the hour; `crosses_at` is when it is expected to get
    there, `earliest` when it might. `seasonal`: by the usual course of the day. `errors`: forecasts of the past that
    the interval comes from. `has_trend`: a line explains the last window at least as well as two levels do, which fit
    mere noise and a small jump better.
    """

    metric: MetricDefinition
    at: datetime
    value: float
    expected: tuple[Expected, ...]
    probability: float
    crosses_at: datetime | None
    earliest: datetime | None
    seasonal: bool
    errors: int
    has_trend: bool

    @property
    def is_told(self) -> bool:
        """Return whether it is worth telling: sure, soon enough to act, and not so already."""
        return (
            self.has_trend
            and self.probability >= SURE
            and self.crosses_at is not None
            and self.crosses_at - self.at >= LEAST_LEAD
            and not self.metric.is_breached_by(self.value)
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction made at `at`. `told`: in the channel; otherwise the metric was silenced or snoozed. Times are UTC.

    `snoozed_by` (a Slack user id) has asked not to be told of the metric until `snoozed_until`; `run` was started by
    its button.
    """

    id: str
    service: str
    query: str
    at: datetime
    probability: float
    crosses_at: datetime
    earliest: datetime
    told: bool
    outcome: Outcome = Outcome.WAITING
    came_at: datetime | None = None
    snoozed_until: datetime | None = None
    snoozed_by: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How often the predictions of one metric came true. Those that were not told count, too."""

    service: str
    query: str
    came: int = 0
    did_not: int = 0
    averted: int = 0
    unknown: int = 0
    waiting: int = 0

    @property
    def scored(self) -> int:
        """Predictions that were right or wrong: neither averted, nor unknown, nor still waiting."""
        return self.came + self.did_not


class Past:
    """A metric at regular steps, with the forecast of every moment. `values` are NaN where there are gaps."""

    def __init__(self, metric: MetricDefinition, values: Floats) -> None:
        self.metric = metric
        self.values = values
        self._sign = 1.0 if metric.direction is Direction.ABOVE else -1.0

    @cached_property
    def _rows(self) -> Floats:
        """Window and horizon of every moment, a row each; what has not come yet is NaN."""
        padded = np.concatenate([np.full(WINDOW - 1, np.nan), self.values, np.full(STEPS, np.nan)])
        return np.lib.stride_tricks.sliding_window_view(padded, WINDOW + STEPS)

    @cached_property
    def _course(self) -> Floats:
        """The usual course around every moment: the median of the days before, each from its own level."""
        from_level = self._rows - _median(self._rows[:, :WINDOW])[:, None]
        days = [_later(from_level, day * DAY) for day in range(1, DAYS + 1)]
        stacked = np.stack(days)
        course = _median(stacked, 0)
        course[np.isfinite(stacked).sum(0) < LEAST_DAYS] = np.nan
        return course

    @cached_property
    def _plain(self) -> Floats:
        return _extended(self._rows[:, :WINDOW])

    @cached_property
    def _seasonal(self) -> Floats:
        return _extended(self._rows[:, :WINDOW] - self._course[:, :WINDOW]) + self._course[:, WINDOW:]

    def forecast(self, index: int, at: datetime) -> Forecast | NotEnough:
        """Return the forecast at `values[index]`, the moment `at`, by what was known then."""
        window = self._rows[index, :WINDOW]
        if self.metric.threshold is None:
            return NotEnough.NO_THRESHOLD
        if not np.isfinite(window[-1]):
            return NotEnough.NO_DATA
        if np.isfinite(window).sum() < LEAST_POINTS:
            return NotEnough.GAPS
        found = self._errors(index)
        if found is None:
            return NotEnough.LITTLE_HISTORY
        seasonal, errors = found
        course = self._course[index] if seasonal else np.zeros(WINDOW + STEPS)
        fit = _levels_beside_line(window - course[:WINDOW])
        if fit < JUMP:
            return NotEnough.JUMP
        middle = (self._seasonal if seasonal else self._plain)[index]
        return self._forecast(middle, errors, at, float(window[-1]), seasonal=seasonal, has_trend=fit >= 1)

    def _forecast(
        self, middle: Floats, errors: Floats, at: datetime, value: float, *, seasonal: bool, has_trend: bool
    ) -> Forecast:
        threshold = float(self.metric.threshold or 0)
        outcomes = middle + errors
        beyond = (self._sign * (outcomes - threshold) > 0).sum(0) / (len(errors) + 1)
        low, high = np.quantile(outcomes, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
        times = [at + STEP * step for step in range(1, STEPS + 1)]
        return Forecast(
            self.metric, at, value,
            tuple(Expected(*one) for one in zip(times, low.tolist(), middle.tolist(), high.tolist(), strict=True)),
            float(beyond.max()),
            _first(times, self._sign * (middle - threshold) > 0),
            _first(times, self._sign * ((high if self._sign > 0 else low) - threshold) > 0),
            seasonal, len(errors), has_trend,
        )  # fmt: skip

    def _errors(self, index: int) -> tuple[bool, Floats] | None:
        """Return whether the usual course makes it more exact, and what the forecasts before missed by."""
        since, until = max(index - HISTORY // STEP, 0), index - STEPS + 1
        if until <= since:
            return None
        truth = self._rows[since:until, WINDOW:]
        plain = _known(truth - self._plain[since:until])
        seasonal = _known(truth - self._seasonal[since:until])
        if len(seasonal) >= LEAST_ERRORS and np.isfinite(self._seasonal[index]).all():
            both = np.isfinite(self._seasonal[since:until]).all(1)
            beside = _known((truth - self._plain[since:until])[both])
            if np.median(np.abs(seasonal)) < np.median(np.abs(beside)):
                return True, seasonal
        return (False, plain) if len(plain) >= LEAST_ERRORS else None


def forecast(metric: MetricDefinition, points: Sequence[Point], at: datetime) -> Forecast | NotEnough:
    """Return the forecast at `at` (UTC, a multiple of STEP) by points that are STEP apart, possibly with gaps."""
    return Past(metric, on_grid(points, at)).forecast(HISTORY // STEP, at)


def on_grid(points: Sequence[Point], at: datetime) -> Floats:
    """Return the values of the HISTORY until `at`, one a STEP, NaN where there is none."""
    size = HISTORY // STEP
    values = np.full(size + 1, np.nan)
    for moment, value in points:
        steps = round((moment - at) / STEP)
        if -size <= steps <= 0:
            values[size + steps] = value
    return values


def last_step(now: datetime) -> datetime:
    """Return the last multiple of STEP (UTC)."""
    seconds = STEP.total_seconds()
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)


def score(metric: MetricDefinition, told_at: datetime, points: Sequence[Point]) -> tuple[Outcome, datetime | None]:
    """Return what became of a prediction by the points since, and when it came.

    A prediction that half of its time has no data for is not known.
    """
    ends = told_at + HORIZON + LATE
    since = [(at, value) for at, value in points if told_at < at <= ends]
    if came := next((at for at, value in since if metric.is_breached_by(value)), None):
        return Outcome.CAME, came
    known = len({round((at - told_at) / STEP) for at, _ in since})
    return (Outcome.DID_NOT if 2 * known >= (HORIZON + LATE) // STEP else Outcome.UNKNOWN), None


def scores(predictions: Iterable[Prediction]) -> list[Score]:
    """Return the score of each metric, those with the most wrong predictions first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in predictions:
        counts.setdefault((one.service, one.query), Counter())[one.outcome.value] += 1
    found = [Score(service, query, **count) for (service, query), count in counts.items()]
    return sorted(found, key=lambda score: (-score.did_not, score.service, score.query))


def is_snoozed(predictions: Iterable[Prediction], at: datetime) -> bool:
    """Return whether somebody has asked not to be told of the metric of these predictions at that time."""
    return any(one.snoozed_until is not None and one.snoozed_until > at for one in predictions)


def cries_wolf(newest_first: Sequence[Outcome]) -> bool:
    """Return whether a metric is silenced: of its last predictions at least two were wrong, and most of them.

    Silenced predictions are scored, too, so that it is heard again once they come true.
    """
    scored = [one for one in newest_first if one in (Outcome.CAME, Outcome.DID_NOT)][:RECENT]
    wrong = scored.count(Outcome.DID_NOT)
    return wrong >= 2 and 2 * wrong > len(scored)


def _extended(windows: Floats) -> Floats:
    """Return the next STEPS of the line through each window; NaN where too many points are missing."""
    times = np.arange(WINDOW, dtype=float)
    first, second = np.triu_indices(WINDOW, 1)
    slopes = _median((windows[:, second] - windows[:, first]) / (times[second] - times[first]))
    levels = _median(windows - slopes[:, None] * times)
    lines: Floats = levels[:, None] + slopes[:, None] * np.arange(WINDOW, WINDOW + STEPS)
    lines[np.isfinite(windows).sum(1) < LEAST_POINTS] = np.nan
    return lines


def _levels_beside_line(window: Floats) -> float:
    """Return what the best two levels of a window miss by, as a part of what the line through it misses by.

    Both are sums of absolute errors; 1.0 where the line misses nothing.
    """
    known = np.isfinite(window)
    times, values = np.flatnonzero(known).astype(float), window[known]
    pairs = np.triu_indices(len(values), 1)
    slope = np.median((values[pairs[1]] - values[pairs[0]]) / (times[pairs[1]] - times[pairs[0]]))
    rest = values - slope * times
    of_line = np.abs(rest - np.median(rest)).sum()
    of_levels = min(
        np.abs(values[:cut] - np.median(values[:cut])).sum() + np.abs(values[cut:] - np.median(values[cut:])).sum()
        for cut in range(2, len(values) - 1)
    )
    return float(of_levels / of_line) if of_line else 1.0


def _median(values: Floats, axis: int = -1) -> Floats:
    """Return the median of what is known: NaN sorts to the end, which is much faster than numpy's nanmedian."""
    ordered = np.sort(values, axis)
    count = np.isfinite(values).sum(axis, keepdims=True)
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    high = np.minimum(high, values.shape[axis] - 1)
    pair = np.take_along_axis(ordered, low, axis) + np.take_along_axis(ordered, high, axis)
    median: Floats = np.where(count > 0, pair / 2, np.nan).squeeze(axis)
    return median


def _later(rows: Floats, steps: int) -> Floats:
    """Return the rows of so many steps before, in the place of each."""
    moved = np.full_like(rows, np.nan)
    moved[steps:] = rows[: max(len(rows) - steps, 0)]
    return moved


def _known(rows: Floats) -> Floats:
    return rows[np.isfinite(rows).all(1)]


def _first(times: Sequence[datetime], flags: NDArray[np.bool_]) -> datetime | None:
    return next((at for at, flag in zip(times, flags, strict=True) if flag), None)
