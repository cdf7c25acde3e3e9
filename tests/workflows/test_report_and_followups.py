"""The report and the follow-ups carried out by the real engine, against the sandbox's Slack."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from dbos import DBOS

from bot.clock import WallClock
from bot.deps import Deps
from bot.domain.errors import Refused, Unavailable
from bot.domain.followup import FollowUp, FollowUpDraft, FollowUpState
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import BOT, Person
from bot.domain.timeline import Kind, TimelineEvent
from bot.integrations.github.github import GitHub, IssueDraft
from bot.integrations.pagerduty import OnCallCache
from bot.integrations.slack import Slack
from bot.messages.translations import load_translations
from bot.services.followups import FollowUpRequest, FollowUps
from bot.services.reports import Reports
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from bot.team import load_team
from bot.workflows.engine.durable import Workflow, start
from bot.workflows.engine.engine import Engine
from bot.workflows.reports.followups import file_followup, remind_followups
from bot.workflows.reports.report import write_report
from sandbox.deadline import deadline
from sandbox.github.state import TOKEN
from sandbox.server import Sandbox
from tests.domain.story import snapshot
from tests.services.test_followups import StillClock

ROOT = Path(__file__).parents[2]
ANA = Person("U0ANA00001", "Ana Torres")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def follow(deps: Deps, incident_id: str, seq: int) -> None:
    """What follows from an event, as far as it is looked at here."""
    event = await deps.store.incidents.event(incident_id, seq)
    if event.kind is Kind.FOLLOWUP_OPENED and event.facts["due"]:
        await start("file_followup", f"{event.facts['followup']}/file", event.facts["followup"])


WORKFLOWS: dict[str, Workflow] = {"event": follow, "write_report": write_report, "file_followup": file_followup}


@dataclass(frozen=True)
class Issue:
    number: int
    url: str
    assignees: tuple[str, ...]
    state: str = "open"


@dataclass
class Tracker:
    """GitHub's issues in memory: one for each key, whatever is asked how often; the troubles come first."""

    troubles: list[Exception] = field(default_factory=list)
    assignable: frozenset[str] = frozenset({"ana-torres", "bruno-diaz"})
    file: str | None = "/charts/* @tamv/DevTeam\n"
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    tries: int = 0

    async def codeowners(self) -> str | None:
        return self.file

    async def create_issue(self, key: str, draft: IssueDraft, *, since: datetime | None = None) -> Issue:
        self.tries += 1
        if self.troubles:
            raise self.troubles.pop(0)
        facts = asdict(draft)
        assigned = [login for login in draft.assignees if login in self.assignable]
        known = self.made.setdefault(key, facts | {"assignees": assigned})
        number = list(self.made).index(key) + 41
        url = f"https://github.com/tamv/tamv-platform/issues/{number}"
        return Issue(number, url, tuple(known["assignees"]))


@dataclass
class Here:
    deps: Deps
    engine: Engine
    sandbox: Sandbox
    incident: Incident

    @property
    def channel(self) -> str:
        assert self.incident.channel
        return self.incident.channel

    async def until(self, true: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
        async with deadline(seconds):
            while not (found := await true()):  # noqa: ASYNC110 - two programs meet here
                await asyncio.sleep(0.02)
        return found

    async def idle(self) -> bool:
        if await self.deps.store.outbox.pending():
            return False
        return not await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)

    async def events(self, kind: Kind) -> list[TimelineEvent]:
        return [one for one in await self.deps.store.incidents.timeline(self.incident.id) if one.kind is kind]

    async def followup(self, state: FollowUpState) -> FollowUp | None:
        return next(
            (one for one in await self.deps.store.followups.list_by_incident(self.incident.id) if one.state is state),
            None,
        )

    def said(self) -> list[str]:
        return [str(message.blocks) for message in self.sandbox.slack.channels[self.channel].messages.values()]

    def shared(self) -> list[list[str]]:
        messages = self.sandbox.slack.channels[self.channel].messages.values()
        return [[self.sandbox.slack.files[id].name for id in one.files] for one in messages if one.files]


