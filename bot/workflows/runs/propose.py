"""Open the change of a step as a pull request in the repository from which Argo CD or Flux takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from html import unescape
from typing import Any

from bot.actions.gitops import find_edit
from bot.deps import Deps
from bot.domain.errors import BotError, NotConfigured, WrongState
from bot.domain.people import Person
from bot.domain.run import Effect, Run, StepRun
from bot.integrations.kubernetes.applications import Source
from bot.messages.markdown import escape
from bot.messages.run import line
from bot.workflows.engine.durable import durable_step
from bot.workflows.runs.presentation import TELL, proposed

PROPOSE = "propose_change"  # the workflow
PROPOSE_TIMEOUT = timedelta(minutes=15)


async def propose_change(deps: Deps, run_id: str, step_id: str, digest: str, by: dict[str, Any]) -> None:
    """Open the pull request, and tell it where the run is shown; a second request finds the first one's."""
    person = Person.from_json(by)
    opening = partial(_propose, deps, run_id, step_id, digest, person)
    outcome = await durable_step("open the pull request", opening, PROPOSE_TIMEOUT)
    if not outcome.ok:
        problem = BotError(str(outcome.error), **outcome.facts)
        told = {"by": by, "why": deps.words.error(problem)}
        key = f"{step_id}/{digest}/not-proposed/{problem.key}"
        telling = partial(
            deps.store.outbox.enqueue_once, f"{run_id}/{key}", TELL, [run_id, key, "change_not_proposed", told]
        )
        await durable_step("tell that it was not opened", telling)


async def _propose(deps: Deps, run_id: str, step_id: str, digest: str, by: Person) -> None:
    async with deps.message_lock(f"{run_id}/{step_id}/pull-request"):  # two people may press at once
        await _open(deps, run_id, step_id, digest, by)


async def _open(deps: Deps, run_id: str, step_id: str, digest: str, by: Person) -> None:
    run = await deps.store.runs.get(run_id)
    step_run = run.step(step_id)
    effect = step_run.in_git
    if deps.github is None:
        raise NotConfigured("github_off")
    if effect is None or step_run.digest != digest:
        raise WrongState("not_in_git", why="changed")
    kind, place = _place(effect)
    source = Source(place["repository"], place["folder"], place["revision"], release=place.get("release", ""))
    edit = await find_edit(deps, source, effect.key, effect.facts)
    if edit.after == edit.before:
        raise WrongState("already_in_git", file=edit.path, kind=kind)
    code, branch = deps.github.code, f"change/{run_id}-{step_id}-{digest}".lower()
    if await code.head(branch) is None:
        head = await code.head(edit.base)
        if head is None:
            raise WrongState("not_in_git", why="pinned")
        await code.create_branch(branch, edit.base, head[1])
    what = unescape(" ".join(line(replace(effect, facts={**effect.facts, "owners": []}), deps.words).split()))
    title = unescape(deps.words.label("proposal.title", what=what, incident=run.incident_id or run.id))[:250]
    await code.write_file(branch, edit.path, edit.before, edit.after, title)
    body = unescape(
        deps.words.label("proposal.body", by=escape(by.name or by.id), run=run_id, what=escape(what), kind=kind)
    )
    number = await code.open_pull_request(title, branch, edit.base, body, False)
    pull = await code.pull(int(number or 0))
    await _tell(deps, run, step_run, by, {"number": pull.number, "url": pull.url, "file": edit.path})


async def _tell(deps: Deps, run: Run, step_run: StepRun, by: Person, facts: dict[str, Any]) -> None:
    """Put it on the incident's timeline, which tells it in its channel; without an incident tell it with the run."""
    entry = proposed(deps, run, step_run, by, facts)
    if entry is not None:
        await deps.store.runs.append(entry)
        return
    key = f"{step_run.id}/{step_run.digest}/proposed"
    told = {**facts, "by": by.to_json()}
    await deps.store.outbox.enqueue_once(f"{run.id}/{key}", TELL, [run.id, key, "change_proposed", told])


def _place(effect: Effect) -> tuple[str, Mapping[str, str]]:
    """Return which tool applies the change from Git, and its place there."""
    return next((owner["kind"], owner["place"]) for owner in effect.facts["owners"] if owner.get("place"))
