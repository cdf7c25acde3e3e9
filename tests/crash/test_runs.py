"""kill -9 in the middle of runs: they go on by themselves, change everything once, and ask nobody twice.

`CRASH_KILLS=100` (or `make crash`) kills so many times on each database, in as many runs as it takes, and prints the
count. `CRASH_SEED` chooses other points.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.domain.run import Approval, Run, RunState, StepState
from bot.domain.timeline import Kind, first_broken_link
from tests.crash.outside import until
from tests.crash.processes import BotProcess
from tests.crash.runs import INCIDENT, Killer, Place, place
from tests.real.postgresql import PostgreSQL

SEED = int(os.environ.get("CRASH_SEED", "20261124"))
KILLS = int(os.environ.get("CRASH_KILLS", "6"))
IN_ONE_RUN = 5 if KILLS > 20 else 3
WHOLE = 120.0  # seconds for a run to end after the last kill
TAKEN_OVER = 15.0  # seconds, of bars.md


def say(line: str) -> None:
    """Shown when the test fails, and with `pytest -s`."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.real("postgresql"))])
async def test_killed_at_random(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same points each time
    began, killed, rounds, inside = time.monotonic(), 0, 0, 0
    for number, book in enumerate(itertools.cycle(("render-latency", "two-hands"))):
        if killed >= KILLS:
            break
        folder = tmp_path / str(number)
        folder.mkdir()
        url = f"sqlite:///{folder}/bot.db"
        if kind == "postgresql":
            server: PostgreSQL = request.getfixturevalue("postgresql_server")
            url = server.new_database()
        async with place(url, folder) as here:
            run = await here.begin(book)
            say(f"{time.monotonic() - began:5.1f} s  {run.id} {book}")
            killer = Killer(here, chance, say)
            approving = asyncio.create_task(here.approvers.approve())
            killed += await killer.kill_during(run, min(IN_ONE_RUN, KILLS - killed))
            over = await here.ended(run, WHOLE)
            await here.told(run)
            approving.cancel()
            await asyncio.gather(approving, return_exceptions=True)
            await everything_once(here, over, killer.inside.total())
            inside += killer.inside.total()
        rounds += 1
    seconds = round(time.monotonic() - began, 1)
    say(f"{kind}: {killed} kills in {rounds} runs and {seconds} s, {inside} of them inside a change; seed {SEED}")
    record_property("kills", killed)
    record_property("seconds", seconds)
    assert killed >= KILLS


async def everything_once(here: Place, run: Run, inside: int) -> None:
    states = {step.id: (step.state, step.error) for step in run.steps}
    assert run.state is RunState.SUCCEEDED, states
    assert {state for state, _ in states.values()} <= {StepState.DONE, StepState.SKIPPED}, states
    _changed_once(here, run, inside)
    _told_once(here, run)
    approvals = [found for step in run.steps if (found := await here.store.runs.approval(run.id, step.id))]
    assert approvals
    for approval in approvals:
        _asked_once(here, approval)
    await _on_the_timeline(here, run, approvals)


def _changed_once(here: Place, run: Run, inside: int) -> None:
    """A step whose end is not recorded yet may state it again: the same patch, which changes nothing any more."""
    changed = [step for step in run.steps if step.effects and step.state is StepState.DONE]
    changes = here.changes()
    assert len(changes) == len(changed), changes
    repeated = {what: count for what, count in changes.items() if count > 1}
    assert sum(count - 1 for count in repeated.values()) <= inside, (repeated, inside)
    assert all("restartedAt" in body for _, _, body in repeated), repeated  # all others look before they change
    for step in changed:  # what the undo needs: how it was before the first try
        assert step.result and step.rehearsed
        before = {name: step.rehearsed[name] for name in ("before", "after") if name in step.rehearsed}
        assert {name: step.result[name] for name in before} == before, step.id


def _told_once(here: Place, run: Run) -> None:
    keys = here.keys()
    assert {key: len(found) for key, found in keys.items() if len(found) > 1} == {}
    assert f"{run.id}/progress" in keys
    files = [name for name in here.files() if name.startswith(run.id)]
    assert len(files) == len(set(files)), files


def _asked_once(here: Place, approval: Approval) -> None:
    given = here.approvers.given[f"{approval.run_id}|{approval.step_id}|{approval.digest}"]
    said = [one.person for one in approval.decisions]
    assert approval.state.value == "approved"
    assert len(said) == len(set(said)) == approval.needed
    assert set(said) <= set(given)
    assert len(given) > approval.needed or set(given) == set(said)  # what was acknowledged in time was not lost
    assert all(one.digest == approval.digest for one in approval.decisions)
    cards = here.keys()[f"{approval.run_id}/{approval.step_id}/approval"]
    assert len(cards) == 1 and "approve" not in [element["action_id"] for _, element in cards[0].elements()]


async def _on_the_timeline(here: Place, run: Run, approvals: list[Approval]) -> None:
    timeline = await here.store.incidents.timeline(INCIDENT)
    assert first_broken_link(INCIDENT, timeline) is None
    kinds = [event.kind for event in timeline]
    assert kinds.count(Kind.RUN_STARTED) == kinds.count(Kind.RUN_ENDED) == 1
    assert kinds.count(Kind.RUN_APPROVED) == len(approvals)
    changed = [step for step in run.steps if step.effects and step.state is StepState.DONE]
    assert kinds.count(Kind.RUN_CHANGED) == len(changed)


@pytest.mark.real("postgresql")
@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs and wakes up"])
async def test_the_leader_stops_in_the_middle_of_a_change_and_the_other_goes_on(
    postgresql_url: str, tmp_path: Path, hangs: bool
) -> None:
    """It stops once a change is done and before it knows; the other one finishes the run, and nothing is done twice."""
    async with place(postgresql_url, tmp_path, replicas=2) as here:
        leader, other = await _leader(here)
        here.sandbox.slack.bot_url = other.url  # who does not lead still answers Slack
        run = await here.begin("two-hands")
        here.tap.arm(1, leader.suspend if hangs else leader.kill, changes_only=True, done_first=True)
        approving = asyncio.create_task(here.approvers.approve())
        await asyncio.wait_for(here.tap.met.wait(), 40)
        killed = time.monotonic()
        (at_it,) = await here.inside_a_change(run)

        async def gone_on() -> bool:
            return (await here.store.runs.get(run.id)).step(at_it).result is not None

        await until(gone_on, TAKEN_OVER, "the other replica to go on")
        taken = time.monotonic() - killed
        over = await here.ended(run, WHOLE)
        await here.told(run)
        approving.cancel()
        await asyncio.gather(approving, return_exceptions=True)
        if hangs:
            leader.wake()

            async def ended() -> bool:
                return leader.exit_code is not None

            await until(ended, 20, "the one that woke up to end itself")
            assert leader.exit_code == 70
        await everything_once(here, over, inside=1)
        assert (leader.killed, other.killed) == (int(not hangs), 0)
        say(f"taken over within {taken:.1f} s, inside {at_it}")


async def _leader(here: Place) -> tuple[BotProcess, BotProcess]:
    """The one that runs the workflows, and the other."""

    async def found() -> tuple[BotProcess, BotProcess] | None:
        for one, other in itertools.permutations(here.bots):
            async with here.session.get(f"{one.url}/readyz") as answer:
                if (await answer.json())["engine"] == "leads":
                    return one, other
        return None

    return await until(found, 20, "a leader")
