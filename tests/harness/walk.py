"""Random walks: alerts, people and PagerDuty act in any order while Slack refuses in any way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from dbos import DBOS
from hypothesis import strategies as st

from bot.domain.incident import Incident
from sandbox.deadline import deadline
from sandbox.faults import Fault
from sandbox.pagerduty.shapes import integration_reference
from sandbox.pagerduty.state import Incident as PagerDutyIncident
from sandbox.pagerduty.state import Problem
from tests.architecture.tree import ROOT
from tests.harness.alerts import BEARER, PATH, alert, notification
from tests.harness.scene import TEAM, WAITING, Scene

SPEED = 10.0  # of the world: the line about alerts is edited after half a second instead of five
LOOK_SECONDS = 0.25  # between two looks at what is left: each costs a query of all workflows
MET_SECONDS = 3.0
STILL = 45.0  # seconds without anything that moves: longer than any pause between two attempts
NOTHING: tuple[list[str], int, int] = ([], 0, 0)
PEOPLE = ("ana", "bruno")
SENDERS = ("http://alertmanager-eu:9093", "http://alertmanager-us:9093")
COMMANDS = (
    "ack", "note sigue igual", "update Vamos mejorando", "mitigate", "resolve", "reopen Ha vuelto", "severity SEV1",
    "severity SEV3", "role commander @bruno", "dismiss No era nada", "close",
)  # fmt: skip
BUTTONS = ("acknowledge", "take_command", "mitigate")
AT_PAGERDUTY = ("acknowledge", "resolve", "reopen", "note", "escalate", "reassign")

# How Slack refuses, by what is to be done about it: bot/integrations/slack_errors.py. Channels are really archived.
REFUSALS: dict[str, tuple[dict[str, Any], ...]] = {
    "again": (
        {"kind": "error", "match": "*", "error": "internal_error"},
        {"kind": "error", "match": "*", "error": "some_new_error"},
        {"kind": "status", "match": "*", "status": 503},
        {"kind": "ratelimit", "match": "chat.*"},
        {"kind": "nonsense", "match": "*"},
        {"kind": "drop_before", "match": "*"},
    ),
    "again, once an administrator has mended it": (
        {"kind": "error", "match": "*", "error": "token_revoked"},
        {"kind": "error", "match": "*", "error": "missing_scope"},
        {"kind": "error", "match": "conversations.*", "error": "restricted_action"},
        {"kind": "error", "match": "chat.*", "error": "not_in_channel"},
        {"kind": "error", "match": "chat.*", "error": "channel_not_found"},
    ),
    "elsewhere": (
        {"kind": "error", "match": "conversations.create", "error": "too_many_convos_for_team"},
        {"kind": "error", "match": "chat.update", "error": "edit_window_closed"},
        {"kind": "error", "match": "chat.update", "error": "cant_update_message"},
        {"kind": "error", "match": "bookmarks.add", "error": "too_many_bookmarks"},
    ),
    "differently": (
        {"kind": "error", "match": "chat.*", "error": "msg_too_long"},
        {"kind": "error", "match": "chat.*", "error": "invalid_blocks"},
        {"kind": "error", "match": "conversations.setTopic", "error": "too_long"},
        {"kind": "error", "match": "conversations.create", "error": "name_taken"},
        {"kind": "error", "match": "conversations.invite", "error": "cant_invite"},
    ),
    "look whether it was done": (
        {"kind": "drop_after", "match": "chat.postMessage"},
        {"kind": "drop_after", "match": "conversations.create"},
        {"kind": "drop_after", "match": "*"},
        {"kind": "slow_then_drop", "match": "chat.postMessage", "seconds": 0.2},
    ),
}


@dataclass(frozen=True)
class Declares:
    severity: str


@dataclass(frozen=True)
class Types:
    command: str
    which: int


@dataclass(frozen=True)
class Presses:
    button: str
    which: int


@dataclass(frozen=True)
class Splits:
    alert: int
    which: int


@dataclass(frozen=True)
class Notifies:
    """One of two Alertmanagers with equal group keys reports alerts, in one of two groups."""

    sender: int
    group: int
    alerts: tuple[int, ...]
    firing: bool
    severe: bool


@dataclass(frozen=True)
class Pages:
    """Somebody (or PagerDuty by itself) does something with a page there."""

    what: str
    which: int
    by_itself: bool


@dataclass(frozen=True)
class CallsFromOutside:
    """Something opens an incident in PagerDuty: for an alert group of ours, or for something else."""

    group: int | None


@dataclass(frozen=True)
class Refuses:
    """Slack refuses so many calls (None: all, until it is mended)."""

    kind: str
    number: int
    times: int | None

    def fault(self) -> dict[str, Any]:
        among = REFUSALS[self.kind]
        times = 1 if self.kind == "differently" else self.times  # else it would be a message that is taken in no form
        return {**among[self.number % len(among)], "times": times}


@dataclass(frozen=True)
class Mended:
    """Slack takes everything again."""


@dataclass(frozen=True)
class Archives:
    which: int
    again_open: bool


@dataclass(frozen=True)
class Waits:
    seconds: float


Move = Declares | Types | Presses | Splits | Notifies | Pages | CallsFromOutside | Refuses | Mended | Archives | Waits

_which = st.integers(0, 2)
_alerts = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True).map(tuple)
_declares = st.builds(Declares, st.sampled_from(("SEV1", "SEV2", "SEV3")))
_begins: st.SearchStrategy[Move] = _declares | st.builds(
    Notifies, st.integers(0, 1), st.integers(0, 1), _alerts, st.just(True), st.booleans()
)
_refuses = st.builds(Refuses, st.sampled_from(tuple(REFUSALS)), st.integers(0, 5), st.sampled_from((1, 2, 5, None)))
_acts: st.SearchStrategy[Move] = st.one_of(
    st.builds(Notifies, st.integers(0, 1), st.integers(0, 1), _alerts, st.booleans(), st.booleans()),
    st.builds(Types, st.sampled_from(COMMANDS), _which),
    st.builds(Presses, st.sampled_from(BUTTONS), _which),
    st.builds(Pages, st.sampled_from(AT_PAGERDUTY), _which, st.booleans()),
    st.builds(CallsFromOutside, st.none() | st.integers(0, 1)),
    st.builds(Splits, st.integers(0, 3), _which),
    st.builds(Archives, _which, st.booleans()),
    _declares,
)
_passes: st.SearchStrategy[Move] = st.builds(Waits, st.sampled_from((0.1, 0.4))) | st.just(Mended())
# Half of all walks begin while Slack refuses already, and every third step changes how it does.
walks: st.SearchStrategy[list[Move]] = st.builds(
    lambda refused, begin, others: [*refused, begin, *others],
    st.lists(_refuses, max_size=1),
    _begins,
    st.lists(st.one_of(_acts, _acts.map(lambda move: move), _refuses | _passes), min_size=1, max_size=6),
)


def team_folder(folder: Path) -> Path:
    """The team's folder without a brake for storms: many walks are no storm, and a second page is held for a moment."""
    made = folder / "team"
    shutil.copytree(ROOT / "teams" / "tamv", made)
    file = made / "team.yaml"
    team = yaml.safe_load(file.read_text("utf-8"))
    team["alerts"]["storm"] = {"incidents": 100_000, "within": "5s"}
    file.write_text(yaml.safe_dump(team, allow_unicode=True), encoding="utf-8")
    return made


