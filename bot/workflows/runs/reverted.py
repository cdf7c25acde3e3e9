"""Look whether a change is still there in the minutes after a run made it, and say so if something has put it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.targets import lock_key
from bot.deps import Deps
from bot.domain.run import REVERTED, UNCHANGED, UNDO, Effect, Run, StepRun, StepState
from bot.workflows.engine.durable import durable_step, sleep_until
from bot.workflows.runs.outcome import remaining_effects
from bot.workflows.runs.presentation import TELL, reverted, schedule_run_message
from bot.workflows.runs.step import action_context, parse_parameters, step_environment

WATCH = "watch_change"  # the workflow
# After the change. Argo CD heals within seconds and looks into Git every 3 minutes, Flux usually every 10.
LOOKS = (timedelta(minutes=2), timedelta(minutes=5), timedelta(minutes=15))
LOOK_TIMEOUT = timedelta(minutes=10)
# Actions whose dry run has no effect while what they did is there; a restart can always be done again.
WATCHED = frozenset(f"kubernetes.{name}" for name in ("scale", "set_env", "set_node_selector", "rollout_undo"))


def must_be_watched(step_run: StepRun) -> bool:
    """Return True for a change of something that somebody else writes as well, or that was put back already."""
    if step_run.uses not in WATCHED or step_run.facts.get(UNCHANGED):
        return False
    others = [owner for owner in _owners(step_run) if owner["kind"] not in ("hpa", "keda")]
    return bool(others or _put_back_by(step_run))


async def watch_change(deps: Deps, run_id: str, step_id: str) -> None:
    """Look a few times; the first time that it is gone, tell it where the run is shown, and on the timeline."""
    step_run = (await deps.store.runs.get(run_id)).step(step_id)  # a step that has ended keeps its result and its end
    if step_run.ended_at is None:
        return
    looks = (timedelta(), *LOOKS) if _put_back_by(step_run) else LOOKS
    for number, after in enumerate(looks, start=1):
        await sleep_until(deps, step_run.ended_at + after)
        outcome = await durable_step(f"look {number}", partial(_look, deps, run_id, step_id), LOOK_TIMEOUT)
        if outcome.ok and outcome.value:
            return


async def _look(deps: Deps, run_id: str, step_id: str) -> bool:
    """Return True if there is nothing more to look for: it was put back, undone, or changed by a later run."""
    run = await deps.store.runs.get(run_id)
    if run.forgotten:
        return True
    step_run = run.step(step_id)
    if step_run.facts.get(REVERTED):
        return True
    if step_run.state is StepState.UNDONE or UNDO in step_run.facts or await _changed_by_another(deps, run, step_run):
        return True
    gone = await _what_is_gone(deps, run, step_run)
    if not gone:
        return False
    owner = next((one for one in _owners(step_run) if one["name"] == _put_back_by(step_run)), None)
    owner = owner or next((one for one in _owners(step_run) if one["kind"] not in ("hpa", "keda")), None)
    facts = {**step_run.facts, REVERTED: {"owner": owner, "effects": [effect.to_json() for effect in gone]}}
    told = replace(step_run, facts=facts)
    entry = reverted(deps, run, told)
    await deps.store.runs.set_step(run_id, step_id, entry, facts=facts)
    if entry is None:
        arguments = [run_id, f"{step_id}/reverted", "change_reverted", {"by": run.by.to_json(), "step": step_id}]
        await deps.store.outbox.enqueue_once(f"{run_id}/{step_id}/reverted", TELL, arguments)
    schedule_run_message(deps, run_id)
    return True


async def _what_is_gone(deps: Deps, run: Run, step_run: StepRun) -> tuple[Effect, ...]:
    """Return what the step would have to do again, without what is said before an approval."""
    action = ACTIONS.get(step_run.uses)
    context = action_context(deps, run, replace(step_run, began_at=None))
    parameters = parse_parameters(action, step_run.parameters or {})
    found = await remaining_effects(partial(action.execute, context, **parameters))
    return tuple(replace(effect, facts={**effect.facts, "owners": [], "cautions": []}, diff="") for effect in found)


async def _changed_by_another(deps: Deps, run: Run, step_run: StepRun) -> bool:
    environment = step_environment(deps, run, step_run.id, step_run.parameters)
    key = lock_key(deps.team, ACTIONS.get(step_run.uses), step_run.parameters or {}, environment)
    last = await deps.store.locks.last_run(key) if key else None
    return last is not None and last != run.id


def _owners(step_run: StepRun) -> list[Mapping[str, Any]]:
    return [owner for effect in step_run.effects for owner in effect.facts.get("owners") or ()]


def _put_back_by(step_run: StepRun) -> str | None:
    return (step_run.result or {}).get("put_back_by")
