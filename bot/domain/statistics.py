"""How fast incidents are taken up and ended, and how far apart they are, against the team's targets.

Everything is counted from milestones, which people and alerts set, never from when a row was last touched.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median, quantiles
from typing import NamedTuple

from bot.domain.incident import Severity
from bot.domain.run import RunState, StepState


class Record(NamedTuple):
    """What the figures need of one incident, in seconds since 1970: plain numbers, since there may be many thousands.

    `start` is when it was detected: when it began to hurt, as far as anybody knows. Drills are no records.
    """

    severity: Severity
    start: float
    acknowledged: float | None = None
    resolved: float | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How durations are spread: over how many, their mean, median and 90th percentile."""

    count: int
    mean: timedelta
    median: timedelta
    p90: timedelta

    @classmethod
    def of(cls, spans: Iterable[float]) -> Distribution | None:
        """Of durations in seconds; None when there are none: a figure of nothing is unknown, not zero.

        The percentile is interpolated linearly between neighbours, as PostgreSQL's `percentile_cont` does.
        """
        seconds = sorted(spans)
        if not seconds:
            return None
        p90 = quantiles(seconds, n=10, method="inclusive")[8] if len(seconds) > 1 else seconds[0]
        return cls(len(seconds), *(timedelta(seconds=value) for value in (fmean(seconds), median(seconds), p90)))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One of the three figures, with what the team wants its mean to be."""

    spread: Distribution | None
    target: timedelta | None
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the mean is on the right side of the target; None when one of the two is unknown."""
        if self.spread is None or self.target is None:
            return None
        return self.spread.mean > self.target if self.higher_is_better else self.spread.mean < self.target


@dataclass(frozen=True, slots=True)
class Targets:
    """What the team aims at: the first two below, the last above."""

    mtta: timedelta | None
    mttr: timedelta | None
    mtbf: timedelta | None


@dataclass(frozen=True, slots=True)
class Month:
    """The incidents that began in one month (UTC): how many, and the mean time to resolve them, if any was."""

    first: datetime
    count: int
    mttr: timedelta | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of the incidents that were declared from `since` (None: from the first one) to `until`.

    `unacknowledged` and `unresolved` have not reached that milestone, so the figure does not hold them.
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
    """The figures of `records`, in any order.

    - MTTA, mean time to acknowledge: acknowledged minus detected.
    - MTTR, mean time to resolve: resolved minus detected.
    - MTBF, mean time between failures: from the start of one incident to the start of the next, that is up time plus
      down time, the renewal interval of a repairable system (MTBF = MTTF + MTTR; A. Birolini, *Reliability
      Engineering*). An interval belongs to the window in which it ends, so `previous_start`, the start of the last
      incident before the window, begins the first one; without it two incidents are needed.
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
    """Every month from the first incident's to the last one's, the quiet ones too."""
    began: defaultdict[tuple[int, int], list[Record]] = defaultdict(list)
    for record in records:
        start = datetime.fromtimestamp(record.start, UTC)
        began[start.year, start.month].append(record)
    months: list[Month] = []
    for year, month in sorted(began):
        first = datetime(year, month, 1, tzinfo=UTC)
        while months and (quiet := _next_month(months[-1].first)) < first:
            months.append(Month(quiet, 0, None))
        spread = Distribution.of(_to_resolve(began[year, month]))
        months.append(Month(first, len(began[year, month]), spread.mean if spread else None))
    return months


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that changed the version that runs (or tried to), and what became of its run."""

    run: str
    run_state: RunState
    uses: str
    state: StepState


@dataclass(frozen=True, slots=True)
class Share:
    """A share in per cent (None: of nothing), and the limit that the team wants it to be above or below."""

    percent: float | None
    target: float
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """None when there is no share."""
        if self.percent is None:
            return None
        return self.percent > self.target if self.higher_is_better else self.percent < self.target


@dataclass(frozen=True, slots=True)
class Deployments:
    """`count` runs deployed; `success` and `rolled_back` are shares of them."""

    count: int
    success: Share
    rolled_back: Share


def compute_deployments(
    attempts: Iterable[Attempt],
    deploying: Collection[str],
    rolling_back: Collection[str],
    *,
    success: float,
    rollback: float,
) -> Deployments:
    """The figures of ended runs; a run counts once, however many steps it deployed in.

    It succeeded when it came to its end. A deployment is rolled back by the undo of its own run, or by a later run of
    an action of `rolling_back`; the share is what DORA calls the change fail rate, seen from what was done about it
    (N. Forsgren and others, *Accelerate*). `success` and `rollback` are the targets, in per cent.
    """
    attempts_seen = list(attempts)
    deployed = {attempt.run: attempt.run_state for attempt in attempts_seen if attempt.uses in deploying}
    undone = {
        attempt.run for attempt in attempts_seen if attempt.uses in deploying and attempt.state is StepState.UNDONE
    }
    rolled = {
        attempt.run for attempt in attempts_seen if attempt.uses in rolling_back and attempt.state is StepState.DONE
    }
    succeeded = sum(state is RunState.SUCCEEDED for state in deployed.values())
    return Deployments(
        len(deployed),
        Share(_percent(succeeded, len(deployed)), success, higher_is_better=True),
        Share(_percent(len(undone | rolled), len(deployed)), rollback),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
