"""Follow-ups as a person asks for them, as GitHub ends them, and when somebody is reminded."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.deps import Deps
from bot.domain.errors import BadInput
from bot.domain.followup import FiledIssue, FollowUp, FollowUpState
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import Person
from bot.domain.timeline import Kind, first_broken_link
from bot.integrations.pagerduty import OnCallCache
from bot.integrations.slack import Slack
from bot.messages.translations import load_translations
from bot.services.followups import FollowUpRequest, FollowUps, read_due
from bot.settings import load_settings
from bot.store.database import Database
from bot.store.migrate import upgrade
from bot.store.store import Store
from bot.team import FollowUpPolicy, load_team
from bot.workflows.reports.followups import due_reminders, quarter
from handlers.sources.github import GitHub

ROOT = Path(__file__).parents[2]
CONTRACTS = Path(os.environ.get("CONTRACTS_DIR") or ROOT.parent / "shared/contracts")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a Tuesday
ANA = Person("U0ANA00001", "Ana Torres")
URL = "https://github.com/tamv/tamv-platform/issues/41"
GITHUB = GitHub(load_settings(slack_bot_token="xoxb-1", slack_signing_secret="s", github_webhook_secret="g"))


@dataclass
class StillClock:
    """A clock that stands where it was put."""

    at: datetime = NOW
    speed: float = 1.0

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@dataclass
class Here:
    deps: Deps
    followups: FollowUps
    incident: Incident
    woken: list[bool] = field(default_factory=list)

    async def kinds(self) -> list[Kind]:
        return [event.kind for event in await self.deps.store.incidents.timeline(self.incident.id)]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    url = f"sqlite:///{tmp_path / 'bot.db'}"
    upgrade(url)
    store = Store(Database(url), "test")
    clock = StillClock()
    deps = Deps(
        clock=clock,
        team=load_team(ROOT / "teams/tamv/team.yaml"),
        store=store,
        words_by_locale=load_translations(),
        locale="es",
        incident_channel="#tamv-incidents",
        slack=Slack("xoxb-not-used", "http://127.0.0.1:9/"),
        on_call=OnCallCache(None, clock),
    )
    incident, _ = await store.incidents.declare(
        lambda id: Incident.declare(
            id, Declaration("Render lento", Severity.SEV2, by=ANA, at=NOW, service="xr-engine")
        ),
        NOW,
        idempotency_key="test",
    )
    woken: list[bool] = []
    store.database.on_enqueued = lambda: woken.append(True)
    yield Here(deps, FollowUps(deps), incident, woken)
    await store.database.close()


async def filed(here: Here) -> FollowUp:
    """A follow-up that has become issue 41."""
    made = await here.followups.open(
        here.incident.id, FollowUpRequest("Alertar de la memoria"), by=ANA, idempotency_key="open"
    )
    await here.deps.store.followups.mark_filed(
        made.id, FiledIssue(41, URL, "ana-torres"), at=NOW, idempotency_key="filed"
    )
    return made


def told(action: str, *, number: int = 41, url: str = URL, login: str = "ana-torres") -> dict[str, Any]:
    return {"action": action, "issue": {"number": number, "html_url": url}, "sender": {"login": login}}


async def test_what_is_not_said_comes_from_the_teams_file(here: Here) -> None:
    made = await here.followups.open(
        here.incident.id, FollowUpRequest("  Alertar  de la memoria "), by=ANA, idempotency_key="c1"
    )
    assert made.title == "Alertar de la memoria"
    assert made.due == date(2026, 12, 8)
    assert made.labels == ("incident-followup",)
    assert made.owner is None  # found when it is filed
    assert (await here.kinds())[-1] is Kind.FOLLOWUP_OPENED
    assert here.woken == [True]


async def test_what_is_said(here: Here) -> None:
    made = await here.followups.open(
        here.incident.id,
        FollowUpRequest("Bajar límites", owner="@sreteam", due="2w", labels=["monitoring, gpu"]),
        by=ANA,
        idempotency_key="c1",
    )
    assert (made.owner, made.due) == ("SRETeam", date(2026, 12, 8))
    assert made.labels == ("incident-followup", "monitoring", "gpu")
    path = await here.followups.open(
        here.incident.id, FollowUpRequest("Carta", owner="/charts/xr-engine"), by=ANA, idempotency_key="c2"
    )
    assert (path.id, path.owner) == (f"{here.incident.id}/F2", "charts/xr-engine")


async def test_the_same_request_twice_is_one_follow_up(here: Here) -> None:
    first = await here.followups.open(here.incident.id, FollowUpRequest("Una"), by=ANA, idempotency_key="c1")
    again = await here.followups.open(here.incident.id, FollowUpRequest("Una"), by=ANA, idempotency_key="c1")
    assert first == again and here.woken == [True]
    assert (await here.kinds()).count(Kind.FOLLOWUP_OPENED) == 1


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"title": "  "}, "title_missing"),
        ({"title": "x" * 201}, "title_too_long"),
        ({"owner": "SREtem"}, "unknown_owner"),
        ({"due": "pronto"}, "due_wrong"),
        ({"due": "2026-11-23"}, "due_past"),
        ({"labels": ["x" * 51]}, "text_too_long"),
    ],
)
async def test_what_cannot_be_is_said_and_nothing_is_kept(here: Here, wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput) as mistake:
        await here.followups.open(
            here.incident.id, FollowUpRequest(**{"title": "Una"} | wrong), by=ANA, idempotency_key="c1"
        )
    assert mistake.value.key == key
    for words in here.deps.words_by_locale.values():
        assert words.error(mistake.value)
    assert await here.deps.store.followups.list_by_incident(here.incident.id) == []


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("2026-12-31", date(2026, 12, 31)),
        ("2026-11-24", date(2026, 11, 24)),
        ("14d", date(2026, 12, 8)),
        ("0d", date(2026, 11, 24)),
        ("2W", date(2026, 12, 8)),
        ("viernes", date(2026, 11, 27)),
        ("Friday", date(2026, 11, 27)),
        ("martes", date(2026, 12, 1)),
        ("mié", date(2026, 11, 25)),
    ],
)
def test_due_dates_as_people_write_them(typed: str, day: date) -> None:
    assert read_due(typed, NOW.date()) == day


async def handle(here: Here, event: str, payload: dict[str, Any], key: str) -> FollowUp | None:
    """What the webhook does with a body of GitHub's."""
    issue = GITHUB.read(event, payload)
    return await here.followups.handle(issue, key) if issue else None


