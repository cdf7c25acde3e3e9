"""kill -9 in the middle of runs: they go on by themselves, change everything once, and ask nobody twice.

`CRASH_KILLS=100` (or `make crash`) kills so many times on each database, in as many runs as it takes, hangs a fifth as
many replicas in the middle of a change, and prints the counts. `CRASH_SEED` chooses other points.
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
from tests.crash.processes import BotProcess, runner_and_other
from tests.crash.runs import INCIDENT, Killer, Place, place
from tests.real.postgresql import PostgreSQL

SEED = int(os.environ.get("CRASH_SEED", "20261124"))
KILLS = int(os.environ.get("CRASH_KILLS", "6"))
HANGS = max(1, KILLS // 5)
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
async def test_a_replica_dies_in_the_middle_of_a_change_and_the_other_goes_on(
    postgresql_url: str, tmp_path: Path
) -> None:
    """It dies once a change is done and before it knows; the other one finishes the run, and nothing is done twice."""
    async with place(postgresql_url, tmp_path, replicas=2) as here:
        run = await here.begin("two-hands")
        approving = asyncio.create_task(here.approvers.approve())
        runner, other = await runner_and_other(here.bots, here.database, run.id)
        here.sandbox.slack.bot_url = other.url
        at_it = await _stopped(here, run, runner.kill, done_first=True)
        assert at_it
        over = await here.ended(run, WHOLE)
        await here.told(run)
        approving.cancel()
        await asyncio.gather(approving, return_exceptions=True)
        await everything_once(here, over, inside=1)
        assert (runner.killed, other.killed) == (1, 0)


@pytest.mark.real("postgresql")
async def test_a_replica_hangs_in_the_middle_of_a_change_and_does_nothing_when_it_wakes_up(
    postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    """HANGS times, in as many runs as it takes: stopped at a change, taken over, woken up, ended by itself."""
    chance = random.Random(SEED)  # noqa: S311 - the same points each time
    began, hung, rounds = time.monotonic(), 0, 0
    while hung < HANGS:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        async with place(postgresql_server.new_database(), folder, replicas=2) as here:
            run, inside = await here.begin("two-hands"), 0
            approving = asyncio.create_task(here.approvers.approve())
            while hung < HANGS and not (await here.store.runs.get(run.id)).state.ended:
                runner, other = await runner_and_other(here.bots, here.database, run.id)
                here.sandbox.slack.bot_url = other.url
                try:
                    at_it = await _stopped(here, run, runner.suspend, done_first=chance.random() < 0.6)
                finally:
                    runner.wake()
                if not at_it:
                    break
                inside, hung = inside + len(at_it), hung + 1

                async def ended(bot: BotProcess = runner) -> bool:
                    return bot.exit_code is not None

                await until(ended, 20, "the one that woke up to end itself")
                assert runner.exit_code == 70
                await runner.started(here.session)
            over = await here.ended(run, WHOLE)
            await here.told(run)
            approving.cancel()
            await asyncio.gather(approving, return_exceptions=True)
            await everything_once(here, over, inside)
            assert [bot.killed for bot in here.bots] == [0, 0]
        rounds += 1
    say(f"{hung} hangs in {rounds} runs and {time.monotonic() - began:.1f} s; seed {SEED}")


async def _stopped(here: Place, run: Run, stop: Callable[[], None], *, done_first: bool) -> set[str]:
    """Stop the one that is at the next change, until the other has recorded what came of it; gives the step.

    Nothing if the run ends without another change.
    """
    here.tap.arm(1, stop, changes_only=True, done_first=done_first)

    async def met_or_over() -> bool:
        return here.tap.met.is_set() or (await here.store.runs.get(run.id)).state.ended

    await until(met_or_over, WHOLE, "a change")
    if not here.tap.met.is_set():
        here.tap.disarm()
        return set()
    stopped = time.monotonic()
    inside = await here.inside_a_change(run)

    async def gone_on() -> bool:
        known = await here.store.runs.get(run.id)
        return all(known.step(step).result is not None for step in inside)

    await until(gone_on, TAKEN_OVER, "the other replica to go on")
    say(f"  taken over within {time.monotonic() - stopped:.1f} s, inside {', '.join(sorted(inside))}")
    return inside
