"""Runbooks and drills, played by the scripted people. `exercises.yaml` has what they type and whom they reject."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sandbox import yaml_file
from sandbox.deadline import deadline
from sandbox.github.state import CANARY
from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.kubernetes.resources.litmus import CHAOS_ENGINE, CHAOS_RESULT
from sandbox.responder import SIGN_TIMEOUT, Response, SignMissing, Story, wait_for_sign
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import Action, Image, Strict, Text
from sandbox.world.services import NAMESPACE

T = TypeVar("T")
FILE = Path(__file__).with_name("exercises.yaml")
RUN_TIMEOUT = 240.0  # real seconds until a run is given up, at the demo's speed
FAST_SPEED = 3000.0  # world seconds in a real one while hours pass
MAX_LAG = 5.0  # real seconds that a check of the clock may be late
WINDOW_LEAD = timedelta(minutes=20)
PIPELINE = 180.0  # world seconds of a build or a canary
TEAM = "tamv-incidents"
MAINTENANCE = re.compile(r"🛠.*?<!date\^(\d+)\^", re.DOTALL)
RUN = re.compile(r"R-[0-9a-hjkmnp-tv-z]{6,}")

STATES = {  # in the run's message
    "succeeded": Text(es="terminó bien", en="succeeded"),
    "failed": Text(es="falló", en="failed"),
    "undone": Text(es="se deshizo", en="undone"),
}


# What the file says: the conditions an exercise finds, and who acts at GitHub meanwhile.


class Container(Strict):
    """Containers of this image (a shell pattern; after a blank, command and variables) log these lines and exit."""

    do: Literal["container"]
    image: str
    log: tuple[str, ...] = ()
    exit_code: int = 0

    def act(self, sandbox: Sandbox) -> None:
        behaviour = Behaviour(start=1, run=5, exit_code=self.exit_code, log=self.log)
        sandbox.kubernetes.behaviours.set(self.image, behaviour)


class Unhealthy(Strict):
    """A health endpoint (a shell pattern of the path) answers 503."""

    do: Literal["unhealthy"]
    where: str

    def act(self, sandbox: Sandbox) -> None:
        sandbox.faults.add("health", "status", self.where, times=None, status=503)


class DumpBreaks(Strict):
    """pg_dump loses its connection after this many bytes."""

    do: Literal["dump_breaks"]
    after: int = Field(ge=0)

    def act(self, sandbox: Sandbox) -> None:
        sandbox.kubernetes.programs.dump = Dump(fail_at=self.after)


class BadImage(Image):
    """What the image `service:tag` does to its service."""

    do: Literal["image"]
    image: str

    def act(self, sandbox: Sandbox) -> None:
        sandbox.world.images[self.image] = self.version()


Condition = Annotated[Container | Unhealthy | DumpBreaks | BadImage, Field(discriminator="do")]


class Colleagues(Strict):
    """People and pipelines at GitHub during a hotfix.

    `author` (a login) pushes the fix to `branch`; `reviewer` (a handle) approves it, if there is one. The canary that
    is then dispatched brings its tag to `service`.
    """

    branch: str
    service: str
    author: str
    file: str
    text: str
    reviewer: str | None = None

    def push(self, sandbox: Sandbox) -> None:
        """Push the fix to the branch that the run made."""
        sandbox.github.code.put_file(self.file, self.text, "Fix", self.author, branch=self.branch, replaces=None)

    @asynccontextmanager
    async def at_work(self, sandbox: Sandbox) -> AsyncIterator[None]:
        """Let checks, reviewer and pipelines do their part meanwhile."""
        sandbox.github.actions.run_seconds = PIPELINE
        task = asyncio.create_task(self._work(sandbox), name="people and pipelines at GitHub")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self, sandbox: Sandbox) -> None:
        github = sandbox.github
        pull = await _wait_until(lambda: next((p for p in github.pulls.values() if p.team_reviewers), None))
        github.code.check(self.branch, "tests", "success")
        if self.reviewer is None:
            return
        await github.person(self.reviewer).approve(pull)
        canary = await _wait_until(lambda: next((r for r in github.runs.values() if r.workflow.path == CANARY), None))
        await _wait_until(lambda: canary.status == "completed")
        sandbox.world.set_version(self.service, canary.inputs["image_tag"])


class Exercise(BaseModel):
    """One exercise of the file, which explains the keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    story: Text
    begin: str
    run: str | None = None
    then: tuple[str, ...] = ()
    world: list[Action] = []
    sandbox: list[Condition] = []
    github: Colleagues | None = None
    helm: bool = False
    approvers: tuple[str, ...] = ()
    reject: str | None = None
    leave: str | None = None
    respond: Mapping[str, str] = {}
    interrupt: Mapping[str, str] = {}
    answers: Mapping[str, str] = {}
    hurry: bool = False
    ends: Literal["succeeded", "failed", "undone"]

    @property
    def is_drill(self) -> bool:
        return self.begin.startswith("/drill ")

    def prepare(self, sandbox: Sandbox) -> None:
        """Set the conditions up, before anybody types."""
        sandbox.world.act(self.world)
        for condition in self.sandbox:
            condition.act(sandbox)


