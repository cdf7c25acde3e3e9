"""Play one run of a runbook in a sandbox of its own: approved, rejected, made to fail or killed as a test wants it."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from bot.domain.run import Approval, Run, StepState, base_step_id, is_undo
from bot.domain.runbook import Input, Runbook
from bot.store.database import Database
from bot.store.store import Store
from bot.team import TeamFile
from demo.bot_process import BotProcess, Pace, SharedClock, free_port
from demo.company import (
    company_of,
    create_workloads,
    healthy_endpoints,
    is_the_worlds,
    values_in_bounds,
    with_role_members,
)
from demo.environment import sandbox_settings
from demo.interceptor import Asked, Interceptor
from sandbox.deadline import deadline
from sandbox.exercise import Exercise, load_exercises
from sandbox.kubernetes.seed import write_charts
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from sandbox.slack.state import Message

FAST = 300.0  # world seconds in one of ours
FASTEST = 20_000.0  # while a run waits for hours to pass
AT_HAND = 1.0  # while somebody is asked, so that no approval expires meanwhile
LEAD = timedelta(minutes=20)  # before a window opens the clock is at its usual speed again
MAX_LAG = 5.0  # real seconds that a check of the clock may be late
RUN_SECONDS = 180.0  # of a whole core, for one run
ANSWER_SECONDS = 20.0
POLL_SECONDS = 0.05
ENDED = {StepState.DONE, StepState.SKIPPED, StepState.FAILED, StepState.UNDONE, StepState.CANCELLED}
RUN_ID = re.compile(r"R-[0-9a-hjkmnp-tv-z]{6,}")
EVENTS = {"app_home_opened", "member_joined_channel", "reaction_added"}  # as app.yaml says


class Kind(StrEnum):
    """What is tested of a runbook."""

    SUCCEEDS = "succeeds"
    REJECTED = "rejected"
    FAILS = "fails"
    KILLED = "killed"


@dataclass(frozen=True)
class Case:
    """One play of a runbook: which step is rejected or fails, or at which request or change the bot is killed."""

    runbook: str
    kind: Kind
    step: str | None = None
    changes_only: bool = False
    number: int = 0


@dataclass(frozen=True)
class Place:
    """Where runbooks are played: the team, its file in a copy of its folder, and what its settings are."""

    team: TeamFile
    file: Path
    locale: str
    incident_channel: str
    helm: str | None


@dataclass
class Played:
    """How a run ended, which steps were asked for, and what each step asked of the services."""

    run: Run | None = None
    approvals: dict[str, bool] = field(default_factory=dict)  # step → True if it asked for an answer
    asked: Asked = field(default_factory=Asked)
    refused: int = 0
    killed: bool = False
    followed: bool = False  # the runbook for its failure was started
    problem: CannotPlay | None = None  # why it could not be played to its end


class CannotPlay(Exception):
    """The run cannot be played to its end; `part` and `facts` say why, as in the template runbook_test."""

    def __init__(self, part: str, **facts: object) -> None:
        super().__init__(f"{part}: {facts}")
        self.part, self.facts = part, facts


def copy_folder(team: TeamFile, folder: Path) -> Path:
    """Copy the team's folder; where its services are the sandbox's own, with the charts of their releases."""
    shutil.copytree(team.folder, folder)
    if is_the_worlds(team):
        write_charts(folder / "charts")
    return folder


async def play(place: Place, runbook: Runbook, case: Case, folder: Path) -> Played:
    """Play the case in an empty folder, which holds its database and its bot's log."""
    played = Played()
    try:
        async with AsyncExitStack() as stack:
            run = await stack.enter_async_context(_run_of(place, runbook, case, folder, played))
            async with deadline(RUN_SECONDS):
                await run.play()
    except CannotPlay as problem:
        played.problem = problem
    except TimeoutError:
        played.problem = CannotPlay("not_in_time", step=_current(played.run))
    except RuntimeError as problem:
        played.problem = CannotPlay("problem", step=_current(played.run), why=str(problem))
    return played


