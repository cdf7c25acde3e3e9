"""Do what a proposed runbook begins with, as long as it only reads, and show in the card's thread what is seen.

Everything is done as in a dry run, so that nothing can change and nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.incident import Incident
from bot.domain.people import BOT
from bot.domain.run import Run, StepRun, StepState, run_id
from bot.domain.runbook import Runbook, Step
from bot.integrations.effects import dry_run
from bot.messages.results import looked
from bot.runbooks import Expressions
from bot.slack_messages import upsert_message
from bot.team import PRODUCTION
from bot.workflows.engine.durable import durable_step
from bot.workflows.incidents.messages import thread_destination
from bot.workflows.runs.start import read_inputs
from bot.workflows.runs.step import action_context, incident_variables, parse_parameters

DIAGNOSTICS = "diagnostics"  # of a proposed runbook: the runbook of its first steps that only read, as JSON
EACH_SECONDS = 20.0
LOOK_TIMEOUT = timedelta(minutes=1)
SHOW_TIMEOUT = timedelta(minutes=10)  # later nobody needs it


async def run_diagnostics(deps: Deps, incident_id: str, runbooks: Sequence[Mapping[str, Any]]) -> None:
    """Do the diagnostics of the first of the proposed runbooks, if it has any."""
    raw = next((runbook.get(DIAGNOSTICS) for runbook in runbooks[:1]), None)
    if raw is None or not deps.team.causes.automatic:
        return
    runbook = Runbook.model_validate(raw)
    seen = await durable_step("look", partial(_look, deps, incident_id, runbook), LOOK_TIMEOUT)
    if seen.ok and seen.value:
        await durable_step("show", partial(_show, deps, incident_id, runbook, seen.value), SHOW_TIMEOUT)


async def _look(deps: Deps, incident_id: str, runbook: Runbook) -> dict[str, Any]:
    """Return the results of the steps that could be done, as JSON by their ids."""
    incident = await deps.store.incidents.get(incident_id)
    results = await asyncio.gather(*(_result(deps, incident, runbook, step) for step in runbook.steps))
    return {step.id: result for step, result in zip(runbook.steps, results, strict=True) if result is not None}


async def _result(deps: Deps, incident: Incident, runbook: Runbook, step: Step) -> dict[str, Any] | None:
    """Return a step's parameters and result; None if it cannot be done, or not in time."""
    action = ACTIONS.get(step.uses)
    try:
        inputs = read_inputs(deps, runbook, {}, incident)
        names = {"inputs": inputs, "incident": incident_variables(incident)}
        parameters = action.read(Expressions().render(step.with_, names))
        run = Run(
            id=run_id(f"{incident.id}/{DIAGNOSTICS}"),
            runbook=runbook.name,
            definition=runbook.to_json(),
            inputs=inputs,
            environment=runbook.environment or PRODUCTION,
            by=BOT,
            started_at=deps.clock.now(),
            incident_id=incident.id,
            dry_run=True,
        )
        context = action_context(deps, run, StepRun(step.id, step.uses, parameters=parameters))
        with dry_run():
            async with asyncio.timeout(EACH_SECONDS):
                facts: Any = await action.execute(context, **parse_parameters(action, parameters))
    except (BotError, TimeoutError):
        return None
    return {"parameters": parameters, "result": deps.redaction.of(action.result.dump_python(facts, mode="json"))}


async def _show(deps: Deps, incident_id: str, runbook: Runbook, seen: Mapping[str, Any]) -> None:
    steps = [
        (
            deps.words.pick(step.title) if step.title else step.uses,
            StepRun(step.id, step.uses, StepState.DONE, **seen[step.id]),
        )
        for step in runbook.steps
        if step.id in seen
    ]
    incident = await deps.store.incidents.get(incident_id)
    place = await thread_destination(deps, incident)
    message = looked(deps.words.pick(runbook.title), steps, deps.words)
    await upsert_message(deps, f"{incident_id}/{DIAGNOSTICS}", place, message)