@dataclass
class Walk:
    """One walk: what it calls its own holds its `tag`."""

    stage: Scene
    tag: str
    faults: list[Fault] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)  # the names of all alerts that were ever reported
    firing: dict[str, str] = field(default_factory=dict)  # those that fire, and since when

    async def go(self, steps: Sequence[Move]) -> None:
        """Take each step in turn; afterwards Slack refuses nothing any more."""
        for number, step in enumerate(steps):
            await self._take(step, number)
            if isinstance(step, Declares | Notifies) and not await self.incidents():
                await self.stage.until(self._heard)
        await self._mend()

    async def incidents(self) -> list[Incident]:
        """The incidents of this walk, oldest first."""
        known = await self.stage.bot.deps.store.incidents.recent(200)
        return sorted((one for one in known if self.tag in one.title), key=lambda one: one.id)

    async def _heard(self) -> bool:
        """The inbox is empty, so whatever it was about is there."""
        return await self.stage.bot.deps.store.deliveries.count_pending() == 0

    async def _take(self, step: Move, number: int) -> None:
        match step:
            case Declares(severity):
                await self._type(f"/incident declare {self.tag} a mano sev={severity} service=xr-engine", number)
            case Types(command, which):
                if incident := await self._incident(which):
                    await self._type(f"/incident {command} incident={incident.id}", number)
            case Presses(button, which):
                if incident := await self._incident(which):
                    await self._press(incident, button, number)
            case Splits(one, which):
                if incident := await self._incident(which):
                    await self._type(f"/incident split {self._name(one)} incident={incident.id}", number)
            case Notifies():
                await self._notify(step)
            case Pages(what, which, by_itself):
                if incident := await self._incident(which):
                    await self._page(incident, what, by_itself)
            case CallsFromOutside(group):
                self._call(group, number)
            case Refuses():
                self.faults.append(self.stage.sandbox.faults.add("slack", **step.fault()))
            case Mended():
                await self._mend()
            case Archives(which, again_open):
                self._archive(await self._incident(which), again_open=again_open)
            case Waits(seconds):
                await asyncio.sleep(seconds)

    async def _incident(self, which: int) -> Incident | None:
        known = await self.incidents()
        return known[which % len(known)] if known else None

    async def _mend(self) -> None:
        """Slack refuses nothing any more, once each refusal was met, or nothing can meet it."""
        with contextlib.suppress(TimeoutError):
            async with deadline(MET_SECONDS):
                while self._waits_to_be_met() and await left_to_do(self.stage) != NOTHING:  # noqa: ASYNC110 - any of many
                    await asyncio.sleep(LOOK_SECONDS)
        for fault in self.faults:
            fault.times = fault.used
        self.faults.clear()

    def _waits_to_be_met(self) -> bool:
        return not all(fault.met.is_set() for fault in self.faults)

    async def _type(self, text: str, number: int) -> None:
        """Without an answer (None: the machine was too busy) it may have been taken or not."""
        reply = await self.stage.person(PEOPLE[number % 2]).run(text, TEAM)
        assert reply.status in (200, None), (text, reply.status)

    async def _press(self, incident: Incident, button: str, number: int) -> None:
        """On the headline, if it is there and has the button."""
        for message in list(self.stage.slack.channel(TEAM).messages.values()):
            if incident.id in message.text and any(one["action_id"] == button for _, one in message.elements()):
                reply = await self.stage.person(PEOPLE[number % 2]).press(message, button)
                assert reply.status in (200, None), (button, reply.status)
                return

    def _name(self, alert: int) -> str:
        return f"{self.tag}A{alert}"

    def _group(self, group: int) -> str:
        return f'{{}}:{{alertname="{self.tag}", group="{group}"}}'

    async def _notify(self, step: Notifies) -> None:
        now, status = datetime.now(UTC).isoformat(), "firing" if step.firing else "resolved"
        alerts = []
        for one in step.alerts:
            name, severity = self._name(one), "critical" if step.severe else "warning"
            made = alert(
                f"{self.tag}-{one}", status=status, summary=f"{self.tag} sube", alertname=name, severity=severity
            )
            if step.firing:
                began = self.firing.setdefault(name, now)
                self.fired.add(name)
            else:
                began = self.firing.pop(name, now)
            alerts.append(made | {"startsAt": began, "endsAt": made["endsAt"] if step.firing else now})
        body = notification(
            *alerts, groupKey=self._group(step.group), externalURL=SENDERS[step.sender], commonLabels={}, groupLabels={}
        )
        code, answer = await self.stage.post(PATH, body, BEARER)
        assert code == 202, answer

    async def _page(self, incident: Incident, what: str, by_itself: bool) -> None:
        pagerduty = self.stage.sandbox.pagerduty
        page = next((one for one in reversed(pagerduty.incidents.values()) if one.key == incident.id), None)
        if page is None or (what == "reopen" and self._has_other(page)):
            return
        bruno = pagerduty.person("bruno")
        with contextlib.suppress(Problem):  # it is resolved already, or not yet
            match what:
                case "acknowledge":
                    await bruno.acknowledge(page)
                case "resolve" if by_itself:
                    pagerduty.resolve(page, integration_reference(pagerduty, pagerduty.services[page.service]))
                case "resolve":
                    await bruno.resolve(page)
                case "reopen":
                    await bruno.reopen(page)
                case "note":
                    await bruno.note(page, "Lo miro")
                case "escalate":
                    await bruno.escalate(page, 2)
                case "reassign":
                    await bruno.reassign(page, "fran")

    def _has_other(self, page: PagerDutyIncident) -> bool:
        return any(
            one.key == page.key and one.is_open and one is not page
            for one in self.stage.sandbox.pagerduty.incidents.values()
        )

    def _call(self, group: int | None, number: int) -> None:
        pagerduty = self.stage.sandbox.pagerduty
        service = pagerduty.company.pagerduty.services[0]
        agent = integration_reference(pagerduty, service)
        key = notification_digest(self._group(group)) if group is not None else f"{self.tag}/{number}"
        if not pagerduty.open_incident(key, service.id):
            pagerduty.open(service, key, f"{self.tag} desde fuera", agent)

    def _archive(self, incident: Incident | None, *, again_open: bool) -> None:
        channel = self.stage.slack.channels.get(incident.channel or "") if incident else None
        if channel:
            change = self.stage.slack.unarchive if again_open else self.stage.slack.archive
            change(channel, self.stage.slack.user("ana"))


def notification_digest(group_key: str) -> str:
    """The dedup key by which Alertmanager calls PagerDuty for a group."""
    return hashlib.sha256(group_key.encode()).hexdigest()


async def settled(stage: Scene) -> None:
    """Wait until the bot and PagerDuty have nothing left to do; give up when nothing moves any more."""
    left = before = None
    try:
        async with deadline(STILL) as limit:
            while left != NOTHING:
                await stage.sandbox.pagerduty.deliverer.idle()
                left = await left_to_do(stage)
                moved = (len(stage.slack.calls), len(stage.sandbox.pagerduty.requests), left)
                if moved != before:
                    before = moved
                    limit.restart()
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"nothing moves any more, and this is left: {left}") from None


async def left_to_do(stage: Scene) -> tuple[list[str], int, int]:
    """The workflows that do not wait for a moment to come, and how much is in the inbox and in the outbox."""
    store = stage.bot.deps.store
    running = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
    busy = sorted(one.workflow_id for one in running if one.name not in WAITING)
    return busy, await store.deliveries.count_pending(), len(await store.outbox.pending())