@asynccontextmanager
async def _run_of(
    place: Place, runbook: Runbook, case: Case, folder: Path, played: Played
) -> AsyncIterator[RunbookRun]:
    clock, port = SharedClock(), free_port()
    company = company_of(place.team, place.incident_channel)
    sandbox = Sandbox(company, clock=clock)
    sandbox.slack.subscriptions = EVENTS
    exercise = load_exercises().get(runbook.name) if is_the_worlds(place.team) else None
    if exercise:
        exercise.prepare(sandbox)
    database_url = f"sqlite:///{folder}/bot.db"
    run: RunbookRun

    async def current_step() -> str | None:
        return await run.current_step()

    known = is_the_worlds(place.team)
    values = {} if known else values_in_bounds(place.team)
    healthy = {} if known else healthy_endpoints(place.team)
    interceptor = Interceptor(sandbox.app, current_step, values, healthy)
    sandbox.app = interceptor
    played.asked = interceptor.asked
    async with sandbox.serving() as url:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        settings = sandbox_settings(
            url,
            sandbox,
            database_url,
            place.locale,
            kubeconfig=str(kubeconfig),
            team_dir=None,
            bot_config=str(place.file),
            incident_channel=place.incident_channel,
            helm=place.helm,
            host="127.0.0.1",
            port=port,
            alertmanager_webhook_token=None,  # no alert becomes an incident
        )
        bot = BotProcess(settings, clock, folder / "bot.log")
        database = Database(database_url)
        run = RunbookRun(sandbox, bot, interceptor, Store(database, "runbook test"), place, runbook, case, played)
        run.exercise = exercise
        run.pace = Pace(clock, FAST)
        pacing = asyncio.create_task(run.pace.keep(), name="pace")
        try:
            await create_workloads(url, place.team)
            await bot.start()
            sandbox.slack.bot_url = bot.url
            sandbox.send_webhooks_to(bot.url)
            async with exercise.github.at_work(sandbox) if exercise and exercise.github else nullcontext():
                yield run
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, return_exceptions=True)
            clock.speed = 1.0
            bot.kill()
            await database.close()


