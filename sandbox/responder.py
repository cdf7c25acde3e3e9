"""The scripted people of the demo: they send the same signed requests as anybody would, and wait for the effects."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sandbox import yaml_file
from sandbox.alertmanager.backend import Alertmanager
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.github.state import Issue
from sandbox.pagerduty.shapes import integration_reference
from sandbox.pagerduty.state import Incident as Page
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import load_scenario

T = TypeVar("T")

STORY = Path(__file__).with_name("story.yaml")
TEAM = "tamv-incidents"
UPDATES = "tamv-avisos"
TOLD = ("SEV1", "SEV2")  # severities of which stakeholders are told
SIGN_TIMEOUT = 15.0  # real seconds, for what the bot does at once
ALERT_TIMEOUT = 20 * 60.0  # world seconds until an alert fires or resolves
ROUGH_NIGHT = "rough-night"
SECOND_URL = "https://alertmanager-b.tamv.world"
SECOND_WAITS = timedelta(seconds=60)  # its clock and its configuration are its own
AWAY_SECONDS = 60.0  # of the world, counted from the first notification


class SignMissing(Exception):
    """An expected sign of the bot's work did not come in time."""


class Story:
    """Narrates a play: the world's time and a sentence of `story.yaml` in one language."""

    def __init__(self, clock: Clock, scenario: str, language: str, say: Callable[[str], None]) -> None:
        self.language = language
        self._scenario = scenario
        self._clock = clock
        self._say = say

    def tell(self, sentence: str, **facts: object) -> None:
        self._say(f"{self._clock.now():%H:%M:%S}  {self.sentence(sentence, **facts)}")

    def sentence(self, sentence: str, **facts: object) -> str:
        return str(self._words["told"][sentence][self.language]).format(**facts)

    def own(self, key: str) -> str:
        """Return a text of this scenario."""
        return str(self._words["scenarios"][self._scenario][key][self.language])

    @property
    def commands(self) -> list[str]:
        """The commands that fix this scenario, one after the other."""
        given = self._words["scenarios"][self._scenario]["command"]
        return [given] if isinstance(given, str) else list(given)

    @property
    def reverted(self) -> int:
        """How many of the commands do not last, the first ones: something else puts back what they do."""
        return int(self._words["scenarios"][self._scenario].get("reverted", 0))

    def missed(self, sentence: str, **facts: object) -> str:
        what = str(self._words["told"][sentence][self.language]).format_map(defaultdict(lambda: "…", facts))
        return str(self._words["missed"][self.language]).format(what=what)

    @cached_property
    def _words(self) -> Mapping[str, Any]:
        words: Mapping[str, Any] = yaml_file.read(STORY)
        return words


