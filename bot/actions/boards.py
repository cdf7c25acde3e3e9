"""Taking a snapshot: which figures are meant, and asking Prometheus for all of them at once."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from bot.domain.errors import BadInput, BotError, NotFound, Unavailable
from bot.domain.nearest import nearest
from bot.domain.snapshot import Direction, MetricDefinition, Missing, Series, Snapshot, build_result
from bot.domain.translated import Translated
from bot.integrations.base import retry
from bot.integrations.prometheus import Line, Prometheus, fill
from bot.team import PRODUCTION, Query, TeamFile

WINDOW = timedelta(hours=1)
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=60)
RETRY_UNREACHABLE_FOR = timedelta(seconds=1)  # how long a connection that fails at once is tried again
MAX_POINTS = 240
MAX_SERIES = 50  # of one query, the worst first
_STEPS = (5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600)
_NAME = re.compile(r"[\w:.-]+")


@dataclass(frozen=True, slots=True)
class Board:
    """What a snapshot is to be of: `asks` is the PromQL for each measure.

    `name` is a board's or a query's name, or PromQL that the team's file does not hold (`known` is False then).
    """

    name: str
    service: str | None
    asks: Sequence[tuple[MetricDefinition, str]]
    known: bool = True
    title: Mapping[str, str] = field(default_factory=dict)


def board(team: TeamFile, what: str | None = None, service: str | None = None) -> Board:
    """The board, query or service called `what`; without it the service's own board, or else PromQL.

    The service is the given one, or the team's default. Raises BadInput for a service that is not in the team's
    file, and for one without a board when nothing else is named.
    """
    what = what.strip() if what else None
    if what in team.services and what not in team.boards and what not in team.queries:
        what, service = None, what
    service = service or team.default_service
    if service is not None and service not in team.services:
        raise BadInput(
            "unknown_service", service=service, nearest=nearest(service, team.services), known=sorted(team.services)
        )
    name = what or (team.services[service].board if service else None)
    if name is None:
        raise BadInput("no_board", service=service, boards=sorted(team.boards))
    if name in team.boards:
        configured = team.boards[name]
        asks = [_query_one(query, team.queries[query], team, service) for query in configured.queries]
        return Board(name, service, asks, title=_title(configured.title))
    if name in team.queries:
        return Board(
            name, service, [_query_one(name, team.queries[name], team, service)], title=_title(team.queries[name].title)
        )
    promql = _filled(name, team, service)
    return Board(name, service if promql != name else None, [(MetricDefinition(name, {}), promql)], known=False)


async def validate_board(prometheus: Prometheus, team: TeamFile, wanted: Board, at: datetime) -> None:
    """Nothing for a board or query that the team's file holds. Of anything else Prometheus is the judge.

    Raises Refused with its words for wrong PromQL, and NotFound with the nearest name for a word that names nothing.
    """
    if wanted.known:
        return
    ((_, promql),) = wanted.asks
    is_word = _NAME.fullmatch(wanted.name) is not None
    try:
        samples = await prometheus.query(promql, at)
    except BotError as problem:
        if not is_word or isinstance(problem, Unavailable):
            raise
        samples = []
    if is_word and not samples:
        names = [*team.boards, *team.queries, *team.services]
        raise NotFound(
            "no_such_query",
            name=wanted.name,
            nearest=nearest(wanted.name, names),
            boards=sorted(team.boards),
            queries=sorted(team.queries),
        )


async def query_board(
    prometheus: Prometheus,
    wanted: Board,
    at: datetime,
    *,
    start: datetime | None = None,
    calm_until: datetime | None = None,
) -> Snapshot:
    """The figures at `at` and their lines from `start` (an hour before, when not given), all asked for at once.

    `calm_until` is where the normal ends: when the incident began. What could not be had is in `missing`; never raises.
    """
    at = at.replace(microsecond=0)
    span = min(max(at - (start or at - WINDOW), SHORTEST), LONGEST)
    step = next((step for step in _STEPS if span.total_seconds() / step <= MAX_POINTS), _STEPS[-1])
    window = timedelta(seconds=math.ceil(span.total_seconds() / step) * step)
    calm_until = min(calm_until or at, at)

    async def ask(measure: MetricDefinition, promql: str) -> list[Series] | Missing:
        try:
            lines = await retry(partial(prometheus.range, promql, at - window, at, step), RETRY_UNREACHABLE_FOR)
        except BotError as problem:
            return Missing(measure, problem.key, dict(problem.facts), isinstance(problem, Unavailable))
        return _series(measure, lines, step)

    answers = await asyncio.gather(*(ask(measure, promql) for measure, promql in wanted.asks))
    figures, series, missing = [], [], []
    for (measure, _), answer in zip(wanted.asks, answers, strict=True):
        if isinstance(answer, Missing):
            missing.append(answer)
        else:
            figures.append(build_result(measure, answer, at, calm_until))
            series += answer[:MAX_SERIES]
    return Snapshot(wanted.name, wanted.service, at, window, calm_until, tuple(figures), tuple(series), tuple(missing))


def _query_one(name: str, query: Query, team: TeamFile, service: str | None) -> tuple[MetricDefinition, str]:
    measure = MetricDefinition(name, _title(query.title), query.unit, query.threshold, Direction(query.direction))
    return measure, _filled(query.promql, team, service)


def _filled(promql: str, team: TeamFile, service: str | None) -> str:
    """`$service` and `$namespace` filled in, from the team's file alone."""
    if service is None:
        if "$service" in promql or "$namespace" in promql:
            raise BadInput("service_needed", services=sorted(team.services))
        return promql
    namespaces = team.services[service].namespaces
    namespace = namespaces.get(PRODUCTION) or next(iter(namespaces.values()), "")
    return fill(promql, service=service, namespace=namespace)


def _title(titles: Translated) -> dict[str, str]:
    return {str(locale): text for locale, text in titles.items()}


def _series(measure: MetricDefinition, lines: Sequence[Line], step: float) -> list[Series]:
    """The worst last value first. What tells the series apart is their label."""
    telling = [name for name in sorted({name for line in lines for name in line.labels}) if _differs(name, lines)]
    results = [Series(measure.query, step, line.points, _label(line, telling)) for line in lines]
    sign = 1 if measure.direction is Direction.BELOW else -1
    return sorted(results, key=lambda series: sign * series.points[-1][1] if series.points else math.inf)


def _differs(name: str, lines: Sequence[Line]) -> bool:
    return len({line.labels.get(name) for line in lines}) > 1


def _label(line: Line, telling: Sequence[str]) -> str:
    if len(telling) == 1:
        return line.labels.get(telling[0], "")
    return ", ".join(f"{name}={line.labels[name]}" for name in telling if name in line.labels)
