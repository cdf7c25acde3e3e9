"""Alerts that look ahead: what will soon cross its threshold is told in the incident channel, and scored afterwards.

A prediction is saved together with the workflow that tells it, looks every few minutes whether it has come about, and
edits the message to its end. While one of a metric waits there is no other one. While an incident of the service is
open nothing is predicted: whoever works on it has the snapshots. A metric that somebody has snoozed is predicted and
scored, but not told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from bot.actions.boards import board, query_board
from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.domain.forecast import (
    HISTORY,
    HORIZON,
    LATE,
    STEP,
    Forecast,
    NotEnough,
    Outcome,
    Prediction,
    Score,
    cries_wolf,
    forecast,
    is_snoozed,
    last_step,
    score,
    scores,
)
from bot.domain.snapshot import MetricDefinition, Point, Snapshot
from bot.integrations.prometheus import Prometheus
from bot.messages.charts import render
from bot.messages.forecast import chart_title, prediction_message
from bot.messages.translations import Translations
from bot.slack_messages import Place, upload_once, upsert_message
from bot.team import TeamFile
from bot.workflows.engine.durable import durable_step, sleep_until

log = logging.getLogger(__name__)

TELL_TIMEOUT = timedelta(hours=1)  # later it is no forecast
END_TIMEOUT = timedelta(days=7)
CHART_TIMEOUT = STEP  # what it shows is not worth looking late whether it has come about
CHART_WINDOW = timedelta(hours=3)
LONGEST_WINDOW = timedelta(hours=24)  # of a snapshot: on more than that an hour ahead cannot be seen
LEAST_PAUSE_SECONDS = 1.0  # of real time, however fast the clock is
REST = 3  # times as long as a look takes nothing is looked at, where the clock is faster than that


async def forecast_loop(deps: Deps, may_run: asyncio.Event) -> None:
    """Look ahead every STEP while this process runs workflows, first after one STEP.

    On a clock so fast that a look takes a good part of a STEP, rarer: at most every STEP of real time.
    """
    took = 0.0
    while True:
        rest = min(REST * took, STEP.total_seconds())
        await asyncio.sleep(max(STEP.total_seconds() / deps.clock.speed, LEAST_PAUSE_SECONDS, rest))
        await may_run.wait()
        began = time.monotonic()
        try:
            await look_ahead(deps)
        except Unavailable as problem:
            log.warning("looking ahead is put off: %s", problem)
        except Exception:
            log.exception("looking ahead failed; next attempt in %s", STEP)
        took = time.monotonic() - began


async def look_ahead(deps: Deps) -> dict[str, Forecast | NotEnough]:
    """Forecast the metrics of the team's file, and keep what is worth telling. Returns `service/query` → forecast.

    A metric is left out while a prediction of it waits, and a service while an incident of it is open. Raises
    Unavailable without the database.
    """
    if deps.prometheus is None or not deps.team.forecasts.services:
        return {}
    in_trouble = {incident.service for incident in await deps.store.incidents.list_open() if not incident.drill}
    at, found = last_step(deps.clock.now()), {}
    for service in deps.team.forecasts.services:
        if service in in_trouble or deps.team.services[service].board is None:
            continue
        for metric, promql in board(deps.team, service=service).queries:
            recent = await deps.store.forecasts.recent(service, metric.query)
            if metric.threshold is None or any(one.outcome is Outcome.WAITING for one in recent):
                continue
            try:
                points = await _points(deps.prometheus, promql, at - HISTORY, at)
            except BotError as problem:
                log.warning("no forecast of %s of %s: %s", metric.query, service, problem)
                continue
            said = await asyncio.to_thread(forecast, metric, points, at)
            found[f"{service}/{metric.query}"] = said
            if isinstance(said, Forecast) and said.is_told and said.crosses_at:
                prediction = Prediction(
                    id=f"{service}/{metric.query}/{at:%Y%m%dT%H%MZ}",
                    service=service,
                    query=metric.query,
                    at=at,
                    probability=said.probability,
                    crosses_at=said.crosses_at,
                    earliest=said.earliest or said.crosses_at,
                    told=not (cries_wolf([one.outcome for one in recent]) or is_snoozed(recent, at)),
                )
                await deps.store.forecasts.keep_once(prediction)
    return found


async def watch_prediction(deps: Deps, id: str) -> None:
    """Tell a prediction, look every STEP whether it has come about, and say how it ended."""
    await tell_prediction(deps, id)
    await durable_step("chart", partial(_chart, deps, id), CHART_TIMEOUT)
    made = await durable_step("made", partial(_made_at, deps, id))
    if not made.ok:
        return
    at = datetime.fromisoformat(made.value)
    for number in range(1, (HORIZON + LATE) // STEP + 1):
        await sleep_until(deps, at + number * STEP)
        ends = at + number * STEP >= at + HORIZON + LATE
        looked = await durable_step("look", partial(_look, deps, id, at + number * STEP, ends), None if ends else STEP)
        if looked.ok and looked.value:
            break
    await durable_step("end", partial(_tell, deps, id), END_TIMEOUT)


async def tell_prediction(deps: Deps, id: str) -> None:
    """Tell a prediction, or edit its message to what is so now."""
    await durable_step("tell", partial(_tell, deps, id), TELL_TIMEOUT)


async def with_forecasts(deps: Deps, snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of now with the forecasts of its metrics, where its service is looked ahead at.

    Metrics without a forecast are as they were; a query that fails is a forecast that there is none of.
    """
    service, at = snapshot.service, last_step(snapshot.at)
    is_now = abs(deps.clock.now() - snapshot.at) < STEP and snapshot.window <= LONGEST_WINDOW
    if deps.prometheus is None or service not in deps.team.forecasts.services or not is_now:
        return snapshot
    prometheus = deps.prometheus
    measured = {
        metric.query for metric in snapshot.figures if metric.value is not None and metric.threshold is not None
    }
    asked = [
        (metric, promql)
        for metric, promql in board(deps.team, snapshot.board, service).queries
        if metric.query in measured & deps.team.queries.keys()
    ]

    async def look(metric: MetricDefinition, promql: str) -> Forecast | NotEnough:
        try:
            points = await _points(prometheus, promql, at - HISTORY, at)
        except BotError as problem:
            log.warning("no forecast of %s of %s: %s", metric.query, service, problem)
            return NotEnough.NO_DATA
        return await asyncio.to_thread(forecast, metric, points, at)

    said = await asyncio.gather(*(look(metric, promql) for metric, promql in asked))
    ahead = {one.metric.query: one.expected for one in said if isinstance(one, Forecast)}
    return replace(snapshot, ahead=ahead)


