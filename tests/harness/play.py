"""A shipped runbook, played to its end: typed by Ana, approved by others, on a cluster with real helm, in seconds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot.actions.catalogue import ACTIONS
from bot.domain.run import Run, StepState, WaitsFor, base_step_id
from demo.environment import demo_environment
from sandbox.clock import LoadAwareClock
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.seed import write_charts
from sandbox.server import Sandbox
from sandbox.slack.state import Channel, Message
from sandbox.world.world import World
from tests.architecture.tree import ROOT
from tests.harness.scene import TEAM, Scene, outgoing_problems
from tests.real import helm

FAST = 900.0  # seconds of the world in one of ours: a watch of 15 minutes is one second
AT_HAND = 1.0  # the same while a card waits for a press, so that a busy machine lets none expire
LONG = 60.0  # of our seconds; what is not over by then never will be

PLAYED: list[Play] = []  # at most one


@dataclass
class Play(Scene):
    """A scene with a healthy world, its cluster, Prometheus, GitHub, AWS and Vault. Its clock is fast."""

    @property
    def world(self) -> World:
        return self.sandbox.world

    @property
    def cluster(self) -> Kubernetes:
        return self.sandbox.kubernetes

    def versions(self, service: str) -> set[str]:
        """The image tags of the pods that serve in production."""
        return {pod.template.version for pod in self.world.pods(service) if pod.is_ready(self.world.at)}

    # beginning

    async def start(self, line: str, channel: Channel | str = TEAM, who: str = "ana") -> Run:
        """`/runbook run LINE`, signed, by this person; the run as it begins. AssertionError with what was refused."""
        return await self._begin(f"/runbook run {line}", channel, who)

    async def ops(self, line: str, approvers: tuple[str, ...] = ("bruno",)) -> Run:
        """`/ops LINE`, signed, by Ana, approved by these people; the run as it ended."""
        run = await self._begin(f"/ops {line}", TEAM, "ana")
        async with self.approving(run, *approvers):
            return await self.ended(run)

    async def start_ops(self, line: str, who: str = "ana") -> Run:
        """`/ops LINE`, signed, by this person; the run as it begins."""
        return await self._begin(f"/ops {line}", TEAM, who)

    async def _begin(self, command: str, channel: Channel | str, who: str) -> Run:
        where = channel.name if isinstance(channel, Channel) else channel
        answer = await self.answer(command, who, where)
        begun = re.search(r"R-[0-9a-hjkmnp-tv-z]{6,}", answer)
        assert begun, answer
        return await self.known(begun[0])

    async def play(
        self, line: str, channel: Channel | str = TEAM, approvers: tuple[str, ...] = ("bruno", "carla")
    ) -> Run:
        """Start it, let these people approve whatever it asks, and give it as it ended."""
        run = await self.start(line, channel)
        async with self.approving(run, *approvers):
            return await self.ended(run)

    # people

    @contextlib.asynccontextmanager
    async def approving(self, run: Run, *handles: str) -> AsyncIterator[None]:
        """Meanwhile these people press *approve* on each of the run's cards, as long as it shows the button."""
        pressing = asyncio.create_task(self._press_all(run, handles), name="approvers")
        try:
            yield
            if pressing.done():
                pressing.result()
        finally:
            pressing.cancel()
            await asyncio.gather(pressing, return_exceptions=True)

    async def _press_all(self, run: Run, handles: tuple[str, ...]) -> None:
        while True:
            await self.until(lambda: self._asks(run), 10 * LONG)
            with self.slowly():  # before its card is there: on a busy machine that takes a while of a fast clock
                card, value = await self.see(lambda: self._waiting(run))
                for handle in handles:
                    if _shows(card, value):
                        with contextlib.suppress(LookupError):  # it has been drawn anew meanwhile
                            await self.person(handle).press(card, "approve", value)
                await self.see(lambda card=card, value=value: not _shows(card, value))  # type: ignore[misc]

    async def _asks(self, run: Run) -> bool:
        """Whether a step of the run waits for somebody who approves it."""
        waiting = [one.step_id for one in await self.bot.deps.store.runs.waiting() if one.run_id == run.id]
        uses = {one["id"]: one["uses"] for one in run.definition["steps"]}
        return any(ACTIONS.get(uses[base_step_id(step)]).waits_for is not WaitsFor.ANSWER for step in waiting)

    def _waiting(self, run: Run) -> tuple[Message, str] | None:
        """The first card of the run that can be approved, and what its button carries."""
        for channel in self.slack.channels.values():
            for card in channel.messages.values():
                for _, element in card.elements():
                    if element["action_id"] == "approve" and run.id in (value := element["value"]):
                        return card, value
        return None

    async def button(self, run: Run, action: str = "approve") -> Message:
        """The run's message that has this button (`approve`, `reject`, `answer`, `undo_run`, …)."""

        def shown() -> Message | None:
            for channel in self.slack.channels.values():
                for message in channel.messages.values():
                    if any(e["action_id"] == action and run.id in e.get("value", "") for _, e in message.elements()):
                        return message
            return None

        return await self.see(shown, LONG)

    @contextlib.contextmanager
    def slowly(self, speed: float = AT_HAND) -> Iterator[None]:
        """The world's clock at this speed."""
        before, self.sandbox.clock.speed = self.sandbox.clock.speed, speed
        try:
            yield
        finally:
            self.sandbox.clock.speed = before

    # how it goes

    async def shown(self, run: Run, words: str) -> str:
        """What the run's message says once it says these words."""

        def there() -> str | None:
            for channel in self.slack.channels.values():
                for message in channel.messages.values():
                    payload = (message.metadata or {}).get("event_payload", {})
                    if payload.get("key") == f"{run.id}/progress" and words in message.all_text():
                        return message.all_text()
            return None

        return await self.see(there, LONG)

    async def known(self, run: Run | str) -> Run:
        """The run as it is now."""
        return await self.bot.deps.store.runs.get(run if isinstance(run, str) else run.id)

    async def ended(self, run: Run, seconds: float = LONG) -> Run:
        """The run once it is over, whatever came of it. AssertionError with how far it has come."""
        try:
            await self.until(lambda: self._is_over(run), seconds)
        except TimeoutError:
            raise AssertionError(f"{run.id} goes on: {story(await self.known(run))}") from None
        return await self.known(run)

    async def _is_over(self, run: Run) -> bool:
        return (await self.known(run)).state.ended

    async def reached(self, run: Run, step: str, *states: StepState, seconds: float = LONG) -> Run:
        """The run once this step is in one of these states."""

        async def there() -> bool:
            return (await self.known(run)).step(step).state in states

        await self.until(there, seconds)
        return await self.known(run)


