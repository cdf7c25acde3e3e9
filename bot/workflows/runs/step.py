"""What a step of a run works with: the names its expressions see, its context, its typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bot.actions.context import Context
from bot.actions.registry import Action
from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.domain.incident import Incident
from bot.domain.run import Run, StepRun
from bot.domain.runbook import Step
from bot.workflows.runs.interrupts import raise_if_frozen
from bot.workflows.runs.presentation import schedule_run_message

DEFAULT_STEP_TIMEOUT = timedelta(minutes=10)
WAIT_PARAMETERS = ("duration", "within", "wait", "ends")  # parameters by which actions are told how long to wait
TARGET_POLL_SECONDS = 1.0
WAITS_FOR = "waits_for"  # the fact of a step that says which run holds its target


async def expression_names(deps: Deps, run: Run, step: Step) -> dict[str, Any]:
    """What the expressions of a step may look at. The incident is read only if it is written of."""
    looked_at = run.incident_id if "incident" in repr((step.if_, step.with_)) else None
    incident = incident_variables(await deps.store.incidents.get(looked_at) if looked_at else None)
    steps = {
        step_run.id: {**_step_facts(run, step_run), "state": step_run.state.value, "verified": step_run.verified}
        for step_run in run.steps
    }
    return {
        "inputs": dict(run.inputs),
        "incident": incident,
        "steps": steps,
        "run": {"id": run.id, "environment": run.environment, "by": run.by.id},
    }


def incident_variables(incident: Incident | None) -> dict[str, Any]:
    """What expressions may know of the incident; all of it None without one."""
    if incident is None:
        return dict.fromkeys(("id", "service", "severity", "title"))
    return {
        "id": incident.id,
        "service": incident.service,
        "severity": incident.severity.value,
        "title": incident.title,
    }


def step_environment(deps: Deps, run: Run, step_id: str, parameters: Mapping[str, Any] | None) -> str:
    """Where a step acts, and whose rules hold for it: where its namespace lies, where its runbook says, or the run's.

    The namespace comes first: nobody gets round the rules of production by a run in staging.
    """
    given = (parameters or {}).get("namespace")
    known_places = [service.namespaces for service in deps.team.services.values()]
    lies_in = {place for places in known_places for place, name in places.items() if given and name == given}
    declared = next((s.get("environment") for s in run.definition["steps"] if s["id"] == step_id), None)
    requested = str(declared or run.environment)
    return requested if not lies_in or requested in lies_in else min(lies_in)


def action_context(deps: Deps, run: Run, step_run: StepRun, *, undoing: bool = False) -> Context:
    """What the action of a step is given. Its key is the same however often it is tried."""
    return Context(
        deps,
        key=f"{run.id}/{step_run.id}/undo" if undoing else f"{run.id}/{step_run.id}",
        environment=step_environment(deps, run, step_run.id, step_run.parameters),
        incident_id=run.incident_id,
        by=run.by,
        planned={} if undoing else step_run.rehearsed or {},
        began=step_run.began_at if step_run.began_at and not undoing else deps.clock.now(),
    )


def parse_parameters(action: Action, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stored parameters (plain JSON) in the types of the action's function."""
    model = action.parameters.model_validate(dict(parameters))
    return {name: getattr(model, name) for name in action.parameters.model_fields}


def step_timeout(step: Step, given: Mapping[str, Any], now: datetime) -> timedelta:
    """How long the action of a step may take with these typed parameters, when it begins now.

    What the runbook says; without that ten minutes, and besides as long as the action is told to wait.
    """
    if step.timeout:
        return step.timeout
    generator = (given.get(name) for name in WAIT_PARAMETERS)
    own = (
        value - now if isinstance(value, datetime) else value
        for value in generator
        if isinstance(value, timedelta | datetime)
    )
    return DEFAULT_STEP_TIMEOUT + max((timedelta(), *own))


def _step_facts(run: Run, step_run: StepRun) -> Mapping[str, Any]:
    """The facts that a step gave; those that it foresees in a dry run."""
    return step_run.result or (step_run.rehearsed if run.dry_run else None) or {}


async def acquire_target(deps: Deps, run: Run, step_id: str, target: str) -> None:
    """Take what the step changes, or say in the run's message who has it.

    Raises Unavailable while another run has it or it still cools down, and WrongState when everything is frozen.
    """
    await raise_if_frozen(deps)
    holder = await deps.store.locks.acquire(target, run.id, deps.clock.now())
    if holder is None:
        return
    facts = {
        "target": target.rpartition("/")[2],
        "run": holder.run_id,
        "by": (await deps.store.runs.get(holder.run_id)).by.id,
        "until": holder.until.timestamp() if holder.until else None,
    }
    before = (await deps.store.runs.refresh(run)).step(step_id).facts
    if before.get(WAITS_FOR) != facts:
        await deps.store.runs.set_step(run.id, step_id, facts={**before, WAITS_FOR: facts})
        schedule_run_message(deps, run.id)
    raise Unavailable("target_busy", retry_after=TARGET_POLL_SECONDS, **facts)