@contextlib.asynccontextmanager
async def place(
    folder: Path, github: Tracker | Literal["sandbox"] | None = None, prometheus: Any = None
) -> AsyncIterator[Here]:
    url = f"sqlite:///{folder / 'bot.db'}"
    upgrade(url)
    store = Store(Database(url), "test")
    sandbox = Sandbox()
    async with sandbox.serving() as address:
        token = sandbox.slack.credentials.bot_token
        async with Slack(token, f"{address}/slack/api/", timeout=3) as slack:
            channel = (await slack.call("conversations.create", name="inc-2026-0001"))["channel"]["id"]
            clock = WallClock()
            tracker: Any = github
            if github == "sandbox":
                tracker = GitHub(TOKEN, "tamv/tamv-platform", f"{address}/github/api", seconds_between_writes=0)
            deps = Deps(
                clock=clock,
                team=load_team(ROOT / "teams/tamv/team.yaml"),
                store=store,
                words_by_locale=load_translations(),
                locale="es",
                incident_channel="#tamv-incidents",
                slack=slack,
                on_call=OnCallCache(None, clock),
                github=tracker,
                prometheus=prometheus,
            )
            incident, _ = await store.incidents.declare(
                lambda id: Incident.declare(
                    id, Declaration("Render lento", Severity.SEV2, by=ANA, at=NOW, service="xr-engine")
                ),
                NOW,
                idempotency_key="test",
            )
            incident, _ = await store.incidents.change(
                incident.id, lambda now: now.opened_in(channel, "inc-2026-0001", by=BOT, at=NOW)
            )
            engine = Engine(deps, WORKFLOWS, url)
            await engine.start()
            try:
                yield Here(deps, engine, sandbox, incident)
            finally:
                await engine.stop()
                await store.database.close()


async def report_written(here: Here, idempotency_key: str, times: int) -> None:
    await Reports(here.deps).enqueue(here.incident.id, idempotency_key=idempotency_key)
    await here.until(lambda: _count(here, times))


async def _count(here: Here, times: int) -> bool:
    return len(await here.events(Kind.REPORT_WRITTEN)) == times


async def test_the_report_is_kept_shown_and_handed_out_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await report_written(here, "c1", 1)
        document = await here.deps.store.documents.read(here.incident.id, f"{here.incident.id}.md")
        assert document and document.content.decode().startswith("# Render lento")
        page = await here.deps.store.documents.read(here.incident.id, f"{here.incident.id}.html")
        assert page and b'<html lang="es">' in page.content
        assert here.shared() == [[f"{here.incident.id}.md", f"{here.incident.id}.html"]]
        assert sum("Informe de INC" in text for text in here.said()) == 1
        # asked for twice by one delivery, and once more with nothing new to tell
        reports = Reports(here.deps)
        await reports.enqueue(here.incident.id, idempotency_key="c2")
        await reports.enqueue(here.incident.id, idempotency_key="c2")
        await here.until(here.idle)
        change = here.deps.store.incidents.change
        await change(here.incident.id, lambda now: now.note("Más", by=ANA, at=NOW))
        await report_written(here, "c3", 2)
        assert len(here.shared()) == 2
        assert sum("Informe de INC" in text for text in here.said()) == 1
        written = await reports.render(here.incident.id.lower())
        newest = await here.deps.store.documents.read(here.incident.id, f"{here.incident.id}.md")
        assert newest and written.markdown == newest.content.decode()


SNAPSHOTS = {
    "declared": snapshot(NOW + timedelta(minutes=1), 812, 41),
    "resolved": snapshot(NOW + timedelta(minutes=13), 190, 70),
}


