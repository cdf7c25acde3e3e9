"""Forecasts that come before anything is broken, played by the scripted people. `forecasts.yaml` has what climbs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from sandbox import yaml_file
from sandbox.exercise import STATES
from sandbox.responder import TEAM, Story, wait_for_sign
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Message
from sandbox.world.scenario import Load, Strict, Text

FILE = Path(__file__).with_name("forecasts.yaml")
STEP = 300.0  # world seconds between two values of `traffic`
HURRIED = 300.0  # world seconds in a real one while nobody has to do anything
FOLLOWED = 30.0  # the same while a run is under way: twenty minutes are left
PLAY_TIMEOUT = 240.0  # real seconds until a forecast, or its end, is given up
SIGN = "🔮"
DATE = re.compile(r"<!date\^[^|>]*\|\S+ ([^>]*)>")  # what Slack shows as a time, with what others show
STARTED = "run_predicted"  # the button of the runbook
ENDS = {  # in the bot's message
    "averted": Text(es="No llegó, y algo se cambió", en="It did not come, and something was changed"),
    "did_not": Text(es="No se cumplió", en="It did not come about"),
}


class Forecast(Strict):
    """One entry of the file, which explains the keys."""

    title: Text
    story: Text
    service: str
    begins: float = Field(ge=0)
    traffic: tuple[float, ...] = Field(min_length=1)
    run: bool
    ends: Literal["averted", "did_not"]

    def prepare(self, sandbox: Sandbox) -> None:
        """Let the traffic climb when its time has come."""
        world = sandbox.world
        world.advance()
        for number, factor in enumerate(self.traffic):
            action = Load(do="load", service=self.service, factor=factor)
            world.after(round((self.begins + number * STEP) * 1000), partial(world.act, [action]))


def load_forecasts() -> Mapping[str, Forecast]:
    """Return all forecasts by name."""
    return {name: Forecast.model_validate(entry) for name, entry in yaml_file.read(FILE).items()}


async def play_forecast(sandbox: Sandbox, name: str, *, say: Callable[[str], None], language: str = "es") -> None:
    """Play a forecast until the bot says what became of it.

    Raises SignMissing when a sign of the bot's work does not come in time, or it ends otherwise.
    """
    forecast = load_forecasts()[name]
    story = Story(sandbox.clock, name, language, say)
    story.tell("begins", title=getattr(forecast.title, language), story=getattr(forecast.story, language))
    forecast.prepare(sandbox)
    clock, before = sandbox.clock, sandbox.clock.speed
    message = await wait_for_forecast(sandbox, story)
    ended = getattr(ENDS[forecast.ends], language)
    if forecast.run:
        ana = Person(sandbox.slack, "ana")
        await wait_for_sign(story, "charted", lambda: _is_charted(sandbox, message))
        story.tell("charted")
        button = next(element["text"]["text"] for _, element in message.elements() if element["action_id"] == STARTED)
        await ana.press(message, STARTED)
        story.tell("presses", who=ana.user.real_name, button=button, step=forecast.service)
        clock.speed = FOLLOWED
        succeeded = getattr(STATES["succeeded"], language)
        await wait_for_sign(story, "ran", lambda: _has_ended(sandbox, succeeded), PLAY_TIMEOUT)
        story.tell("ran")
    clock.speed = HURRIED
    try:
        await wait_for_sign(story, "foretold", lambda: ended in message.all_text(), PLAY_TIMEOUT, line=ended)
    finally:
        clock.speed = before
    story.tell("foretold", line=_said(message))


async def wait_for_forecast(sandbox: Sandbox, story: Story) -> Message:
    """Let hours pass in seconds until the bot tells what it foresees; then time passes slowly enough for people.

    Raises SignMissing as above.
    """
    clock, team = sandbox.clock, sandbox.slack.channel(TEAM)
    before, clock.speed = clock.speed, HURRIED

    def told() -> Message | None:
        return next((one for one in team.messages.values() if SIGN in one.all_text()), None)

    try:
        message = await wait_for_sign(story, "foreseen", told, PLAY_TIMEOUT, line="…")
    finally:
        clock.speed = min(before, FOLLOWED)
    story.tell("foreseen", line=_said(message))
    return message


def _said(message: Message) -> str:
    """Return the first sentence of a message as people read it."""
    return DATE.sub(r"\1", message.all_text()).replace("*", "").removeprefix(SIGN).partition(". ")[0].strip()


def _is_charted(sandbox: Sandbox, about: Message) -> bool:
    """Return whether there is a picture in the thread of a message."""
    messages = sandbox.slack.channel(TEAM).messages.values()
    return any(one.files for one in messages if one.thread_ts == about.ts)


def _has_ended(sandbox: Sandbox, state: str) -> bool:
    """Return whether a run's message in the team's channel says that it has ended so."""
    texts = [message.all_text() for message in sandbox.slack.channel(TEAM).messages.values()]
    return any(text.startswith("📒") and state in text for text in texts)
