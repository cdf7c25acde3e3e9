"""Start a run: parse its inputs, save it with its own copy of the runbook."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.targets import require_known
from bot.causes.catalogue import CAUSES
from bot.deps import Deps
from bot.domain.diagnosis import Suspect
from bot.domain.errors import BadInput, WrongState
from bot.domain.incident import Incident
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.run import COPIED_FROM, TREATS, Run, RunRequest, StepRun, StepState, Treats, continued_key, run_id
from bot.domain.runbook import Runbook, Step
from bot.runbooks import Expressions
from bot.store.runs import RunIdTaken, times_helped
from bot.team import PRODUCTION, policy_of
from bot.workflows.incidents.diagnose import Opinions, leading
from bot.workflows.runs.presentation import started
from bot.workflows.runs.step import NAMES_OF_SERVICES, incident_variables


async def start_run(deps: Deps, runbook: Runbook, inputs: Mapping[str, Any], request: RunRequest) -> Run:
    """Save a new run with its own copy of the runbook, and enqueue its workflow.

    Raises NotAllowed for a person who may not run actions of its risk, and BadInput for an input with a secret in it:
    it would be shown to who approves, and kept.
    """
    require_known(deps.team, request.environment)
    if not request.dry_run:
        policy_of(deps.team).may_run(request.by.id, max(_risks(runbook), key=list(Risk).index))
    for name, value in inputs.items():
        if deps.redaction.finds_in(value):
            raise BadInput("secret_in_input", input=name)
    incident, environment = request.incident, request.environment or runbook.environment or PRODUCTION
    put_first: dict[str, dict[str, Any]] = {}  # facts of the step
    if incident and environment == PRODUCTION:
        put_first = await _put_first(deps, runbook, inputs, incident)
    for step_id in put_first:
        runbook = runbook.with_first(step_id)
    run = Run(
        id=run_id(request.idempotency_key),
        runbook=runbook.name,
        definition=_keeping_what_cannot_be_undone(runbook).to_json(),
        inputs=inputs,
        environment=environment,
        by=request.by,
        started_at=deps.clock.now(),
        incident_id=incident.id if incident else None,
        channel=(incident.channel if incident else None) or request.channel,
        dry_run=request.dry_run,
        steps=tuple(StepRun(step.id, step.uses, facts=put_first.get(step.id, {})) for step in runbook.steps),
    )
    for attempt in itertools.count(1):
        try:
            return (await deps.store.runs.start(run, request.idempotency_key, started(deps, run)))[0]
        except RunIdTaken:
            run = replace(run, id=run_id(request.idempotency_key, attempt))
    raise AssertionError("unreachable")


async def continue_run(deps: Deps, stopped: Run, step_id: str, request: RunRequest) -> Run:
    """Start a run that goes on where another stopped, at this step: what was done before is copied, not done again.

    There is at most one continuation at each step, whoever asks. It takes over the stopped run's target locks. Raises
    NotAllowed, and WrongState for a run that has not stopped in the middle.
    """
    if not stopped.can_continue:
        raise WrongState("cannot_continue", run=stopped.id, state=stopped.state.value)
    runbook = Runbook.model_validate(stopped.definition)
    policy_of(deps.team).may_run(request.by.id, max(_risks(runbook), key=list(Risk).index))
    ids = [step.id for step in stopped.steps]
    copied, key = set(ids[: ids.index(step_id)]), continued_key(stopped.id, step_id)
    run = Run(
        id=run_id(key),
        runbook=stopped.runbook,
        definition=stopped.definition,
        inputs=stopped.inputs,
        environment=stopped.environment,
        by=request.by,
        started_at=deps.clock.now(),
        incident_id=stopped.incident_id,
        channel=stopped.channel,
        steps=tuple(
            _copy(step, stopped.id) if step.id in copied else StepRun(step.id, step.uses, facts=_treats(step))
            for step in stopped.steps
        ),
    )
    continued = (await deps.store.runs.start(run, key, started(deps, run)))[0]
    await deps.store.locks.transfer(stopped.id, continued.id)
    return continued


def _copy(step: StepRun, stopped_id: str) -> StepRun:
    """Return a step as it was done by the stopped run: that run undoes it, this one only knows of it."""
    state = step.state if step.state in (StepState.DONE, StepState.UNDONE) else StepState.SKIPPED
    facts = {COPIED_FROM: step.copied_from or stopped_id, **_treats(step)}
    return replace(step, state=state, facts=facts, began_at=None, ended_at=None, error=None)


def _treats(step: StepRun) -> dict[str, Any]:
    return {TREATS: step.facts[TREATS]} if TREATS in step.facts else {}


async def _put_first(
    deps: Deps, runbook: Runbook, inputs: Mapping[str, Any], incident: Incident
) -> dict[str, dict[str, Any]]:
    """Return the step that goes first with its facts, as the causes were last said in the incident; none if none leads.

    Of the steps in any order it is the cheapest that treats the leading cause and can be undone: least risk, then no
    approval of its own, then the place in the file.
    """
    opinions = Opinions.of(await deps.store.incidents.timeline(incident.id))
    suspect = leading(opinions)
    cause = CAUSES.get(suspect.cause) if suspect else None
    if suspect is None or cause is None:
        return {}
    names = {"inputs": dict(inputs), "incident": incident_variables(incident)}
    service = suspect.place if suspect.place in deps.team.services else incident.service
    treating = [
        step
        for step in runbook.steps
        if step.any_order
        and step.uses in cause.treatments_of(suspect)
        and ACTIONS.get(step.uses).undo
        and not step.keep
        and _acts_on(step, service, suspect, names)
    ]
    if not treating:
        return {}
    first = min(treating, key=lambda step: (list(Risk).index(ACTIONS.get(step.uses).risk), step.approval is not None))
    helped, measured = await times_helped(deps.store.database, [first.uses], PRODUCTION)
    treats = Treats(suspect, opinions.confirmed is not None, helped, measured)
    return {first.id: {TREATS: treats.to_json()}}


def _acts_on(step: Step, service: str | None, suspect: Suspect, names: Mapping[str, Any]) -> bool:
    """Return True if a step changes this service and, of its settings, one that the cause has changed."""
    try:
        parameters = Expressions().render(step.with_, names)
    except BadInput:  # it depends on what other steps find
        return False
    if service is None or service not in [parameters.get(name) for name in NAMES_OF_SERVICES]:
        return False
    if "variables" not in parameters:
        return True
    changes = [piece.facts["change"] for piece in suspect.evidence if piece.facts.get("change")]
    changed = {one["name"]: one.get("to") for change in changes for one in change.get("settings") or ()}
    return any(name in changed and value != changed[name] for name, value in parameters["variables"].items())


def _keeping_what_cannot_be_undone(runbook: Runbook) -> Runbook:
    """Return the run's copy: a step that nothing can undo is kept, so that no undo is offered for it."""
    steps = [
        step if step.keep or ACTIONS.get(step.uses).undo else step.model_copy(update={"keep": _changes(step)})
        for step in runbook.steps
    ]
    return runbook.model_copy(update={"steps": steps})