async def test_a_closed_issue_is_done_and_told_once(here: Here) -> None:
    made = await filed(here)
    changed = await handle(here, "issues", told("closed"), "delivery-1")
    assert changed and (changed.state, changed.done_at) == (FollowUpState.DONE, NOW)
    assert await handle(here, "issues", told("closed"), "delivery-1") is None
    assert await handle(here, "issues", told("closed"), "delivery-2") is None
    timeline = await here.deps.store.incidents.timeline(here.incident.id)
    (event,) = [one for one in timeline if one.kind is Kind.FOLLOWUP_DONE]
    assert (event.by, event.facts["number"], event.facts["url"]) == (ANA, 41, URL)
    assert event.facts["followup"] == made.id
    assert first_broken_link(here.incident.id, timeline) is None


async def test_an_issue_opened_again_is_open_again(here: Here) -> None:
    made = await filed(here)
    assert await handle(here, "issues", told("reopened"), "d0") is None  # it was never done
    await handle(here, "issues", told("closed", login="stranger"), "d1")
    changed = await handle(here, "issues", told("reopened"), "d2")
    assert changed and (changed.id, changed.state, changed.done_at) == (made.id, FollowUpState.FILED, None)
    event = await here.deps.store.incidents.newest(here.incident.id, Kind.FOLLOWUP_DONE)
    assert event and event.by == Person("github:stranger", "stranger")


async def test_a_deleted_issue_waits_to_be_filed_again(here: Here) -> None:
    await filed(here)
    changed = await handle(here, "issues", told("deleted"), "d1")
    assert changed and (changed.state, changed.number, changed.url) == (FollowUpState.OPEN, None, None)


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("issues", told("opened")),
        ("issues", told("closed", number=42)),
        ("issues", told("closed", url="https://github.com/somebody/else/issues/41")),
        ("issue_comment", told("closed")),
        ("ping", {}),
    ],
)
async def test_everything_else_is_let_pass(here: Here, event: str, payload: dict[str, Any]) -> None:
    await filed(here)
    before = await here.kinds()
    assert await handle(here, event, payload, "d1") is None
    assert await here.kinds() == before


async def test_a_payload_that_is_not_githubs_is_refused(here: Here) -> None:
    with pytest.raises(BadInput) as mistake:
        await handle(here, "issues", {"action": "closed", "issue": {"number": "x"}}, "d1")
    assert mistake.value.key == "webhook_wrong" and mistake.value.facts["where"] == "issue.number"


async def test_githubs_recorded_payloads_are_understood(here: Here) -> None:
    recorded = CONTRACTS / "github/webhook-examples/issues.json"
    if not recorded.is_file():
        pytest.skip("the contract data is not here (CONTRACTS_DIR)")
    examples = [one for one in json.loads(recorded.read_text("utf-8")) if isinstance(one, dict)]
    closed = [one for one in examples if one.get("action") in ("closed", "reopened", "deleted")]
    assert closed
    for position, payload in enumerate(closed):
        assert await handle(here, "issues", payload, f"d{position}") is None  # none of them is ours


POLICY = FollowUpPolicy(owner="SRETeam")
OPENED = FollowUp("INC-1/F1", "INC-1", "x", "SRETeam", date(2026, 12, 8), (), FollowUpState.FILED, NOW)


@pytest.mark.parametrize(
    ("days", "number", "overdue"),
    [(0, None, False), (6.9, None, False), (7, 1, False), (13.9, 1, False), (14, 2, False), (14.6, 3, True),
     (20.9, 3, True), (21, 4, True), (70, 11, True)],
)  # fmt: skip
def test_reminders_come_every_week_and_the_day_after_it_was_due(days: float, number: int | None, overdue: bool) -> None:
    due = due_reminders([OPENED], NOW + timedelta(days=days), POLICY)
    assert [(one.number, one.overdue) for one in due] == ([] if number is None else [(number, overdue)])


def test_what_is_done_is_not_reminded_of() -> None:
    assert due_reminders([replace(OPENED, state=FollowUpState.DONE)], NOW + timedelta(days=70), POLICY) == []


@pytest.mark.parametrize(
    ("day", "name", "end"),
    [
        (date(2026, 1, 1), "2026-Q1", date(2026, 3, 31)),
        (date(2026, 6, 30), "2026-Q2", date(2026, 6, 30)),
        (date(2026, 9, 1), "2026-Q3", date(2026, 9, 30)),
        (date(2026, 12, 31), "2026-Q4", date(2026, 12, 31)),
    ],
)
def test_quarters(day: date, name: str, end: date) -> None:
    assert quarter(day) == (name, end)
