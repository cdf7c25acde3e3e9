"""Incident statistics: how fast incidents are acknowledged and resolved, and how far apart they are, against targets.

Everything is computed from milestones, which people and alerts set, never from when a row was last updated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median, quantiles
from typing import Any, NamedTuple

from bot.domain.incident import Severity
from bot.domain.run import RunState, StepState


class Record(NamedTuple):
    """What the statistics need of one incident, in seconds since 1970: plain numbers, as there may be thousands.

    `start` is when the problem was detected. Drills are left out.
    """

    severity: Severity
    start: float
    acknowledged: float | None = None
    resolved: float | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of durations: number, mean, median and 90th percentile."""

    count: int
    mean: timedelta
    median: timedelta
    p90: timedelta

    @classmethod
    def of(cls, spans: Iterable[float]) -> Distribution | None:
        """Return the distribution of durations in seconds; None if there are none: unknown, not zero.

        The percentile is interpolated linearly, as by PostgreSQL's `percentile_cont`.
        """
        seconds = sorted(spans)
        if not seconds:
            return None
        p90 = quantiles(seconds, n=10, method="inclusive")[8] if len(seconds) > 1 else seconds[0]
        return cls(len(seconds), *(timedelta(seconds=value) for value in (fmean(seconds), median(seconds), p90)))


@dataclass(frozen=True, slots=True)
class Measurement:
    """MTTA, MTTR or MTBF, with the team's target for its mean."""

    spread: Distribution | None
    target: timedelta | None
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """True if the mean is on the right side of the target; None if either is unknown."""
        if self.spread is None or self.target is None:
            return None
        return self.spread.mean > self.target if self.higher_is_better else self.spread.mean < self.target


@dataclass(frozen=True, slots=True)
class Targets:
    """The team's targets: upper limits for MTTA and MTTR, a lower limit for MTBF."""

    mtta: timedelta | None
    mttr: timedelta | None
    mtbf: timedelta | None


@dataclass(frozen=True, slots=True)
class Month:
    """The incidents that began in one month (UTC): their number and their mean time to resolve, if any is resolved."""

    first: datetime
    count: int
    mttr: timedelta | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the incidents declared from `since` (None: the first one) to `until`.

    `unacknowledged` and `unresolved` incidents have not reached that milestone and are not part of its mean.
    """

    since: datetime | None
    until: datetime
    count: int
    by_severity: Mapping[Severity, int]
    unacknowledged: int
    unresolved: int
    mtta: Measurement
    mttr: Measurement
    mtbf: Measurement
    months: Sequence[Month]


def compute(
    records: Sequence[Record],
    targets: Targets,
    *,
    since: datetime | None,
    until: datetime,
    previous_start: float | None = None,
) -> Statistics:
    """Compute the statistics of `records`, in any order.

    - MTTA, mean time to acknowledge: acknowledged minus detected.
    - MTTR, mean time to resolve: resolved minus detected.
    - MTBF, mean time between failures: from the start of one incident to the start of the next, that is up time plus
      down time, the renewal interval of a repairable system (MTBF = MTTF + MTTR; A. Birolini, *Reliability
      Engineering*). An interval belongs to the window in which it ends, so `previous_start`, the start of the last
      incident before the window, begins the first interval; without it at least two incidents are needed.
    """
    starts = sorted(record.start for record in records)
    if previous_start is not None and starts:
        starts.insert(0, min(previous_start, starts[0]))
    counts = Counter(record.severity for record in records)
    to_acknowledge = [record.acknowledged - record.start for record in records if record.acknowledged is not None]
    to_resolve = _to_resolve(records)
    return Statistics(
        since=since,
        until=until,
        count=len(records),
        by_severity={severity: counts[severity] for severity in Severity},
        unacknowledged=len(records) - len(to_acknowledge),
        unresolved=len(records) - len(to_resolve),
        mtta=Measurement(Distribution.of(to_acknowledge), targets.mtta),
        mttr=Measurement(Distribution.of(to_resolve), targets.mttr),
        mtbf=Measurement(
            Distribution.of(later - start for start, later in pairwise(starts)), targets.mtbf, higher_is_better=True
        ),
        months=_months(records),
    )


def _to_resolve(records: Iterable[Record]) -> list[float]:
    return [record.resolved - record.start for record in records if record.resolved is not None]


def _months(records: Iterable[Record]) -> list[Month]:
    """Return every month from the first incident's to the last one's, including months without incidents."""
    by_month: defaultdict[tuple[int, int], list[Record]] = defaultdict(list)
    for record in records:
        start = datetime.fromtimestamp(record.start, UTC)
        by_month[start.year, start.month].append(record)
    months: list[Month] = []
    for year, month in sorted(by_month):
        first = datetime(year, month, 1, tzinfo=UTC)
        while months and (quiet := _next_month(months[-1].first)) < first:
            months.append(Month(quiet, 0, None))
        spread = Distribution.of(_to_resolve(by_month[year, month]))
        months.append(Month(first, len(by_month[year, month]), spread.mean if spread else None))
    return months


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step of an ended run that changed (or tried to change) the running version, and the state of its run."""

    run: str
    run_state: RunState
    uses: str
    state: StepState
    parameters: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """A share in percent (None: of nothing), and its limit."""

    percent: float | None
    target: float | None
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """True if the share is on the right side of its limit; None without a share or a limit."""
        if self.percent is None or self.target is None:
            return None
        return self.percent > self.target if self.higher_is_better else self.percent < self.target