async def scores_since(deps: Deps, since: datetime, until: datetime | None = None) -> list[Score]:
    """Return how often what was foreseen came true, of each metric, worst first."""
    return scores(await deps.store.forecasts.since(since, until))


def metric_titles(team: TeamFile, words: Translations) -> dict[str, str]:
    """Return the name of each query in a language."""
    return {name: words.pick(query.title) or name for name, query in team.queries.items()}


async def _tell(deps: Deps, id: str) -> None:
    key = _key(id)
    async with deps.message_lock(key):
        prediction = await deps.store.forecasts.get(id)
        if not prediction.told or not _is_known(deps, prediction):
            return
        recent = await deps.store.forecasts.recent(prediction.service, prediction.query)
        silenced = prediction.outcome is Outcome.DID_NOT and cries_wolf([one.outcome for one in recent])
        metric, _ = board(deps.team, prediction.query, prediction.service).queries[0]
        runbook = deps.team.runbook_for(prediction.query, prediction.service)
        message = prediction_message(prediction, metric, deps.words, runbook=runbook, silenced=silenced)
        await upsert_message(deps, key, Place(deps.incident_channel), message)


async def _chart(deps: Deps, id: str) -> None:
    """Draw what was foreseen into the thread of its message."""
    sent = await deps.store.slack_messages.get(_key(id))
    prediction = await deps.store.forecasts.get(id)
    if deps.prometheus is None or sent is None or sent.ts is None or not _is_known(deps, prediction):
        return
    one = board(deps.team, prediction.query, prediction.service)
    taken = await query_board(deps.prometheus, one, prediction.at, start=prediction.at - CHART_WINDOW)
    metric, promql = one.queries[0]
    points = await _points(deps.prometheus, promql, prediction.at - HISTORY, prediction.at)
    said = await asyncio.to_thread(forecast, metric, points, prediction.at)
    if not isinstance(said, Forecast) or not taken.figures:
        return
    words = deps.words
    (picture,) = await render(replace(taken, ahead={metric.query: said.expected}), taken.figures, [], words)
    title = chart_title(prediction, metric, words)
    name = f"{id.replace('/', '-')}.png"
    place = Place(sent.channel, sent.ts)
    await upload_once(deps, f"{_key(id)[:150]}/chart", place, [(name, title, picture)], title)


def _key(id: str) -> str:
    return f"forecast/{id}"[:150]


async def _made_at(deps: Deps, id: str) -> str:
    return (await deps.store.forecasts.get(id)).at.isoformat()


async def _look(deps: Deps, id: str, until: datetime, ends: bool) -> bool:
    """Score the prediction by what was measured until then. Returns whether it has ended."""
    prediction = await deps.store.forecasts.get(id)
    if prediction.outcome is not Outcome.WAITING:
        return True
    points: list[Point] = []
    if deps.prometheus and _is_known(deps, prediction):
        ((metric, promql),) = board(deps.team, prediction.query, prediction.service).queries
        points = await _points(deps.prometheus, promql, prediction.at + STEP, until)
    else:  # nobody asks for it any more
        metric = MetricDefinition(prediction.query, {})
    outcome, came_at = score(metric, prediction.at, points)
    if outcome is not Outcome.CAME and not ends:
        return False
    if outcome is Outcome.DID_NOT and await _was_changed(deps, prediction):
        outcome = Outcome.AVERTED
    await deps.store.forecasts.end(id, outcome, came_at)
    return True


async def _was_changed(deps: Deps, prediction: Prediction) -> bool:
    """Return whether a run has changed something of the service since it was foreseen."""
    return any(
        step.may_have_changed
        for run in await deps.store.runs.recent()
        if not run.dry_run
        for step in run.steps
        if (step.began_at or run.started_at) > prediction.at
        and (run.id == prediction.run or prediction.service in (step.parameters or {}).values())
    )


def _is_known(deps: Deps, prediction: Prediction) -> bool:
    """Return whether the team's file still has the metric."""
    return prediction.query in deps.team.queries and prediction.service in deps.team.services


async def _points(prometheus: Prometheus, promql: str, start: datetime, end: datetime) -> list[Point]:
    """Return the points of a metric; none if it has several series: which of them would be meant?"""
    lines = await prometheus.range(promql, start, end, STEP.total_seconds())
    return list(lines[0].points) if len(lines) == 1 else []
