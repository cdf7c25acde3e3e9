"""How long `render-latency` takes to bring the metrics back: with the likeliest cause's treatment first, and without.

Each of the runbook's causes is planted in the sandbox's world with parameters that the bot cannot see. The bot finds
the alert, the cause and the runbook through the same APIs as always; Ana presses the button that it offers, Bruno
approves what asks. The clock is the world's. Beside it the same worlds where no cause is looked for: the file's order.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure, median
from bot.domain.incident import Milestone
from bot.domain.run import Run
from bot.shipped import EXAMPLE_TEAM
from demo.environment import DemoEnvironment, demo_environment
from sandbox.clock import LoadAwareClock
from sandbox.kubernetes.seed import write_charts
from sandbox.responder import Response, Story, wait_for_declaration
from sandbox.server import Sandbox
from sandbox.world.deployments import Version
from sandbox.world.world import World
from tests.real import helm

BAR = "time to recovery, render-latency"
SEEDS = 2
SPEED, EVENING_SPEED = 60.0, 600.0  # world seconds in one of ours
BEFORE = timedelta(minutes=40)  # of an ordinary evening, to which what happens then is compared
READS = 60.0  # world seconds from the offered runbook to Ana's press, and from a card to Bruno's
FOR_GOOD = timedelta(minutes=3)  # without an alert and without a run
PATIENCE = 45 * 60.0  # world seconds until the alerts are quiet
SERVICE = "xr-engine"


@dataclass(frozen=True, slots=True)
class Planted:
    """A cause: what makes an ordinary evening of it, and what happens then."""

    evening: Callable[[World, random.Random], None]
    happens: Callable[[World, random.Random], None]


def _busy(world: World, low: float, high: float, dice: random.Random) -> None:
    world.set_load(dice.uniform(low, high), SERVICE)


def _bad_version(world: World, dice: random.Random) -> None:
    world.images[f"{SERVICE}:v4.2.0"] = Version(work=dice.uniform(1.5, 1.8), errors=dice.uniform(0.03, 0.08))
    world.set_version(SERVICE, "v4.2.0")


def _more_requests_and_a_feature(world: World, dice: random.Random) -> None:
    _busy(world, 2.4, 2.7, dice)
    world.set_env(SERVICE, {"EXPERIMENTAL_FEATURES": "true"})


CAUSES: Mapping[str, Planted] = {
    "more requests": Planted(
        lambda world, dice: _busy(world, 0.9, 1.1, dice), lambda world, dice: _busy(world, 2.4, 3.0, dice)
    ),
    "a feature switched on": Planted(
        lambda world, dice: _busy(world, 2.15, 2.3, dice),
        lambda world, dice: world.set_env(SERVICE, {"EXPERIMENTAL_FEATURES": "true"}),
    ),
    "a node lost": Planted(
        lambda world, dice: _busy(world, 1.7, 2.2, dice),
        lambda world, dice: world.lose_node(f"gpu-node-{dice.randint(1, 3)}"),
    ),
    "a bad version": Planted(lambda world, dice: _busy(world, 1.0, 1.4, dice), _bad_version),
    "more requests and a feature": Planted(
        lambda world, dice: _busy(world, 0.9, 1.1, dice),
        _more_requests_and_a_feature,
    ),
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """How one world went: from the first alert to the last one's end, and the first change that was made."""

    took: timedelta
    first: str
    run: Run


async def recovery() -> list[Figure]:
    """Measure all causes, in both orders."""
    figures: list[Figure] = []
    led, in_order = [], []
    for cause in CAUSES:
        with_cause = [await recover(cause, seed, look_for_causes=True) for seed in range(SEEDS)]
        without = [await recover(cause, seed, look_for_causes=False) for seed in range(SEEDS)]
        led += with_cause
        in_order += without
        first = ", ".join(dict.fromkeys(one.first for one in with_cause))
        figures.append(Figure(BAR, cause, _minutes(with_cause), "min", note=f"first: {first}"))
        figures.append(Figure(BAR, f"{cause}, in the file's order", _minutes(without), "min"))
    note = f"{len(CAUSES)} causes, {SEEDS} worlds each"
    figures.append(Figure(BAR, "median over the causes", _minutes(led), "min", 10, note))
    figures.append(Figure(BAR, "median over the causes, in the file's order", _minutes(in_order), "min", None, note))
    return figures