@contextlib.asynccontextmanager
async def playing(
    folder: Path, *, speed: float = FAST, alerts: bool = False, why: bool = False, **settings: object
) -> AsyncIterator[Play]:
    """A bot in a sandbox where all is well; helm's charts of all services lie in the folder.

    Without `alerts` none becomes an incident, without `why` no causes are looked for unasked. A `kubeconfig` is that of
    another cluster than the sandbox's. What the bot sent is held against the contracts at the end.
    """
    assert not PLAYED, "the engine's library is one a process: what is started beside a bot would be the other bot's"
    sandbox = Sandbox(clock=LoadAwareClock())
    program = await asyncio.to_thread(helm.helm)
    team = folder / "team"
    if not team.exists():
        shutil.copytree(ROOT / "teams" / "tamv", team)
        shipped = (team / "team.yaml").read_text("utf-8")
        far = (sandbox.clock.now() + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for asked, instead in (
            # A look ahead each second of ours, as the clock is fast, would cost a third of a core.
            ("  services: [tamv-core, xr-engine]\n", "  services: []\n"),
            # In the weekly maintenance disruptive runs are refused: whatever the day is, it is not now.
            ('begins: "2026-01-04T04:00:00Z"', f'begins: "{far}"'),
        ):
            assert shipped.count(asked) == 1
            shipped = shipped.replace(asked, instead)
        (team / "team.yaml").write_text(shipped, "utf-8")
    write_charts(team / "charts")
    if not why:
        with (team / "team.yaml").open("a") as file:
            file.write("causes: {automatic: false}\n")
    given: dict[str, object] = {"helm": str(program), "team_dir": str(team)}
    if not alerts:
        given["alertmanager_webhook_token"] = None
    database, cluster = folder / "bot.db", None if "kubeconfig" in settings else folder
    async with demo_environment(sandbox, f"sqlite:///{database}", cluster=cluster, **given | settings) as stage:  # type: ignore[arg-type]
        play = Play(stage.url, stage.bot, sandbox, database)
        sandbox.clock.speed = speed
        PLAYED.append(play)
        try:
            yield play
        finally:
            PLAYED.remove(play)
            sandbox.clock.speed = 1.0
    # GitHub's description at hand is a part of the whole: it has no reviews and no checks
    problems = [one for one in outgoing_problems(sandbox) if not one.endswith("is not in GitHub's description")]
    assert problems == []


def story(run: Run) -> list[tuple[str, str, str | None]]:
    """Each step with how it stands and what was wrong."""
    return [(step.id, step.state.value, step.error) for step in run.steps]


def _shows(card: Message, value: str) -> bool:
    return any(element["action_id"] == "approve" and element.get("value") == value for _, element in card.elements())