def _changes(step: Step) -> bool:
    return ACTIONS.get(step.uses).risk is not Risk.READ


def _risks(runbook: Runbook) -> Iterator[Risk]:
    for step in runbook.steps:
        yield ACTIONS.get(step.uses).risk
    if isinstance(runbook.on_failure, Runbook):
        yield from _risks(runbook.on_failure)


def read_inputs(
    deps: Deps, runbook: Runbook, given: Mapping[str, str], incident: Incident | None = None
) -> dict[str, Any]:
    """Return typed inputs, with defaults for those that are not given. Raises BadInput."""
    own_names = {name.lower(): name for name in runbook.inputs}
    given = {own_names.get(name.lower(), name): value for name, value in given.items()}
    for name in given:
        if name not in runbook.inputs:
            raise BadInput("unknown_input", runbook=runbook.name, input=name, nearest=nearest(name, runbook.inputs))
    variables = incident_variables(incident)
    values: dict[str, Any] = {}
    for name, spec in runbook.inputs.items():
        value = given.get(name)
        if value is None and spec.default is not None:
            value = Expressions().render(spec.default, {"incident": variables})
        if value in (None, "None", ""):
            if spec.required or spec.type == "service":
                raise BadInput("input_missing", runbook=runbook.name, input=name)
            values[name] = None
        else:
            values[name] = spec.read(name, str(value), deps.team.services)
            if spec.type == "environment":
                require_known(deps.team, str(value))
    return values
