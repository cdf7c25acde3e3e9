"""The scripted people of the demo: they send the same signed requests as anybody would, and wait for the effects."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sandbox.clock import Clock
from sandbox.github.state import Issue
from sandbox.pagerduty.state import Incident as Page
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import load_scenario

T = TypeVar("T")

STORY = Path(__file__).with_name("story.yaml")
SOON = 15.0  # seconds of ours: what the bot does at once
A_WHILE = 20 * 60.0  # seconds of the world: until an alert fires, or calms down


class Missed(Exception):
    """What should have come about has not; in words."""


class Story:
    """Tells a played incident as it goes: the world's time, and a sentence of `story.yaml` in one language."""

    def __init__(self, clock: Clock, scenario: str, language: str, say: Callable[[str], None]) -> None:
        self.language = language
        self._scenario = scenario
        self._clock = clock
        self._say = say

    def tell(self, sentence: str, **facts: object) -> None:
        self._say(f"{self._clock.now():%H:%M:%S}  {self.sentence(sentence, **facts)}")

    def sentence(self, sentence: str, **facts: object) -> str:
        return str(self._words["told"][sentence][self.language]).format(**facts)

    def own(self, what: str) -> str:
        """What is special to this scenario."""
        return str(self._words["scenarios"][self._scenario][what][self.language])

    @property
    def command(self) -> str:
        """What is typed to mend this scenario."""
        return str(self._words["scenarios"][self._scenario]["command"])

    def missed(self, sentence: str, **facts: object) -> str:
        what = str(self._words["told"][sentence][self.language]).format_map(defaultdict(lambda: "…", facts))
        return str(self._words["missed"][self.language]).format(what=what)

    @cached_property
    def _words(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = yaml.safe_load(STORY.read_text("utf-8"))
        return found


async def respond(sandbox: Sandbox, scenario: str, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play an incident from the alert to the completed report; gives its id.

    Raises Missed when a sign of the bot's work does not come in time.
    """
    story = Story(sandbox.clock, scenario, language, say)
    played = load_scenario(scenario)
    story.tell("begins", title=getattr(played.title, language), story=getattr(played.story, language))
    sandbox.world.play(played)
    response = await _declared(sandbox, story)
    await response.take_up()
    await response.mend()
    await response.follow_up()
    await response.resolve()
    await response.complete()
    return response.incident


async def _declared(sandbox: Sandbox, story: Story) -> Response:
    """Wait for the incident that the alert makes, and for its channel."""
    slack = sandbox.slack
    team = slack.channel("tamv-incidents")
    headline = await sign(story, "declared", lambda: _holding(team, "INC-"), A_WHILE / sandbox.clock.speed + SOON)
    text = headline.all_text()
    incident = text[text.index("INC-") :][:13]
    story.tell("declared", incident=incident, team=team.name, severity=text[text.index("SEV") :][:4])

    def opened() -> Channel | None:
        return next((one for one in slack.channels.values() if one.name.startswith(incident.lower())), None)

    channel = await sign(story, "opened", opened)
    return Response(sandbox, story, incident, channel, Person(slack, "ana"), Person(slack, "bruno"))


@dataclass(frozen=True)
class Response:
    """Ana and Bruno in the channel of one incident. Each method waits until the bot has shown what it did."""

    sandbox: Sandbox
    story: Story
    incident: str
    channel: Channel
    ana: Person
    bruno: Person

    async def take_up(self) -> None:
        both, name = {self.ana.id, self.bruno.id}, self.channel.name
        await self._sign(
            "opened", lambda: both <= set(self.channel.members) and self._showing("take_command"), channel=name
        )
        self.story.tell("opened", channel=name)
        page = await self._sign("paged", lambda: self._page("triggered"))
        self.story.tell("paged", service=self.sandbox.pagerduty.services[page.service].name, key=page.key)
        await self._sign("measured", lambda: self._files(".png"))
        self.story.tell("measured", charts=self._files(".png"))
        button = await self._press("take_command", self.ana)
        await self._sign("command", lambda: self._told("👀") and self._page("acknowledged"), button=button)
        self.story.tell("command", button=button)
        button = await self._fill_in("post_update", self.ana, text=self.story.own("update"))
        await self._sign("update", lambda: self._told("📣"), button=button)
        self.story.tell("update", button=button)

    async def mend(self) -> None:
        """The cause goes. What is worth saying comes when the alerts have calmed down, and the figures with them."""
        if self.sandbox.has_cluster:
            await self._run(self.story.command)
        else:
            self.sandbox.world.perform("fix")
            self.story.tell("mended", what=self.story.own("mended"))
        await self._sign("calm", lambda: self._calm() and self._told("🔕"), A_WHILE / self.sandbox.clock.speed + SOON)
        self.story.tell("calm")
        charts = self._files(".png")
        button = await self._press("mitigate", self.ana)
        await self._sign("mitigated", lambda: self._told("🩹") and self._files(".png") > charts, button=button)
        self.story.tell("mitigated", button=button)

    async def _run(self, command: str) -> None:
        """A run to its end; Bruno approves whatever it asks."""
        await self.ana.run(command, self.channel.name)
        self.story.tell("runs", command=command)
        patience = 2 * A_WHILE / self.sandbox.clock.speed + SOON
        while await self._sign("ran", lambda: self._showing("approve") or self._showing("undo_run"), patience):
            if self._showing("undo_run"):
                break
            button = await self._press("approve", self.bruno)
            self.story.tell("asks", button=button)
            await self._sign("asks", lambda: not self._showing("approve"), button=button)
        self.story.tell("ran")

    async def follow_up(self) -> None:
        title = self.story.own("followup")
        button = await self._fill_in("open_followup", self.ana, title=title, labels="monitoring")
        issue = await self._sign("followup", lambda: self._issue(title), button=button)
        await self._sign("followup", lambda: self._told(f"#{issue.number}"), button=button)
        self.story.tell("followup", button=button, number=issue.number, owner=", ".join(issue.assignees))

    async def resolve(self) -> None:
        await self.ana.run("/incident resolve", self.channel.name)
        await self._sign("resolved", lambda: self._told("✅") and self._page("resolved"))
        self.story.tell("resolved")
        await self._sign("reported", lambda: self._files(".md") and self._files(".html"), 2 * SOON)
        self.story.tell("reported")

    async def complete(self) -> None:
        """What only people know, in the form that the report's message offers."""
        written = self._files(".html")
        typed = {what: self.story.own(what) for what in ("summary", "primary", "contributing", "lessons")}
        button = await self._fill_in("complete_report", self.bruno, users="1240", revenue="$4,200", **typed)
        told = ("💥", "🔎")
        await self._sign("completed", lambda: all(map(self._told, told)) and self._files(".html") > written, 2 * SOON,
                         button=button)  # fmt: skip
        self.story.tell("completed", button=button)

    # what people do

    async def _press(self, action: str, by: Person) -> str:
        """Press a button of the newest message that has it; gives what stands on it."""
        message, words = await self._sign("command", lambda: self._showing(action), button=action)
        await by.press(message, action)
        return str(words)

    async def _fill_in(self, action: str, by: Person, **values: str) -> str:
        """Press a button that opens a form, and send the form with these values."""
        button = await self._press(action, by)
        await self._sign("command", lambda: by.view, button=button)
        await by.submit(values)
        return button

    # what can be seen

    async def _sign(self, sentence: str, seen: Callable[[], T | None], patience: float = SOON, **facts: object) -> T:
        return await sign(self.story, sentence, seen, patience, **facts)

    def _told(self, sign: str) -> Message | None:
        return _holding(self.channel, sign)

    def _showing(self, action: str) -> tuple[Message, str] | None:
        """The newest message with this button, and the words on the button."""
        for message in reversed(self.channel.messages.values()):
            for _, element in message.elements():
                if element["action_id"] == action and message.ephemeral_to is None:
                    return message, element["text"]["text"]
        return None

    def _files(self, ending: str) -> int:
        shared = (self.sandbox.slack.files[id] for one in self.channel.messages.values() for id in one.files)
        return sum(file.name.endswith(ending) for file in shared)

    def _calm(self) -> bool:
        now = self.sandbox.clock.now()
        return all(alert.is_resolved(now) for alert in self.sandbox.alertmanager.alerts.values())

    def _page(self, status: str) -> Page | None:
        pages = self.sandbox.pagerduty.incidents.values()
        return next((page for page in pages if page.key == self.incident and page.status == status), None)

    def _issue(self, title: str) -> Issue | None:
        return next((issue for issue in self.sandbox.github.issues.values() if issue.title == title), None)


def _holding(channel: Channel, text: str) -> Message | None:
    """The first message that everybody sees and that holds this text."""
    shown = (message for message in channel.messages.values() if message.ephemeral_to is None)
    return next((message for message in shown if text in message.all_text()), None)


async def sign(story: Story, sentence: str, seen: Callable[[], T | None], patience: float = SOON, **facts: object) -> T:
    """What `seen` gives once it gives something; Missed after `patience` seconds of ours."""
    try:
        async with asyncio.timeout(patience):
            while not (found := seen()):  # noqa: ASYNC110 - it is seen in Slack, PagerDuty or GitHub
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Missed(story.missed(sentence, **facts)) from None
    return found