def load_exercises() -> Mapping[str, Exercise]:
    """Return all exercises by name."""
    entries = yaml_file.read(FILE)
    return {name: Exercise.model_validate(entry) for name, entry in entries.items()}


# The play.


async def play_exercise(sandbox: Sandbox, name: str, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play an exercise to its report and return its incident's id.

    Raises SignMissing when a sign of the bot's work does not come in time, or the run ends in another state.
    """
    exercise = load_exercises()[name]
    story = Story(sandbox.clock, name, language, say)
    story.tell("begins", title=getattr(exercise.title, language), story=getattr(exercise.story, language))
    exercise.prepare(sandbox)
    slack = sandbox.slack
    before = set(slack.channels)
    ana = Person(slack, "ana")
    await ana.run(exercise.begin)

    def furnished() -> Channel | None:
        return next((c for c in slack.channels.values() if c.id not in before and c.pins), None)

    channel = await wait_for_sign(story, "typed", furnished, 2 * SIGN_TIMEOUT, who="Ana", what=exercise.begin)
    story.tell("typed", who="Ana", what=exercise.begin)
    incident = channel.name[:13].upper()
    play = ExercisePlay(sandbox, story, incident, channel, ana, Person(slack, "bruno"), exercise)
    async with exercise.github.at_work(sandbox) if exercise.github else nullcontext():
        await play.run()
    await play.end()
    return incident


@dataclass(frozen=True)
class ExercisePlay(Response):
    """Ana and the others in the channel of an exercise."""

    exercise: Exercise

    async def run(self) -> None:
        """Follow each run to its end: approve, reject or ignore its requests. All but the last must succeed."""
        lines = [self.exercise.run, *self.exercise.then]
        runs: list[str] = []
        for line in lines:
            if line:
                await self._type(line)
            runs.append(await self._follow(runs, self.exercise.ends if line == lines[-1] else "succeeded"))

    async def _follow(self, before: Sequence[str], ends: str) -> str:
        """Follow the run after those `before` to its end and return its id."""
        message, run = await self._sign("under_way", lambda: self._run_message(before))
        self.story.tell("under_way", run=run)
        handled: set[str] = set()
        fast_forward = asyncio.create_task(self._fast_forward_to_window()) if self.exercise.hurry else None
        try:
            async with deadline(RUN_TIMEOUT):
                while any(action == "cancel_run" for action, _ in _buttons(message)):
                    await self._handle_requests(run, handled)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise SignMissing(self.story.missed("ended", state="…")) from None
        finally:
            if fast_forward:
                fast_forward.cancel()
        expected = getattr(STATES[ends], self.story.language)
        if expected not in message.all_text():
            raise SignMissing(self.story.missed("ended", state=expected))
        self.story.tell("ended", state=expected)
        return run

    async def end(self) -> None:
        """Stop a drill, which scores it; resolve an emergency."""
        if self.exercise.is_drill:
            reply = await self.ana.run("/drill stop", self.channel.name)
            shown = await self._sign("stopped", lambda: [message.all_text() for message in reply.messages])
            self.story.tell("stopped")
            for line in "\n".join(shown).splitlines():
                if line.startswith(("✅", "❌", "▫️")):
                    self.story.tell("scored", line=line)
        else:
            await self._type("/incident resolve")
        await self._sign(
            "closed", lambda: self._posted("✅") and self._files(".md") and self._files(".html"), 3 * SIGN_TIMEOUT
        )
        self.story.tell("closed")

    async def _handle_requests(self, run: str, handled: set[str]) -> None:
        """Answer each pending request once."""
        for message in list(self.channel.messages.values()):
            for action, value in _buttons(message):
                if not value.startswith(f"{run}|") or value in handled or action not in ("approve", "answer"):
                    continue
                handled.add(value)
                step = value.split("|")[1]
                if action == "answer" and step in self.exercise.answers:
                    await self._answer(message, value, self.exercise.answers[step])
                elif action == "answer":
                    await self._inject()
                elif step != self.exercise.leave:
                    await self._decide(message, value, step)

    async def _answer(self, card: Message, value: str, words: str) -> None:
        """Ana does what the card asks for and submits the form."""
        if self.exercise.github:
            self.exercise.github.push(self.sandbox)
        await self.ana.press(card, "answer", value)
        await self._sign("answers", lambda: self.ana.view)
        await self.ana.submit({"answer": words})
        self.story.tell("answers", what=words, step=value.split("|")[1])
        await self._sign("answers", lambda: ("answer", value) not in _buttons(card))

    async def _fast_forward_to_window(self) -> None:
        """Speed the clock up from the announcement of a maintenance until shortly before its window."""
        team, clock = self.sandbox.slack.channel(TEAM), self.sandbox.clock

        def announced() -> float | None:
            matches = (MAINTENANCE.search(message.all_text()) for message in team.messages.values())
            return next((float(match[1]) for match in matches if match), None)

        begins = datetime.fromtimestamp(await wait_for_sign(self.story, "hours_pass", announced, RUN_TIMEOUT), UTC)
        self.story.tell("hours_pass", until=f"{begins:%Y-%m-%d %H:%M}")
        before = clock.speed
        try:
            while (left := (begins - WINDOW_LEAD - clock.now()).total_seconds()) > 0:
                # Ever slower, so that a busy machine that checks the clock seconds late does not miss the window.
                clock.speed = max(before, min(FAST_SPEED, left / MAX_LAG))
                await asyncio.sleep(0.05)
        finally:
            clock.speed = before

    async def _inject(self) -> None:
        await self._type("/drill inject")
        await self.bruno.run("/incident ack", self.channel.name)
        await self.bruno.run("/incident update Lo vemos; más noticias en 15 min", self.channel.name)

    async def _decide(self, card: Message, value: str, step: str) -> None:
        if step == self.exercise.reject:
            await self._press_as("reject", card, value, self.exercise.approvers[:1])
            return
        await self._press_as("approve", card, value, self.exercise.approvers)
        if words := self.exercise.respond.get(step):
            await self._respond(words, value.partition("|")[0])
        if words := self.exercise.interrupt.get(step):
            await self._interrupt(words)

    async def _respond(self, words: str, drill: str) -> None:
        """Bruno runs a command of his own and reports the mitigation when it has ended."""
        await self.bruno.run(words, self.channel.name)
        self.story.tell("typed", who="Bruno", what=words)
        message, _ = await self._sign("under_way", lambda: self._run_message([drill]))
        while any(action == "cancel_run" for action, _ in _buttons(message)):  # noqa: ASYNC110 - seen in Slack
            await asyncio.sleep(0.05)
        await self.bruno.run("/incident mitigate", self.channel.name)
        self.story.tell("typed", who="Bruno", what="/incident mitigate")

    async def _interrupt(self, words: str) -> None:
        """Bruno types a command in the team's channel while Litmus breaks something; the clock waits for him."""
        kubernetes, clock = self.sandbox.kubernetes, self.sandbox.clock
        await self._sign("under_way", lambda: kubernetes.store.all(CHAOS_RESULT, NAMESPACE), run="Litmus")
        before = clock.speed
        clock.speed = 1.0
        try:
            await self.bruno.run(words, TEAM)
            self.story.tell("typed", who="Bruno", what=words)
            await self._sign("under_way", self._is_stopped, run="Litmus")
        finally:
            clock.speed = before

    def _is_stopped(self) -> bool:
        engines = self.sandbox.kubernetes.store.all(CHAOS_ENGINE, NAMESPACE)
        return any(engine["spec"]["engineState"] == "stop" for engine in engines)

    async def _press_as(self, action: str, card: Message, value: str, handles: Sequence[str]) -> None:
        """Press a button of a card, one person after the other, for as long as the card has it."""

        def words() -> str | None:
            buttons = (e for _, e in card.elements() if e["action_id"] == action and e.get("value") == value)
            return next((str(button["text"]["text"]) for button in buttons), None)

        for handle in handles:
            if not (text := words()):
                return
            person = Person(self.sandbox.slack, handle)
            if person.id not in self.channel.members:
                await person.join(self.channel.name)
            await person.press(card, action, value)
            self.story.tell("presses", who=person.user.real_name, button=text, step=value.split("|")[1])
        await self._sign("decided", lambda: not words())

    async def _type(self, words: str) -> None:
        await self.ana.run(words, self.channel.name)
        self.story.tell("typed", who="Ana", what=words)

    def _run_message(self, known: Sequence[str]) -> tuple[Message, str] | None:
        """Return the newest message about the state of a run, and the run's id, which is none of the `known` ones."""
        for message in reversed(self.channel.messages.values()):
            match = RUN.search(message.text) if message.all_text().startswith("📒") else None
            if match and match[0] not in known and message.ephemeral_to is None:
                return message, match[0]
        return None


def _buttons(message: Message) -> list[tuple[str, str]]:
    """Return the action and the value of each button of a message."""
    return [(str(element["action_id"]), str(element.get("value", ""))) for _, element in message.elements()]


async def _wait_until(condition: Callable[[], T | None]) -> T:
    while not (result := condition()):  # noqa: ASYNC110 - GitHub has no event for it
        await asyncio.sleep(0.05)
    return result
