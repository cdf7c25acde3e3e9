"""Runbooks and drills, played by the scripted people: `exercises.yaml` says what they type and whom they refuse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from sandbox.colleagues import Colleagues
from sandbox.conditions import Condition
from sandbox.responder import SOON, Missed, Response, Story, sign
from sandbox.server import Sandbox
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import Action, Text

FILE = Path(__file__).with_name("exercises.yaml")
PATIENCE = 240.0  # seconds of ours until a run is given up, with the world's clock as the demo has it
HURRY = 3000.0  # seconds of the world in one of ours while a day is waited for
LATEST = 5.0  # seconds of ours that this may look at the clock late
ABOUT_TO = timedelta(minutes=20)
TEAM = "tamv-incidents"
MAINTENANCE = re.compile(r"🛠.*?<!date\^(\d+)\^", re.DOTALL)
RUN = re.compile(r"R-[0-9a-f]{6}")
STATES = {  # as the run's message says them
    "succeeded": Text(es="terminó bien", en="succeeded"),
    "failed": Text(es="falló", en="failed"),
    "undone": Text(es="se deshizo", en="undone"),
}


class Exercise(BaseModel):
    """One of the file's; the keys are explained there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    story: Text
    begin: str
    run: str | None = None
    world: list[Action] = []
    sandbox: list[Condition] = []
    github: Colleagues | None = None
    helm: bool = False
    approvers: tuple[str, ...] = ()
    reject: str | None = None
    leave: str | None = None
    respond: Mapping[str, str] = {}
    answers: Mapping[str, str] = {}
    hurry: bool = False
    ends: Literal["succeeded", "failed", "undone"]

    @property
    def is_drill(self) -> bool:
        return self.begin.startswith("/drill ")

    def prepare(self, sandbox: Sandbox) -> None:
        """Make it as it is before anybody types."""
        for action in self.world:
            action.act(sandbox.world)
        for condition in self.sandbox:
            condition.act(sandbox)


def exercises() -> Mapping[str, Exercise]:
    """All of them by name."""
    found = yaml.safe_load(FILE.read_text("utf-8"))
    return {name: Exercise.model_validate(one) for name, one in found.items()}