@dataclass
class RunbookRun:
    """A run under way: who types, who decides, and what the case makes of it."""

    sandbox: Sandbox
    bot: BotProcess
    interceptor: Interceptor
    store: Store
    place: Place
    runbook: Runbook
    case: Case
    played: Played
    exercise: Exercise | None = None
    pace: Pace = field(init=False)
    _run_id: str | None = None
    _decided: set[tuple[str, str, datetime]] = field(default_factory=set)

    async def play(self) -> None:
        """Type the command, decide what is asked, and wait for the end. Raises CannotPlay."""
        case = self.case
        if case.kind is Kind.FAILS and case.step:
            self.interceptor.refuse(case.step, changes_only=case.changes_only)
        if case.kind is Kind.KILLED:
            self.interceptor.kill(self._kill, number=case.number, at_change=case.changes_only)
        self._run_id = await self._start()
        try:
            await self._play_to_its_end(self._run_id)
        finally:
            with suppress(Exception):
                self.played.run = await self.store.runs.get(self._run_id)
            self.played.refused, self.played.killed = self.interceptor.refused, self.interceptor.killed
        if isinstance(self.runbook.on_failure, str) and self.runbook.on_failure not in ("undo", "stop"):
            self.played.followed = bool(await self.store.runs.list_by_runbook(self.runbook.on_failure))

    async def current_step(self) -> str | None:
        """Return the step that is being played; None before the run and after its last step."""
        if self._run_id is None:
            return None
        run = await self.store.runs.get(self._run_id)
        if run.state.ended:
            return None
        return _current(run) or None

    async def _start(self) -> str:
        requester = Person(self.sandbox.slack, self._requester())
        commands, channel = self.place.team.commands.names(), self.place.incident_channel.removeprefix("#")
        if _speaks_of_an_incident(self.runbook):
            channel = await self._declare(requester, f"/{commands['incident']}", channel)
        inputs = " ".join(f"{name}={_quoted(value)}" for name, value in self._inputs().items())
        reply = await requester.run(f"/{commands['runbook']} run {self.runbook.name} {inputs}".strip(), channel)

        def said() -> str:
            return " ".join(f"{one.text} {one.all_text()}" for one in reply.messages)

        with suppress(TimeoutError):
            return (await self.sandbox.slack.wait_for(lambda: RUN_ID.search(said()), ANSWER_SECONDS))[0]
        raise CannotPlay("problem", step="", why=" ".join(said().split()))

    def _kill(self) -> None:
        """Kill the bot; the world waits for it to be back."""
        self.pace.speed = AT_HAND
        self.pace.apply()
        self.bot.kill()

    async def _declare(self, requester: Person, command: str, channel: str) -> str:
        """Declare an incident for the run and return its channel."""
        team, slack = self.place.team, self.sandbox.slack
        level = list(team.severities)[-1].value
        service = f" service={name}" if (name := usual_service(self.runbook, team)) else ""
        before = set(slack.channels)
        await requester.run(f"{command} declare {self.runbook.name} sev={level}{service}", channel)
        opened = await slack.wait_for(
            lambda: next((one for one in slack.channels.values() if one.id not in before and one.pins), None),
            ANSWER_SECONDS,
        )
        return opened.name

    def _requester(self) -> str:
        """Return who runs it: the responder with the fewest roles, so that the others can approve."""
        roles = with_role_members(self.place.team, self.sandbox.company).people_by_role()
        people = [person.slack for person in self.sandbox.company.people]
        able = [one for one in people if one in roles.get("responder", ())]
        if not able:
            raise CannotPlay("no_responder")
        return min(able, key=lambda one: (sum(one in members for members in roles.values()), people.index(one)))

    def _inputs(self) -> dict[str, str]:
        return example_inputs(self.runbook, self.place.team, self.exercise)

    # Until it ends.

    async def _play_to_its_end(self, run_id: str) -> None:
        while not (run := await self.store.runs.get(run_id)).state.ended:
            if self.interceptor.killed and not self.bot.is_running:
                await self.bot.start()
            elif not self.bot.is_running:
                raise RuntimeError(self.bot.last_words or "the bot ended")
            waiting = [one for one in await self.store.runs.waiting() if one.run_id == run_id]
            self.pace.speed = AT_HAND if waiting else self._speed(run)
            self.pace.apply()
            for approval in waiting:
                await self._decide(run, approval)
            await asyncio.sleep(POLL_SECONDS)

    def _speed(self, run: Run) -> float:
        """Return the speed of the clock: hours until a window opens pass in seconds."""
        step = next((one for one in run.steps if one.state is StepState.PERFORMING), None)
        begins = (step.parameters or {}).get("begins") if step else None
        if step is None or step.uses != "flow.window" or not begins:
            return FAST
        left = (datetime.fromisoformat(begins) - LEAD - self.sandbox.clock.now()).total_seconds()
        return max(FAST, min(FASTEST, left / MAX_LAG))

    async def _decide(self, run: Run, approval: Approval) -> None:
        """Press the button of an approval that nobody has pressed yet."""
        key = (approval.step_id, approval.digest, approval.asked_at)
        if key in self._decided:
            return
        value = f"{run.id}|{approval.step_id}|{approval.digest}"
        found = self._card(value)
        if found is None:
            return
        card, action = found
        answers = action == "answer"
        if not is_undo(approval.step_id):
            self.played.approvals[approval.step_id] = answers
        if self.case.kind is Kind.REJECTED and approval.step_id == self.case.step:
            await self._press(self._approvers(run, approval, 1)[0], card, "reject", value)
        elif answers:
            await self._answer(run, approval, card, value)
        else:
            approvers = self._approvers(run, approval, approval.needed)
            for person in approvers:
                await self._press(person, card, "approve", value)
            if response := self.exercise.respond.get(approval.step_id) if self.exercise else None:
                await approvers[0].run(response, self.sandbox.slack.channels[card.channel].name)
        self._decided.add(key)

    async def _answer(self, run: Run, approval: Approval, card: Message, value: str) -> None:
        if self.exercise and self.exercise.github:
            self.exercise.github.push(self.sandbox)
        requester = Person(self.sandbox.slack, run.by.id)
        await self._press(requester, card, "answer", value)
        await self.sandbox.slack.wait_for(lambda: requester.view, ANSWER_SECONDS)
        given = run.step(approval.step_id).parameters or {}
        question = Input(type=given.get("type", "string"), options=given.get("options") or [])
        known = self.exercise.answers.get(approval.step_id) if self.exercise else None
        text = known or given.get("default") or example_value(question, self.place.team)
        submitted = await requester.submit({"answer": text})
        if not submitted.ok:
            why = " ".join(submitted.errors.values()) or submitted.error
            raise CannotPlay("problem", step=approval.step_id, why=why)

    async def _press(self, person: Person, card: Message, action: str, value: str) -> None:
        channel = self.sandbox.slack.channels[card.channel]
        if person.id not in channel.members:
            await person.join(channel.name)
        with suppress(LookupError):  # it was drawn anew meanwhile
            await person.press(card, action, value)

    def _approvers(self, run: Run, approval: Approval, count: int) -> list[Person]:
        """Return so many people who may decide. Raises CannotPlay if the team does not have them."""
        roles = with_role_members(self.place.team, self.sandbox.company).people_by_role()
        asked_by = run.asked_by(approval.step_id).id
        able = [one.slack for one in self.sandbox.company.people if one.slack in roles.get(approval.role, ())]
        others = [one for one in able if one != asked_by]
        if len(others) < count:
            step, role = base_step_id(approval.step_id), approval.role
            raise CannotPlay("too_few_people", step=step, needed=approval.needed, role=role, others=len(others))
        return [Person(self.sandbox.slack, one) for one in others[:count]]

    def _card(self, value: str) -> tuple[Message, str] | None:
        """Return the message for everybody with this approval's button, and which button it is."""
        for channel in self.sandbox.slack.channels.values():
            if channel.is_im:
                continue
            for message in reversed(channel.messages.values()):
                if message.ephemeral_to is not None:
                    continue
                for _, element in message.elements():
                    if element.get("value") == value and element["action_id"] in ("approve", "answer"):
                        return message, element["action_id"]
        return None


