"""What a step of a run uses: variables of expressions, the action's context, typed parameters, its target lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.context import Context
from bot.actions.registry import Action
from bot.actions.targets import environments, governing_environments, working_environment
from bot.deps import Deps
from bot.domain.errors import Unavailable
from bot.domain.incident import Incident
from bot.domain.policy import ANYWHERE
from bot.domain.run import Run, StepRun
from bot.domain.runbook import Step
from bot.workflows.runs.interrupts import raise_if_frozen
from bot.workflows.runs.presentation import schedule_run_message

DEFAULT_STEP_TIMEOUT = timedelta(minutes=10)
WAIT_PARAMETERS = ("duration", "within", "wait", "ends", "follow")  # parameters that make an action wait
NAMES_OF_SERVICES = ("service", "deployment", "release")  # parameters that may name a service
TARGET_POLL_SECONDS = 1.0
WAITS_FOR = "waits_for"  # fact of a step: the run that holds its target
SEES = "sees"  # fact of a step: what its running action waits for


async def expression_names(deps: Deps, run: Run, step: Step) -> dict[str, Any]:
    """Return the variables of a step's expressions. The incident is loaded only if they mention it."""
    incident_id = run.incident_id if "incident" in repr((step.if_, step.with_)) else None
    incident = incident_variables(await deps.store.incidents.get(incident_id) if incident_id else None)
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
    """Return the incident's variables in expressions; all None without an incident."""
    if incident is None:
        return dict.fromkeys(("id", "service", "severity", "title"))
    return {
        "id": incident.id,
        "service": incident.service,
        "severity": incident.severity.value,
        "title": incident.title,
    }


def step_environment(deps: Deps, run: Run, step_id: str, parameters: Mapping[str, Any] | None) -> str:
    """Return the environment that a step works in: that of its namespace, else its own, else the run's."""
    return working_environment(deps.team, parameters or {}, _requested_environment(run, step_id))


def step_place(deps: Deps, run: Run, step_run: StepRun) -> str | None:
    """Return the environment in which a step's target lies, None if it lies in several or in none of them.

    What people read and approve says where the target is, not what was typed.
    """
    requested = _requested_environment(run, step_run.id)
    rules = environments(deps.team, ACTIONS.get(step_run.uses), step_run.parameters or {}, requested)
    place = next(iter(rules - {requested}), requested)
    return None if place == ANYWHERE else place


async def step_rules(deps: Deps, run: Run, step_id: str, parameters: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the environments whose rules hold for a step. Raises Unavailable if the cluster must be asked."""
    action = ACTIONS.get(run.step(step_id).uses)
    return await governing_environments(deps, action, parameters or {}, _requested_environment(run, step_id))


def _requested_environment(run: Run, step_id: str) -> str:
    declared = next((s.get("environment") for s in run.definition["steps"] if s["id"] == step_id), None)
    return str(declared or run.environment)


def action_context(deps: Deps, run: Run, step_run: StepRun, *, undoing: bool = False) -> Context:
    """Return the context of a step's action. Its key is the same for every attempt."""
    return Context(
        deps,
        key=f"{run.id}/{step_run.id}/undo" if undoing else f"{run.id}/{step_run.id}",
        environment=step_environment(deps, run, step_run.id, step_run.parameters),
        rules=environments(
            deps.team,
            ACTIONS.get(step_run.uses),
            step_run.parameters or {},
            _requested_environment(run, step_run.id),
        ),
        incident_id=run.incident_id,
        by=run.by,
        planned={} if undoing else step_run.rehearsed or {},
        began=step_run.began_at if step_run.began_at and not undoing else deps.clock.now(),
        report=partial(_report, deps, run.id, step_run.id),
    )


async def _report(deps: Deps, run_id: str, step_id: str, sees: Mapping[str, Any]) -> None:
    """Show in the run's message what a running action waits for."""
    before = (await deps.store.runs.get(run_id)).step(step_id).facts
    await deps.store.runs.set_step(run_id, step_id, facts={**before, SEES: dict(sees)})
    schedule_run_message(deps, run_id)


def parse_parameters(action: Action, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored parameters (plain JSON) as the types of the action's function."""
    model = action.parameters.model_validate(dict(parameters))
    return {name: getattr(model, name) for name in action.parameters.model_fields}


def step_timeout(step: Step, given: Mapping[str, Any], now: datetime) -> timedelta:
    """Return the timeout of a step's action that starts now with these typed parameters.

    It is the runbook's, or else ten minutes plus the time that the parameters make the action wait.
    """
    if step.timeout:
        return step.timeout
    values = (given.get(name) for name in WAIT_PARAMETERS)
    waits = (
        value - now if isinstance(value, datetime) else value
        for value in values
        if isinstance(value, timedelta | datetime)
    )
    return DEFAULT_STEP_TIMEOUT + max((timedelta(), *waits))


def _step_facts(run: Run, step_run: StepRun) -> Mapping[str, Any]:
    """Return the facts of a step's result; in a dry run, the predicted ones."""
    return step_run.result or (step_run.rehearsed if run.dry_run else None) or {}


async def acquire_target(deps: Deps, run: Run, step_id: str, target: str) -> None:
    """Acquire the step's target lock, or show its holder in the run's message.

    Raises Unavailable while another run holds the lock or it cools down, and WrongState while changes are frozen.
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
