"""How soon a command or a button is acknowledged: alone, and in the middle of an alert storm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.figures import Figure, median, percentile
from benchmarks.incidents import Incident, declared
from benchmarks.load import Answers, by_the_clock, one_at_a_time
from benchmarks.place import Place, place, until
from benchmarks.requests import Request
from benchmarks.runs import with_store
from benchmarks.storm import CHANNELS, GROUPS, POSTS, RATE, channels, storm_post
from bot.domain.run import StepState
from bot.store.store import Store

ALONE = "ack of a signed command or button over HTTP, one at a time"
TOGETHER = "ack at 100 requests a second with 20 runs in flight, during an alert storm"
IN_FLIGHT = 20
WATCH = """\
name: watch
title: {es: Mirar, en: Watch}
steps:
  - id: watch
    uses: prometheus.watch
    with: {board: service, service: "{{ inputs.service }}", duration: 1h, every: 5s}
inputs:
  service: {type: service, default: tamv-core}
"""
TIMES = 300
PAUSE = 0.05  # a person waits for the answer before the next one
SLACK_GIVES_UP = 3000.0


async def alone() -> list[Figure]:
    async with place() as here:
        incident = await declared(here)
        await _warmed(here, incident)
        commands = await one_at_a_time(here, lambda number: _command(here, number, incident), TIMES, pause=PAUSE)
        await here.quiet()
        buttons = await one_at_a_time(here, lambda _: _button(here, incident), TIMES, pause=PAUSE)
    return [*_alone("command", commands), *_alone("button", buttons)]


async def in_a_storm() -> list[Figure]:
    seconds = POSTS / RATE
    async with with_store(None, {"watch": WATCH}) as (here, store):
        incident = await declared(here)
        await _warmed(here, incident)
        await _begun(here, store)
        commands, _ = await asyncio.gather(
            by_the_clock(here, lambda number: _mixed(here, number, incident), rate=100, count=int(100 * seconds)),
            by_the_clock(here, storm_post, rate=RATE, count=POSTS),
        )
        opened = await until(lambda: _opened(here), 60)
        in_flight = len(await store.runs.list_running())
    note = (
        f"{len(commands.milliseconds)} requests in {seconds:g} s; the storm made {opened} of {GROUPS} incidents; "
        f"{in_flight} runs in flight"
    )
    return [
        Figure(TOGETHER, "median", median(commands.milliseconds), "ms", note=note),
        Figure(TOGETHER, "p99", percentile(commands.milliseconds, 99), "ms", 40.0),
        Figure(TOGETHER, "slowest", max(commands.milliseconds), "ms", SLACK_GIVES_UP),
        Figure(TOGETHER, "not acknowledged", commands.refused, "requests", 0.0),
    ]


async def _begun(here: Place, store: Store) -> None:
    """Runs that look at figures every five seconds, from now on."""
    for _ in range(IN_FLIGHT):
        await here.send(here.workspace.command("/runbook run watch"))

    async def under_way() -> bool:
        going_on = await store.runs.list_running()
        return len(going_on) == IN_FLIGHT and all(run.steps[0].state is StepState.PERFORMING for run in going_on)

    await until(under_way, 60, every=0.5)


async def _opened(here: Place) -> int | None:
    """How many channels the storm has made, once it is all of them."""
    made = len(await channels(here)) - 1
    return made if made >= CHANNELS else None


def _alone(what: str, answers: Answers) -> Sequence[Figure]:
    times = answers.milliseconds
    note = f"{len(times)} times, {answers.refused} refused"
    return (
        Figure(ALONE, f"{what}, median", median(times), "ms", 3.0, note),
        Figure(ALONE, f"{what}, p99", percentile(times, 99), "ms", 8.0),
    )


async def _warmed(here: Place, incident: Incident) -> None:
    await one_at_a_time(here, lambda number: _mixed(here, number, incident), 40)
    await here.quiet()


def _command(here: Place, number: int, incident: Incident) -> Request:
    """In turn what only reads and what changes something."""
    lines = ("/incident status", "/incident list", f"/incident note observation {number}")
    return here.workspace.command(lines[number % len(lines)], incident.channel)


def _button(here: Place, incident: Incident) -> Request:
    return here.workspace.button("acknowledge", incident.id, incident.channel)


def _mixed(here: Place, number: int, incident: Incident) -> Request:
    return _button(here, incident) if number % 4 == 3 else _command(here, number, incident)