async def practise(sandbox: Sandbox, name: str, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play an exercise to its report; gives its incident's id.

    Raises Missed when a sign of the bot's work does not come in time, or the run ends otherwise than it should.
    """
    exercise = exercises()[name]
    story = Story(sandbox.clock, name, language, say)
    story.tell("begins", title=getattr(exercise.title, language), story=getattr(exercise.story, language))
    exercise.prepare(sandbox)
    slack = sandbox.slack
    before = set(slack.channels)
    ana = slack.person("ana")
    await ana.run(exercise.begin)

    def furnished() -> Channel | None:
        return next((one for one in slack.channels.values() if one.id not in before and one.pins), None)

    channel = await sign(story, "typed", furnished, 2 * SOON, who="Ana", what=exercise.begin)
    story.tell("typed", who="Ana", what=exercise.begin)
    incident = channel.name[:13].upper()
    practice = Practice(sandbox, story, incident, channel, ana, slack.person("bruno"), exercise)
    async with exercise.github.at_work(sandbox) if exercise.github else nullcontext():
        await practice.run()
    await practice.end()
    return incident


@dataclass(frozen=True)
class Practice(Response):
    """Ana and the others in the channel of an exercise."""

    exercise: Exercise

    async def run(self) -> None:
        """Let the run come to its end: say yes, no or nothing to what it asks."""
        if self.exercise.run:
            await self._type(self.exercise.run)
        message, run = await self._sign("under_way", self._progress)
        self.story.tell("under_way", run=run)
        handled: set[str] = set()
        hurry = asyncio.create_task(self._to_the_window()) if self.exercise.hurry else None
        try:
            async with asyncio.timeout(PATIENCE):
                while any(action == "cancel_run" for action, _ in _buttons(message)):
                    await self._attend(run, handled)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Missed(self.story.missed("ended", state="…")) from None
        finally:
            if hurry:
                hurry.cancel()
        wanted = getattr(STATES[self.exercise.ends], self.story.language)
        if wanted not in message.all_text():
            raise Missed(self.story.missed("ended", state=wanted))
        self.story.tell("ended", state=wanted)

    async def end(self) -> None:
        """A drill is stopped, which measures it; an emergency is resolved."""
        if self.exercise.is_drill:
            reply = await self.ana.run("/drill stop", self.channel.name)
            shown = await self._sign("stopped", lambda: [one.all_text() for one in reply.messages])
            self.story.tell("stopped")
            for line in "\n".join(shown).splitlines():
                if line.startswith(("✅", "❌", "▫️")):
                    self.story.tell("scored", line=line)
        else:
            await self._type("/incident resolve")
        await self._sign("closed", lambda: self._told("✅") and self._files(".md") and self._files(".html"), 3 * SOON)
        self.story.tell("closed")

    async def _attend(self, run: str, handled: set[str]) -> None:
        """Answer whatever waits now, each thing once."""
        for message in list(self.channel.messages.values()):
            for action, value in _buttons(message):
                if not value.startswith(f"{run}|") or value in handled or action not in ("approve", "answer"):
                    continue
                handled.add(value)
                step = value.split("|")[1]
                if action == "answer" and step in self.exercise.answers:
                    await self._answer(message, value, self.exercise.answers[step])
                elif action == "answer":
                    await self._begin_the_fault()
                elif step != self.exercise.leave:
                    await self._decide(message, value, step)

    async def _answer(self, card: Message, value: str, words: str) -> None:
        """Ana does what was asked for, and says so in the form."""
        if self.exercise.github:
            self.exercise.github.push(self.sandbox)
        await self.ana.press(card, "answer", value)
        await self._sign("answers", lambda: self.ana.view)
        await self.ana.submit({"answer": words})
        self.story.tell("answers", what=words, step=value.split("|")[1])
        await self._sign("answers", lambda: ("answer", value) not in _buttons(card))

    async def _to_the_window(self) -> None:
        """Once a maintenance is announced, hours pass in seconds until it is about to begin."""
        team, clock = self.sandbox.slack.channel(TEAM), self.sandbox.clock

        def announced() -> float | None:
            found = (MAINTENANCE.search(one.all_text()) for one in team.messages.values())
            return next((float(one[1]) for one in found if one), None)

        begins = datetime.fromtimestamp(await sign(self.story, "hours_pass", announced, PATIENCE), UTC)
        self.story.tell("hours_pass", until=f"{begins:%Y-%m-%d %H:%M}")
        before = clock.speed
        try:
            while (left := (begins - ABOUT_TO - clock.now()).total_seconds()) > 0:
                # Slower and slower: a busy machine that looks at the clock seconds late does not miss the window.
                clock.speed = max(before, min(HURRY, left / LATEST))
                await asyncio.sleep(0.05)
        finally:
            clock.speed = before

    async def _begin_the_fault(self) -> None:
        await self._type("/drill inject")
        await self.bruno.run("/incident ack", self.channel.name)
        await self.bruno.run("/incident update Lo vemos; más noticias en 15 min", self.channel.name)

    async def _decide(self, card: Message, value: str, step: str) -> None:
        if step == self.exercise.reject:
            await self._pressed("reject", card, value, self.exercise.approvers[:1])
            return
        await self._pressed("approve", card, value, self.exercise.approvers)
        if words := self.exercise.respond.get(step):
            await self._respond(words, value.partition("|")[0])

    async def _respond(self, words: str, drill: str) -> None:
        """Bruno runs something of his own; when it has ended, he says that it helped."""
        await self.bruno.run(words, self.channel.name)
        self.story.tell("typed", who="Bruno", what=words)
        message, _ = await self._sign("under_way", lambda: self._progress(but=drill))
        while any(action == "cancel_run" for action, _ in _buttons(message)):  # noqa: ASYNC110 - seen in Slack
            await asyncio.sleep(0.05)
        await self.bruno.run("/incident mitigate", self.channel.name)
        self.story.tell("typed", who="Bruno", what="/incident mitigate")

    async def _pressed(self, action: str, card: Message, value: str, handles: Sequence[str]) -> None:
        """Press a button of a card, one after the other, as long as it is there."""

        def words() -> str | None:
            found = (e for _, e in card.elements() if e["action_id"] == action and e.get("value") == value)
            return next((str(element["text"]["text"]) for element in found), None)

        for handle in handles:
            if not (text := words()):
                return
            person = self.sandbox.slack.person(handle)
            if person.id not in self.channel.members:
                await person.join(self.channel.name)
            await person.press(card, action, value)
            self.story.tell("presses", who=person.user.real_name, button=text, step=value.split("|")[1])
        await self._sign("decided", lambda: not words())

    async def _type(self, words: str) -> None:
        await self.ana.run(words, self.channel.name)
        self.story.tell("typed", who="Ana", what=words)

    def _progress(self, but: str = "") -> tuple[Message, str] | None:
        """The newest message that tells how a run stands, and the run, which is another than `but`."""
        for message in reversed(self.channel.messages.values()):
            found = RUN.search(message.text) if message.all_text().startswith("📒") else None
            if found and found[0] != but and message.ephemeral_to is None:
                return message, found[0]
        return None


def _buttons(message: Message) -> list[tuple[str, str]]:
    """The buttons of a message: action, and what they carry."""
    return [(str(one["action_id"]), str(one.get("value", ""))) for _, one in message.elements()]