async def test_figures_and_charts_of_the_snapshots(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        store, id = here.deps.store, here.incident.id
        for moment, one in SNAPSHOTS.items():
            await store.snapshots.add(f"{id}/snapshot/{moment}", id, one.at, one.to_json())
            facts = {"snapshot": f"{id}/snapshot/{moment}", "title": "Render 4D"}
            await store.incidents.change(
                id, partial(Incident.with_event, kind=Kind.SNAPSHOT_TAKEN, facts=facts, by=BOT, at=NOW)
            )
        written = await Reports(here.deps).render(id)
        assert "| Latencia p95 | \\> 500 ms | 180 ms | 812 ms 🔴 | 812 ms | 190 ms ✅ | mejor |" in written.markdown
        assert "(charts/resolved-latency_p95.png)" in written.markdown
        assert "charts/declared" not in written.markdown  # the last one's window holds all of it
        drawings = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", written.html)
        assert len(drawings) == 2 and "Latencia p95: 190 ms" in base64.b64decode(drawings[0]).decode()


async def test_the_last_incident_of_the_kind_is_compared(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        store = here.deps.store

        async def over(alert: str, hours_ago: float, minutes: float, *, drill: bool = False) -> Incident:
            began = NOW - timedelta(hours=hours_ago)
            facts = {"alert": alert} if alert else {}
            declaration = Declaration(
                "Antes", Severity.SEV2, by=ANA, at=began, service="xr-engine", drill=drill, facts=facts
            )
            key = f"{alert}{hours_ago}"
            incident, _ = await store.incidents.declare(
                lambda id: Incident.declare(id, declaration), began, idempotency_key=key
            )
            at = began + timedelta(minutes=minutes)
            await store.incidents.change(incident.id, lambda now: now.resolve(by=ANA, at=at))
            return incident

        await over("", 90, 99)
        same = await over("", 80, 40)
        await over("HighLatency", 30, 5)  # another alert
        await over("", 20, 5, drill=True)
        await store.incidents.change(here.incident.id, lambda now: now.resolve(by=ANA, at=NOW + timedelta(minutes=12)))
        text = (await Reports(here.deps).render(here.incident.id)).markdown
        assert f"La vez anterior, {same.id} (21 de noviembre de 2026): 40 min, esta vez 28 min menos;" in text
        assert "lo que más tardó entonces: atender." in text


async def test_the_report_waits_for_the_last_snapshot(tmp_path: Path) -> None:
    async with place(tmp_path, prometheus=object()) as here:
        store, id = here.deps.store, here.incident.id
        for moment, one in SNAPSHOTS.items():
            await store.snapshots.add(f"{id}/snapshot/{moment}", id, one.at, one.to_json())
        await store.incidents.change(id, lambda now: now.resolve(by=ANA, at=NOW))
        await Reports(here.deps).enqueue(id, idempotency_key="resolved")
        await asyncio.sleep(0.5)  # the snapshot takes its time
        assert await store.documents.names(id) == []
        facts = {"snapshot": f"{id}/snapshot/resolved", "moment": "resolved", "title": "Render 4D"}
        await store.incidents.change(id, lambda now: now.with_event(Kind.SNAPSHOT_TAKEN, facts, by=BOT, at=NOW))
        await here.until(lambda: _count(here, 1))
        document = await store.documents.read(id, f"{id}.md")
        assert document and "190 ms ✅" in document.content.decode()


async def test_reminders_are_sent_once_and_name_what_has_no_issue(tmp_path: Path) -> None:
    async with place(tmp_path, None) as here:
        late = replace(here.deps, clock=StillClock(datetime.now(UTC) + timedelta(days=15)))
        await _open(here, "Alertar de la memoria", owner="SRETeam")
        await here.until(lambda: _said(here, "GitHub no está configurado"))
        (followup,) = await here.deps.store.followups.list_by_incident(here.incident.id)
        for _ in range(2):
            assert await remind_followups(late, here.incident.id) == [{"followup": followup.id, "number": 3}]
        (text,) = [text for text in here.said() if "sigue pendiente" in text]
        assert "<!subteam^S0SRETEAM1>" in text and "hace 1 día" in text and "Todavía no está en GitHub" in text


@pytest.mark.parametrize("kind", ["drop_after", "status"])
async def test_files_whose_answer_was_lost_are_not_handed_out_twice(tmp_path: Path, kind: Any) -> None:
    async with place(tmp_path) as here:
        here.sandbox.faults.add("slack", kind, match="files.completeUploadExternal", status=503)
        await report_written(here, "c1", 1)
        assert here.shared() == [[f"{here.incident.id}.md", f"{here.incident.id}.html"]]


async def test_a_follow_up_becomes_an_issue_by_its_owners(tmp_path: Path) -> None:
    tracker = Tracker(assignable=frozenset({"carla-mendez"}))
    async with place(tmp_path, tracker) as here:
        await _open(here, "Alertar de la memoria", labels=["monitoring"])
        done = await here.until(lambda: here.followup(FollowUpState.FILED))
        assert (done.owner, done.number, done.due) == ("DevTeam", 41, done.due)
        (made,) = tracker.made.values()
        assert made["labels"] == ("incident-followup", "monitoring")
        assert made["assignees"] == ["carla-mendez"]
        assert "@tamv/DevTeam" in made["body"] and "Render lento" in made["body"]
        title, due = made["milestone"]
        assert isinstance(due, date) and title.startswith(str(done.due.year))
        (event,) = await here.events(Kind.FOLLOWUP_FILED)
        assert (event.facts["assignee"], event.facts["number"]) == ("carla-mendez", 41)


async def test_the_issue_in_the_sandboxs_github(tmp_path: Path) -> None:
    async with place(tmp_path, "sandbox") as here:
        await _open(here, "Alertar de la memoria | `x` <!channel>", owner="SRETeam", due="2026-12-31")
        done = await here.until(lambda: here.followup(FollowUpState.FILED))
        assert here.deps.github
        issue = await here.deps.github.issue(done.number)
        assert (issue.url, issue.assignees, issue.state) == (done.url, ("ana-torres",), "open")
        assert done.url and done.url.endswith(f"/issues/{done.number}")
        await file_again(here, done.id)
        assert len(await here.events(Kind.FOLLOWUP_FILED)) == 1


async def file_again(here: Here, followup_id: str) -> None:
    """What a reminder does for one without an issue; here it has one already."""
    await here.deps.store.outbox.enqueue_once(f"{followup_id}/file/1", "file_followup", [followup_id])
    here.engine.notify()
    await report_written(here, "after it", 1)  # owed later, so that one is done when this is


async def test_who_cannot_be_assigned_is_left_out_and_said(tmp_path: Path) -> None:
    tracker = Tracker(assignable=frozenset())
    async with place(tmp_path, tracker) as here:
        await _open(here, "Una", owner="SRETeam")
        await here.until(lambda: here.followup(FollowUpState.FILED))
        (event,) = await here.events(Kind.FOLLOWUP_FILED)
        assert event.facts["assignee"] is None and event.facts["not_assignable"] == "ana-torres"


async def test_github_refuses_and_the_channel_knows(tmp_path: Path) -> None:
    tracker = Tracker([Refused("refused", service="GitHub", why="Issues are switched off")])
    async with place(tmp_path, tracker) as here:
        await _open(here, "Una")
        await here.until(lambda: _said(here, "no se pudo crear en GitHub: GitHub lo rechazó: Issues are switched off."))
        assert await here.followup(FollowUpState.OPEN)


async def test_while_github_is_away_the_channel_knows_and_it_is_tried_again(tmp_path: Path) -> None:
    away = Unavailable("unreachable", service="GitHub", what="create", why="HTTP 503", retry_after=0.05)
    tracker = Tracker([away] * 12)
    async with place(tmp_path, tracker) as here:
        draft = FollowUpDraft("Una", owner="SRETeam")
        made = await here.deps.store.followups.open(here.incident.id, draft, by=ANA, at=NOW, idempotency_key="c1")
        await here.deps.store.outbox.enqueue_once("test/file", "file_followup", [made.id, 0.2])
        here.engine.notify()
        await here.until(lambda: here.followup(FollowUpState.FILED))
        assert await _said(here, "*Una* todavía no está en GitHub")
        assert not tracker.troubles and len(tracker.made) == 1


async def test_without_github_the_follow_up_is_kept_and_owned(tmp_path: Path) -> None:
    async with place(tmp_path, None) as here:
        await _open(here, "Una")
        await here.until(lambda: _said(here, "GitHub no está configurado"))
        followup = await here.followup(FollowUpState.OPEN)
        assert followup and followup.owner == "SRETeam"  # by the team's own file


async def test_a_path_is_whoever_owns_it(tmp_path: Path) -> None:
    tracker = Tracker(
        [Unavailable("unreachable", service="GitHub", what="create", why="HTTP 503")],
        file="/security/ @tamv/SecurityTeam",
    )
    async with place(tmp_path, tracker) as here:
        await _open(here, "Una", owner="security/rules.yaml")
        done = await here.until(lambda: here.followup(FollowUpState.FILED))
        assert done.owner == "SecurityTeam"
        assert tracker.tries == 2  # a hiccup is not worth a word
        assert not await _said(here, "todavía no está en GitHub")


async def _open(here: Here, title: str, **facts: Any) -> None:
    await FollowUps(here.deps).open(here.incident.id, FollowUpRequest(title, **facts), by=ANA, idempotency_key=title)


async def _said(here: Here, words: str) -> bool:
    return any(words in text for text in here.said())