async def respond(sandbox: Sandbox, scenario: str, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play an incident from the alert to the completed report and return its id.

    Raises SignMissing when a sign of the bot's work does not come in time.
    """
    story = Story(sandbox.clock, scenario, language, say)
    played_scenario = load_scenario(scenario)
    story.tell("begins", title=getattr(played_scenario.title, language), story=getattr(played_scenario.story, language))
    sandbox.world.play(played_scenario)
    response = await wait_for_declaration(sandbox, story)
    await response.play()
    return response.incident


async def wait_for_declaration(sandbox: Sandbox, story: Story) -> Response:
    """Wait for the incident that the alert opens, and for its channel."""
    slack = sandbox.slack
    team = slack.channel(TEAM)
    timeout = ALERT_TIMEOUT / sandbox.clock.speed + SIGN_TIMEOUT
    headline = await wait_for_sign(story, "declared", lambda: _message_with(team, "INC-"), timeout)
    text = headline.all_text()
    incident = text[text.index("INC-") :][:13]
    story.tell("declared", incident=incident, team=team.name, severity=text[text.index("SEV") :][:4])

    def opened() -> Channel | None:
        return next((c for c in slack.channels.values() if c.name.startswith(incident.lower())), None)

    channel = await wait_for_sign(story, "opened", opened)
    return Response(sandbox, story, incident, channel, Person(slack, "ana"), Person(slack, "bruno"))


@dataclass(frozen=True)
class Response:
    """Ana and Bruno in the channel of one incident. Each method waits for the signs of the bot's work."""

    sandbox: Sandbox
    story: Story
    incident: str
    channel: Channel
    ana: Person
    bruno: Person

    async def play(self) -> None:
        """Respond until the report is complete."""
        await self.take_command()
        await self.inform()
        await self.recover()
        await self.follow_up()
        await self.resolve()
        await self.complete()

    async def take_command(self) -> None:
        both, name = {self.ana.id, self.bruno.id}, self.channel.name
        await self._sign(
            "opened", lambda: both <= set(self.channel.members) and self._button("take_command"), channel=name
        )
        self.story.tell("opened", channel=name)
        page = await self._sign("paged", lambda: self._page("triggered"))
        self.story.tell("paged", service=self.sandbox.pagerduty.services[page.service].name, key=page.key)
        await self._sign("measured", lambda: self._files(".png"))
        self.story.tell("measured", charts=self._files(".png"))
        button = await self._press("take_command", self.ana)
        await self._sign("command", lambda: self._posted("👀") and self._page("acknowledged"), button=button)
        self.story.tell("command", button=button)
        button = await self._fill_in("post_update", self.ana, text=self.story.own("update"))
        await self._sign("update", lambda: self._posted("📣"), button=button)
        self.story.tell("update", button=button)

    async def inform(self) -> None:
        """Publish the draft for stakeholders, if the severity asks for one."""
        updates = next((c for c in self.sandbox.slack.channels.values() if c.name == UPDATES), None)
        headline = _message_with(self.sandbox.slack.channel(TEAM), self.incident)
        if updates is None or headline is None or not any(level in headline.all_text() for level in TOLD):
            return
        while not await self._publish(updates):  # a draft that the incident has overtaken makes way for a newer one
            continue

    async def _publish(self, updates: Channel) -> bool:
        """Press the newest draft, and return whether it was still current. Who does not answer in time loses it."""
        person, draft, button = await self._sign("informed", self._draft, who="Ana", channel=updates.name, button="…")
        facts: dict[str, Any] = {"who": person.user.real_name.split()[0], "channel": updates.name, "button": button}
        text = draft.all_text().splitlines()[1].removeprefix("> ")
        await person.press(draft, "publish_notice")
        await self._sign("informed", lambda: not list(draft.elements()), **facts)
        if _message_with(updates, text) is None:
            return False
        self.story.tell("informed", **facts)
        return True

    async def recover(self) -> None:
        """Remove the cause, and mitigate when the alerts have resolved."""
        if self.sandbox.has_cluster:
            for number, command in enumerate(self.story.commands):
                await self._run_command(command)
                if number < self.story.reverted:
                    await self._sign("put_back", lambda: self._posted("↩️"))
                    self.story.tell("put_back")
        else:
            self.sandbox.world.perform("fix")
            self.story.tell("mended", what=self.story.own("mended"))
        timeout = ALERT_TIMEOUT / self.sandbox.clock.speed + SIGN_TIMEOUT
        await self._sign("calm", lambda: self._all_resolved() and self._posted("🔕"), timeout)
        self.story.tell("calm")
        charts = self._files(".png")
        button = await self._press("mitigate", self.ana)
        await self._sign("mitigated", lambda: self._posted("🩹") and self._files(".png") > charts, button=button)
        self.story.tell("mitigated", button=button)
        await self.inform()

    async def _run_command(self, command: str) -> None:
        """Follow a run to its end; Bruno approves its requests."""
        ended = self._ended_runs()
        await self.ana.run(command, self.channel.name)
        self.story.tell("runs", command=command)
        timeout = 2 * ALERT_TIMEOUT / self.sandbox.clock.speed + SIGN_TIMEOUT
        while await self._sign("ran", lambda: self._button("approve") or self._ended_runs() - ended, timeout):
            if self._ended_runs() - ended:
                break
            button = await self._press("approve", self.bruno)
            self.story.tell("asks", button=button)
            await self._sign("asks", lambda: not self._button("approve"), button=button)
        self.story.tell("ran")

    async def follow_up(self) -> None:
        title = self.story.own("followup")
        button = await self._fill_in("open_followup", self.ana, title=title, labels="monitoring")
        issue = await self._sign("followup", lambda: self._issue(title), button=button)
        await self._sign("followup", lambda: self._posted(f"#{issue.number}"), button=button)
        self.story.tell("followup", button=button, number=issue.number, owner=", ".join(issue.assignees))

    async def resolve(self) -> None:
        await self.ana.run("/incident resolve", self.channel.name)
        await self._sign("resolved", lambda: self._posted("✅") and self._page("resolved"))
        self.story.tell("resolved")
        await self.inform()
        await self._sign("reported", lambda: self._files(".md") and self._files(".html"), 2 * SIGN_TIMEOUT)
        self.story.tell("reported")

    async def complete(self) -> None:
        """Fill in the form of the report's message with what only people know."""
        reports = self._files(".html")
        texts = {what: self.story.own(what) for what in ("summary", "primary", "contributing", "lessons")}
        button = await self._fill_in("complete_report", self.bruno, users="1240", revenue="$4,200", **texts)
        emojis = ("💥", "🔎")

        def completed() -> bool:
            return all(map(self._posted, emojis)) and self._files(".html") > reports

        await self._sign("completed", completed, 2 * SIGN_TIMEOUT, button=button)
        self.story.tell("completed", button=button)

    # What people do.

    async def _press(self, action: str, by: Person) -> str:
        """Press a button of the newest message that has it and return its text."""
        message, text = await self._sign("command", lambda: self._button(action), button=action)
        await by.press(message, action)
        return str(text)

    async def _fill_in(self, action: str, by: Person, **values: str) -> str:
        """Press a button that opens a form, and send the form with these values."""
        button = await self._press(action, by)
        await self._sign("command", lambda: by.view, button=button)
        await by.submit(values)
        return button

    # What can be seen.

    async def _sign(
        self, sentence: str, check: Callable[[], T | None], timeout: float = SIGN_TIMEOUT, **facts: object
    ) -> T:
        return await wait_for_sign(self.story, sentence, check, timeout, **facts)

    def _posted(self, sign: str) -> Message | None:
        return _message_with(self.channel, sign)

    def _button(self, action: str) -> tuple[Message, str] | None:
        return _button_in(self.channel, action)

    def _draft(self) -> tuple[Person, Message, str] | None:
        """Return who is asked to publish a notice to stakeholders, the draft, and the text of its button."""
        for person in (self.ana, self.bruno):
            for channel in self.sandbox.slack.channels.values():
                is_direct = channel.is_im and person.id in channel.members
                if is_direct and (found := _button_in(channel, "publish_notice")):
                    return person, *found
        return None

    def _ended_runs(self) -> set[str]:
        """Return the runs whose messages offer to undo them."""
        messages = self.channel.messages.values()
        return {e["value"] for message in messages for _, e in message.elements() if e["action_id"] == "undo_run"}

    def _files(self, ending: str) -> int:
        shared = (self.sandbox.slack.files[id] for m in self.channel.messages.values() for id in m.files)
        return sum(file.name.endswith(ending) for file in shared)

    def _all_resolved(self) -> bool:
        now = self.sandbox.clock.now()
        return all(alert.is_resolved(now) for alert in self.sandbox.alertmanager.alerts.values())

    def _page(self, status: str) -> Page | None:
        pages = self.sandbox.pagerduty.incidents.values()
        return next((page for page in pages if page.key == self.incident and page.status == status), None)

    def _issue(self, title: str) -> Issue | None:
        return next((issue for issue in self.sandbox.github.issues.values() if issue.title == title), None)


def _button_in(channel: Channel, action: str) -> tuple[Message, str] | None:
    """Return the newest message with this button, and the button's text."""
    for message in reversed(channel.messages.values()):
        for _, element in message.elements():
            if element["action_id"] == action and message.ephemeral_to is None:
                return message, element["text"]["text"]
    return None


def _message_with(channel: Channel, text: str) -> Message | None:
    """Return the first public message with this text."""
    visible = (message for message in channel.messages.values() if message.ephemeral_to is None)
    return next((message for message in visible if text in message.all_text()), None)


async def wait_for_sign(
    story: Story, sentence: str, check: Callable[[], T | None], timeout: float = SIGN_TIMEOUT, **facts: object
) -> T:
    """Return the first truthy value of `check`. Raises SignMissing after `timeout` real seconds."""
    try:
        async with deadline(timeout):
            while not (result := check()):  # noqa: ASYNC110 - it is seen in Slack, PagerDuty or GitHub
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise SignMissing(story.missed(sentence, **facts)) from None
    return result


# The rough night: two Alertmanagers, PagerDuty called by one of them, and a Slack that does not answer.


async def play_rough_night(sandbox: Sandbox, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play it from the alert to the completed report and return the incident's id.

    Raises SignMissing when a sign of the bot's work does not come in time.
    """
    story = Story(sandbox.clock, ROUGH_NIGHT, language, say)
    await begin_rough_night(sandbox, story)
    response = await wait_for_declaration(sandbox, story)
    await response.play()
    return response.incident


async def begin_rough_night(sandbox: Sandbox, story: Story) -> None:
    """Let it begin, and return when Slack is back. Raises SignMissing as above."""
    scenario = load_scenario(ROUGH_NIGHT)
    story.tell("begins", title=getattr(scenario.title, story.language), story=getattr(scenario.story, story.language))
    second = _second_alertmanager(sandbox)
    sandbox.world.play(scenario)
    first, timeout = sandbox.alertmanager, ALERT_TIMEOUT / sandbox.clock.speed + SIGN_TIMEOUT
    await wait_for_sign(story, "slack_away", lambda: first.alerts, timeout)
    away = sandbox.faults.add("slack", "drop_before", "*", times=None)
    since = sandbox.clock.now()
    story.tell("slack_away")
    try:
        await wait_for_sign(story, "paged_meanwhile", lambda: _delivered(first) and _paged(sandbox), timeout)
        story.tell("paged_meanwhile")
        await sandbox.clock.sleep(AWAY_SECONDS)
        await wait_for_sign(story, "told_again", lambda: _delivered(second), timeout)
        story.tell("told_again")
    finally:
        sandbox.faults.all.remove(away)
    story.tell("slack_back", seconds=round((sandbox.clock.now() - since).total_seconds()))


def _second_alertmanager(sandbox: Sandbox) -> Alertmanager:
    """Add an Alertmanager with the same route, so with equal group keys, that calls PagerDuty besides the bot."""
    first = sandbox.alertmanager
    route = replace(first.route, group_wait=SECOND_WAITS)
    second = Alertmanager(sandbox.clock, route, url=first.url, token=first.token, external_url=SECOND_URL)
    second.also_notify = lambda notification: _call_pagerduty(sandbox, notification)
    sandbox.alertmanagers.append(second)
    return second


def _call_pagerduty(sandbox: Sandbox, notification: dict[str, Any]) -> None:
    """Open or resolve the group's incident at PagerDuty, as Alertmanager's pagerduty_configs do."""
    pagerduty = sandbox.pagerduty
    service = pagerduty.company.pagerduty.services[0]
    agent = integration_reference(pagerduty, service)
    key = hashlib.sha256(notification["groupKey"].encode()).hexdigest()
    known = pagerduty.open_incident(key, service.id)
    if notification["status"] == "firing" and known is None:
        name = notification["commonLabels"].get("alertname", "alert")
        pagerduty.open(service, key, f"[FIRING:{len(notification['alerts'])}] {name}", agent)
    elif notification["status"] == "resolved" and known:
        pagerduty.resolve(known, agent)


def _delivered(alertmanager: Alertmanager) -> bool:
    return any(200 <= delivery.status < 300 for delivery in alertmanager.deliveries)


def _paged(sandbox: Sandbox) -> bool:
    """Return True if somebody was paged by the incident's own key."""
    return any(page.key.startswith("INC-") for page in sandbox.pagerduty.incidents.values())
