"""Take snapshots: resolve a board to its queries, and query Prometheus for all of them concurrently."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from bot.domain.errors import BadInput, BotError, NotFound, Unavailable
from bot.domain.nearest import known_service, nearest
from bot.domain.snapshot import Direction, MetricDefinition, Missing, Series, Snapshot, build_result
from bot.domain.translated import Translated
from bot.integrations.base import retry
from bot.integrations.prometheus import Line, Prometheus, Sample, fill
from bot.team import PRODUCTION, Query, TeamFile

WINDOW = timedelta(hours=1)
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=60)
RETRY_UNREACHABLE_FOR = timedelta(seconds=1)  # retry a connection that fails immediately
MAX_POINTS = 240
MAX_SERIES = 50  # per query, the worst ones
WARNINGS_LIMIT = 200  # characters
_STEPS = (5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600)
_WORDS = re.compile(r"[\w:. -]+")


@dataclass(frozen=True, slots=True)
class Board:
    """What to snapshot: a PromQL query for each metric.

    `name` is the name of a board or query, or PromQL that is not in the team file (`in_team_file` is False then).
    """

    name: str
    service: str | None
    queries: Sequence[tuple[MetricDefinition, str]]
    in_team_file: bool = True
    title: Mapping[str, str] = field(default_factory=dict)


def board(team: TeamFile, what: str | None = None, service: str | None = None) -> Board:
    """Resolve `what`, a board, a query, a service or PromQL; without it, the board of the service.

    `service` defaults to the team's default service. Raises BadInput for an unknown service, and for a service without
    a board if `what` is missing.
    """
    what = what.strip() if what else None
    if what in team.services and what not in team.boards and what not in team.queries:
        what, service = None, what
    service = service or team.default_service
    if service is not None:
        service = known_service(service, team.services)
    name = what or (team.services[service].board if service else None)
    if name is None:
        raise BadInput("no_board", service=service, boards=sorted(team.boards))
    if name in team.boards:
        configured = team.boards[name]
        queries = [_metric_query(query, team.queries[query], team, service) for query in configured.queries]
        return Board(name, service, queries, title=_title(configured.title))
    if name in team.queries:
        return Board(
            name,
            service,
            [_metric_query(name, team.queries[name], team, service)],
            title=_title(team.queries[name].title),
        )
    promql = fill_names(name, team, service)
    return Board(name, service if promql != name else None, [(MetricDefinition(name, {}), promql)], in_team_file=False)


def board_of_pods(team: TeamFile, board_spec: Board) -> list[tuple[MetricDefinition, str]]:
    """Return what a board can judge pod by pod: each metric with a threshold, and its PromQL by pod."""
    return [
        (metric, fill_names(promql, team, board_spec.service))
        for metric, _ in board_spec.queries
        if metric.threshold is not None and (promql := team.queries[metric.query].by_pod)
    ]


async def validate_board(prometheus: Prometheus, team: TeamFile, board_spec: Board, at: datetime) -> None:
    """Check that the board can be queried. Boards and queries of the team file need no check.

    Otherwise Prometheus decides: raises Refused with its message for invalid PromQL, and NotFound with the nearest name
    for plain words that match nothing.
    """
    if board_spec.in_team_file:
        return
    ((_, promql),) = board_spec.queries
    is_word = _WORDS.fullmatch(board_spec.name) is not None
    try:
        samples: Sequence[Sample] = await prometheus.query(promql, at)
    except BotError as problem:
        if not is_word or isinstance(problem, Unavailable):
            raise
        samples = []
    if is_word and not samples:
        names = [*team.boards, *team.queries, *team.services]
        raise NotFound(
            "no_such_query",
            name=board_spec.name,
            nearest=nearest(board_spec.name, names),
            boards=sorted(team.boards),
            queries=sorted(team.queries),
        )


async def query_board(
    prometheus: Prometheus,
    board_spec: Board,
    at: datetime,
    *,
    start: datetime | None = None,
    calm_until: datetime | None = None,
    calm_from: datetime | None = None,
) -> Snapshot:
    """Return the metrics at `at` and their series from `start` (default: an hour before).

    `calm_until` ends the normal period: when the incident began; `calm_from` begins it, if an outage went before.
    Queries that fail are listed in `missing`; never raises.
    """
    at = at.replace(microsecond=0)
    span = min(max(at - (start or at - WINDOW), SHORTEST), LONGEST)
    step = next((step for step in _STEPS if span.total_seconds() / step <= MAX_POINTS), _STEPS[-1])
    window = timedelta(seconds=math.ceil(span.total_seconds() / step) * step)
    calm_until = min(calm_until or at, at)

    async def run_query(definition: MetricDefinition, promql: str) -> tuple[list[Series], str] | Missing:
        try:
            lines = await retry(partial(prometheus.range, promql, at - window, at, step), RETRY_UNREACHABLE_FOR)
        except BotError as problem:
            return Missing(definition, problem.key, dict(problem.facts), isinstance(problem, Unavailable))
        return _series(definition, lines, step, at), "; ".join(lines.warnings)[:WARNINGS_LIMIT]

    results = await asyncio.gather(*(run_query(definition, promql) for definition, promql in board_spec.queries))
    metrics, series, missing = [], [], []
    for (definition, _), result in zip(board_spec.queries, results, strict=True):
        if isinstance(result, Missing):
            missing.append(result)
        else:
            lines, incomplete = result
            metrics.append(build_result(definition, lines, at, calm_until, incomplete, calm_from))
            series += lines[:MAX_SERIES]
    return Snapshot(
        board_spec.name, board_spec.service, at, window, calm_until, tuple(metrics), tuple(series), tuple(missing)
    )


def _metric_query(name: str, query: Query, team: TeamFile, service: str | None) -> tuple[MetricDefinition, str]:
    definition = MetricDefinition(name, _title(query.title), query.unit, query.threshold, Direction(query.direction))
    return definition, fill_names(query.promql, team, service)


def fill_names(promql: str, team: TeamFile, service: str | None) -> str:
    """Replace `$service` and `$namespace` with values of the team file."""
    if service is None:
        if "$service" in promql or "$namespace" in promql:
            raise BadInput("service_needed", services=sorted(team.services))
        return promql
    namespaces = team.services[service].namespaces
    namespace = namespaces.get(PRODUCTION) or next(iter(namespaces.values()), "")
    return fill(promql, service=service, namespace=namespace)


def _title(titles: Translated) -> dict[str, str]:
    return {str(locale): text for locale, text in titles.items()}


def _series(definition: MetricDefinition, lines: Sequence[Line], step: float, at: datetime) -> list[Series]:
    """Return the series, those with a value now first, the worst of them first, each with a distinguishing label."""
    distinguishing = [
        name for name in sorted({name for line in lines for name in line.labels}) if _is_distinguishing(name, lines)
    ]
    results = [Series(definition.query, step, line.points, _label(line, distinguishing)) for line in lines]
    sign = 1 if definition.direction is Direction.BELOW else -1

    def order(series: Series) -> tuple[bool, float]:
        return series.at(at) is None, sign * series.points[-1][1] if series.points else math.inf

    return sorted(results, key=order)


def _is_distinguishing(name: str, lines: Sequence[Line]) -> bool:
    return len({line.labels.get(name) for line in lines}) > 1


def _label(line: Line, distinguishing: Sequence[str]) -> str:
    if len(distinguishing) == 1:
        return line.labels.get(distinguishing[0], "")
    return ", ".join(f"{name}={line.labels[name]}" for name in distinguishing if name in line.labels)
