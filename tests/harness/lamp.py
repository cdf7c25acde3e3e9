"""A lamp, which runs of runbooks change: they are begun, waited for, and seen in Slack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dbos import DBOS

from bot.actions.context import Context
from bot.actions.registry import ACTIONS
from bot.domain.errors import Refused, WrongState
from bot.domain.people import Person
from bot.domain.policy import Risk
from bot.domain.run import Run, RunRequest
from bot.domain.runbook import Runbook
from bot.integrations.effects import effect
from bot.runbooks import Library
from bot.services.runs import Runs
from demo.environment import DemoEnvironment
from sandbox.deadline import deadline
from sandbox.slack.state import Message

ANA = Person("U0ANA00001", "Ana Torres")
BRUNO = Person("U0BRUNO002", "Bruno Díaz")
CARLA = Person("U0CARLA003", "Carla Méndez")
EMMA = Person("U0EMMA0005", "Emma Clark", "en")


class Lamp:
    """Something outside that can be changed: a number, what was done to it, and whether it obeys."""

    def __init__(self) -> None:
        self.value = 3
        self.done: list[int] = []
        self.broken = False
        self.diff = ""
        self.slow = asyncio.Event()
        self.slow.set()

    @effect("lamp.set")
    async def set(self, value: int, before: int, dry_run: bool = False) -> str:
        if dry_run:
            return self.diff
        self.done.append(value)
        self.value = value
        await self.slow.wait()
        if self.broken:
            raise Refused("slack_refused", method="lamp", error="broken")
        return ""


LAMP: dict[str, Lamp] = {}


@dataclass(frozen=True)
class Dimmed:
    before: int
    after: int


def registered() -> Iterator[Lamp]:
    """A lamp with its actions, which are gone afterwards."""
    LAMP["it"] = Lamp()
    known = dict(ACTIONS._actions)
    for name, risk in (("lamp.dim", Risk.CHANGE), ("lamp.break", Risk.DISRUPTIVE), ("lamp.smash", Risk.DESTRUCTIVE)):

        @ACTIONS.action(name, risk=risk, target="lamp/{environment}/desk")
        async def dim(ctx: Context, to: int) -> Dimmed:
            """Set the lamp."""
            now = LAMP["it"].value
            before = ctx.planned.get("before", now) if now == to else now
            if now != to:
                await LAMP["it"].set(to, now)
            return Dimmed(before, to)

        @ACTIONS.undo(dim)
        async def undim(ctx: Context, done: Dimmed) -> Dimmed:
            """Set it back, unless somebody has changed it since."""
            if LAMP["it"].value == done.before:
                return Dimmed(done.before, done.before)
            if LAMP["it"].value != done.after:
                raise WrongState("changed_since", name="desk")
            LAMP["it"].broken = False
            await LAMP["it"].set(done.before, done.after)
            return Dimmed(done.after, done.before)

    yield LAMP["it"]
    ACTIONS._actions.clear()
    ACTIONS._actions.update(known)


def runs(stage: DemoEnvironment, *steps: dict[str, Any], **more: Any) -> Runs:
    book = Runbook.model_validate({"name": "dim", "title": {"es": "Bajar", "en": "Dim"}, "steps": steps, **more})
    return Runs(stage.bot.deps, Library({"dim": book}))


async def until(true: Callable[[], Awaitable[Any]], seconds: float = 15) -> Any:
    async with deadline(seconds):
        while not (found := await true()):  # noqa: ASYNC110 - the engine and the test meet in the database
            await asyncio.sleep(0.02)
    return found


async def ended(stage: DemoEnvironment, run: Run) -> Run:
    async def look() -> Run | None:
        now = await stage.bot.deps.store.runs.get(run.id)
        return now if now.state.ended else None

    found: Run = await until(look)
    return found


async def asked(stage: DemoEnvironment, run: Run, step: str = "a") -> str:
    async def look() -> str | None:
        known = await stage.bot.deps.store.runs.approval(run.id, step)
        return known.digest if known else None

    return str(await until(look))


async def begin(made: Runs, by: Person = ANA, idempotency_key: str = "c", **more: Any) -> Run:
    return await made.start("dim", {}, RunRequest(by, idempotency_key, channel="#tamv-incidents", **more))


async def over(workflow_id: str) -> None:
    """Wait until a workflow has ended well."""

    async def look() -> bool:
        known = await DBOS.list_workflows_async(workflow_ids=[workflow_id])
        return [one.status for one in known] == ["SUCCESS"]

    await until(look)


def message(stage: DemoEnvironment, run: Run) -> str:
    """What the run's message in Slack says now."""
    shown = _shown(stage, run)
    return shown.all_text() if shown else ""


def buttons(stage: DemoEnvironment, run: Run) -> set[str]:
    """What may be pressed below the run's message."""
    shown = _shown(stage, run)
    return {element["action_id"] for _, element in shown.elements()} if shown else set()


def _shown(stage: DemoEnvironment, run: Run) -> Message | None:
    there = [one for channel in stage.sandbox.slack.channels.values() for one in channel.messages.values()]
    key = f"{run.id}/progress"
    return next((one for one in there if (one.metadata or {}).get("event_payload", {}).get("key") == key), None)


async def says(stage: DemoEnvironment, run: Run, *words: str) -> str:
    """Wait until the run's message holds all of these words."""

    def said() -> str | None:
        text = message(stage, run)
        return text if all(word in text for word in words) else None

    return await stage.sandbox.slack.wait_for(said, 15)
