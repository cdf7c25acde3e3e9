"""Alerts that look ahead: what will soon cross its threshold is told in the incident channel, and scored afterwards.

A prediction is saved together with the workflow that tells it, looks every few minutes whether it has come about, and
edits the message to its end. While one of a metric waits there is no other one. While an incident of the service is
open nothing is predicted: whoever works on it has the snapshots.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from bot.actions.boards import board
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
    cries_wolf,
    forecast,
    last_step,
    score,
)
from bot.domain.snapshot import MetricDefinition, Point
from bot.integrations.prometheus import Prometheus
from bot.messages.forecast import prediction_message
from bot.slack_messages import Place, upsert_message
from bot.workflows.engine.durable import durable_step, sleep_until

log = logging.getLogger(__name__)

TELL_TIMEOUT = timedelta(hours=1)  # later it is no forecast
END_TIMEOUT = timedelta(days=7)
LEAST_PAUSE_SECONDS = 1.0  # of real time, however fast the clock is


async def forecast_loop(deps: Deps, may_run: asyncio.Event) -> None:
    """Look ahead every STEP while this process runs workflows, first after one STEP."""
    while True:
        await asyncio.sleep(max(STEP.total_seconds() / deps.clock.speed, LEAST_PAUSE_SECONDS))
        await may_run.wait()
        try:
            await look_ahead(deps)
        except Unavailable as problem:
            log.warning("looking ahead is put off: %s", problem)
        except Exception:
            log.exception("looking ahead failed; next attempt in %s", STEP)


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
                    told=not cries_wolf([one.outcome for one in recent]),
                )
                await deps.store.forecasts.keep_once(prediction)
    return found


async def watch_prediction(deps: Deps, id: str) -> None:
    """Tell a prediction, look every STEP whether it has come about, and say how it ended."""
    await durable_step("tell", partial(_tell, deps, id), TELL_TIMEOUT)
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


async def _tell(deps: Deps, id: str) -> None:
    prediction = await deps.store.forecasts.get(id)
    if not prediction.told or not _is_known(deps, prediction):
        return
    recent = await deps.store.forecasts.recent(prediction.service, prediction.query)
    silenced = prediction.outcome is Outcome.DID_NOT and cries_wolf([one.outcome for one in recent])
    metric, _ = board(deps.team, prediction.query, prediction.service).queries[0]
    message = prediction_message(prediction, metric, deps.words, silenced=silenced)
    await upsert_message(deps, f"forecast/{id}"[:160], Place(deps.incident_channel), message)


async def _made_at(deps: Deps, id: str) -> str:
    return (await deps.store.forecasts.get(id)).at.isoformat()


async def _look(deps: Deps, id: str, until: datetime, ends: bool) -> bool:
    """Score the prediction by what was measured until then. Returns whether it has ended."""
    prediction = await deps.store.forecasts.get(id)
    points: list[Point] = []
    if deps.prometheus and _is_known(deps, prediction):
        ((metric, promql),) = board(deps.team, prediction.query, prediction.service).queries
        points = await _points(deps.prometheus, promql, prediction.at + STEP, until)
    else:  # nobody asks for it any more
        metric = MetricDefinition(prediction.query, {})
    outcome, came_at = score(metric, prediction.at, points)
    if outcome is not Outcome.CAME and not ends:
        return False
    await deps.store.forecasts.end(id, outcome, came_at)
    return True


def _is_known(deps: Deps, prediction: Prediction) -> bool:
    """Return whether the team's file still has the metric."""
    return prediction.query in deps.team.queries and prediction.service in deps.team.services


async def _points(prometheus: Prometheus, promql: str, start: datetime, end: datetime) -> list[Point]:
    """Return the points of a metric; none if it has several series: which of them would be meant?"""
    lines = await prometheus.range(promql, start, end, STEP.total_seconds())
    return list(lines[0].points) if len(lines) == 1 else []