def example_inputs(runbook: Runbook, team: TeamFile, exercise: Exercise | None = None) -> dict[str, str]:
    """Return values for the inputs that need one: of the sandbox's exercise, their example, or of their type."""
    given: dict[str, str] = {}
    if exercise and exercise.run:
        given = dict(re.findall(r"(\w+)=('[^']*'|\S+)", exercise.run))
        given = {name: value.strip("'") for name, value in given.items()}
    for name, spec in runbook.inputs.items():
        needs = spec.required or spec.type == "service" or "incident." in str(spec.default or "")
        has_default = spec.default is not None and "incident." not in str(spec.default)
        if name not in given and needs and not has_default:
            of_service = usual_service(runbook, team) if spec.type == "service" and spec.example is None else None
            given[name] = of_service or example_value(spec, team)
    return given


def usual_service(runbook: Runbook, team: TeamFile) -> str | None:
    """Return the service of the alerts that a runbook is proposed for, else the team's default one."""
    named = (trigger.labels.get(team.alerts.service_label) for trigger in runbook.triggers)
    first = next((name for name in named if name in team.services), None)
    return first or team.default_service or next(iter(team.services), None)


def example_value(spec: Input, team: TeamFile) -> str:
    """Return a valid value of an input or an answer."""
    if spec.example is not None:
        return str(spec.example).lower() if isinstance(spec.example, bool) else str(spec.example)
    match spec.type:
        case "integer" | "number":
            return "1"
        case "boolean":
            return "true"
        case "choice":
            return spec.options[0]
        case "service":
            return team.default_service or next(iter(team.services), "")
        case "environment":
            return next(iter(sorted(team.environments)), "production")
        case _:
            return "example"


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _speaks_of_an_incident(runbook: Runbook) -> bool:
    """Return True if a step needs an incident: it names one, or tells or pages somebody about one."""
    for step in runbook.steps:
        texts: list[Any] = [step.if_, step.with_]
        if "incident." in str(texts) or step.uses.startswith("pagerduty.") or step.uses == "slack.announce":
            return True
    return False


def _current(run: Run | None) -> str:
    """Return the step at which a run is; empty before it."""
    return next((step.id for step in run.steps if step.state not in ENDED), "") if run else ""