def _minutes(recoveries: Sequence[Recovery]) -> float:
    return median([one.took / timedelta(minutes=1) for one in recoveries])


async def recover(cause: str, seed: int, *, look_for_causes: bool) -> Recovery:
    """Plant a cause and play until its alerts are quiet. Raises TimeoutError where they never are."""
    dice, planted = random.Random(f"{cause}/{seed}"), CAUSES[cause]  # noqa: S311 - the same worlds each time
    sandbox = Sandbox(clock=LoadAwareClock())
    with tempfile.TemporaryDirectory() as folder:
        team = Path(folder) / "team"
        await asyncio.to_thread(shutil.copytree, EXAMPLE_TEAM, team)
        write_charts(team / "charts")
        if not look_for_causes:
            with (team / "team.yaml").open("a") as file:
                file.write("causes: {automatic: false}\n")
        program = str(await asyncio.to_thread(helm.helm))
        given: dict[str, object] = {"helm": program, "team_dir": str(team), "bot_config": None}
        database = f"sqlite:///{folder}/bot.db"
        async with demo_environment(sandbox, database, cluster=Path(folder), **given) as stage:  # type: ignore[arg-type]
            planted.evening(sandbox.world, dice)
            sandbox.clock.speed = EVENING_SPEED
            await sandbox.clock.sleep(BEFORE.total_seconds() + dice.uniform(0, 60))
            sandbox.clock.speed = SPEED
            planted.happens(sandbox.world, dice)
            return await _recovered(stage)


async def _recovered(stage: DemoEnvironment) -> Recovery:
    sandbox, store = stage.sandbox, stage.bot.deps.store
    response = await wait_for_declaration(sandbox, Story(sandbox.clock, "render-latency", "en", lambda line: None))
    await _press(response, "run_proposed", response.ana.press)
    over = await _quiet(stage, response)
    incident = await store.incidents.get(response.incident)
    runs = [run for run in await store.runs.list_by_incident(incident.id) if not run.dry_run]
    changes = sorted((step.began_at, step.id) for step in runs[0].steps if step.effects and step.began_at)
    return Recovery(over - incident.milestones[Milestone.DETECTED], changes[0][1] if changes else "-", runs[0])


async def _press(response: Response, action: str, press: Callable[..., object]) -> None:
    clock = response.sandbox.clock
    until = clock.now() + timedelta(seconds=PATIENCE)
    while not (found := _newest(response, action)):
        if clock.now() > until:
            raise TimeoutError(action)
        await asyncio.sleep(0.05)
    await clock.sleep(READS)
    found = _newest(response, action) or found
    value = f"{response.incident}|render-latency" if action == "run_proposed" else None
    await press(found, action, value=value)  # type: ignore[misc]


async def _quiet(stage: DemoEnvironment, response: Response) -> datetime:
    """Approve what asks, until no run goes on and the alerts are over for good. Returns when the last one ended."""
    clock, store = stage.sandbox.clock, stage.bot.deps.store.runs
    until, asked, over = clock.now() + timedelta(seconds=PATIENCE), None, None
    while True:
        now = clock.now()
        if now > until:
            raise TimeoutError("the alerts go on")
        card = _newest(response, "approve")
        if card and card is not asked:
            asked = card
            await _press(response, "approve", response.bruno.press)
        firing = any(not alert.is_resolved(now) for alert in stage.sandbox.alertmanager.alerts.values())
        over = None if firing else over or now
        runs = await store.list_by_incident(response.incident)
        if over and now - over >= FOR_GOOD and runs and all(run.state.ended for run in runs):
            return over
        await asyncio.sleep(0.05)


def _newest(response: Response, action: str):  # type: ignore[no-untyped-def]
    """Return the newest message of the incident's channel with this button."""
    for message in reversed(response.channel.messages.values()):
        if any(element["action_id"] == action for _, element in message.elements()):
            return message
    return None
