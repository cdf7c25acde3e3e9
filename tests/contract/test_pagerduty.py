"""The bot's PagerDuty client against the sandbox over HTTP, also when it fails in every way."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable
from bot.domain.on_call import OnCall
from bot.integrations.pagerduty import PageAlert, PagerDuty, verify_signature
from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.pagerduty.api import routes
from sandbox.pagerduty.backend import PagerDuty as Account
from sandbox.pagerduty.state import API_TOKEN, BOT
from sandbox.server import serving
from tests.contract.webapi import CONTRACTS

OPENED = datetime(2026, 11, 26, 21, tzinfo=UTC)  # half of a week's shift is over
KEY = "INC-2026-0001"


@dataclass
class World:
    """An account that is served, and a client of it."""

    account: Account
    faults: Faults
    base: str
    client: PagerDuty

    def another(
        self,
        api_token: str | None = API_TOKEN,
        routing_key: str | None = "",
        from_email: str | None = BOT.email,
        timeout: float = 5.0,
    ) -> PagerDuty:
        """A client that differs; an empty routing key stands for the right one."""
        key = self.account.routing_key("PSRE001") if routing_key == "" else routing_key
        return PagerDuty(
            api_token, key, from_email, f"{self.base}/pagerduty/api", f"{self.base}/pagerduty/events", timeout
        )

    def status(self, key: str = KEY) -> str:
        return self.account.incident(key).status

    async def page(self) -> None:
        await self.client.trigger(KEY, PageAlert("INC-2026-0001 SEV1 · slow", "critical", "xr-engine"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    account, faults = Account(load_company(), Clock(OPENED)), Faults()
    app = Starlette(
        routes=[Mount("/pagerduty", routes=routes(account))],
        middleware=[Middleware(FaultsMiddleware, faults=faults)],
    )
    async with serving(app) as base:
        world = World(account, faults, base, PagerDuty(None, None, None))
        world.client = world.another()
        yield world
    await account.aclose()


Act = Callable[[PagerDuty], Awaitable[object]]
PAGE: Act = lambda client: client.trigger(KEY, PageAlert("slow", "critical", "xr-engine"))  # noqa: E731
WHO: Act = lambda client: client.on_call("equipo-SRE-TAMV")  # noqa: E731
BOTH = pytest.mark.parametrize("act", [PAGE, WHO], ids=["page", "who"])


async def failure(act: Act, client: PagerDuty) -> BotError:
    with pytest.raises(BotError) as caught:
        await act(client)
    for secret in (API_TOKEN, str(client._routing_key)):
        assert secret not in str(caught.value) and secret not in repr(caught.value.facts)
    return caught.value


async def test_a_page_goes_its_way(world: World) -> None:
    await world.client.trigger(
        KEY,
        PageAlert(
            "x" * 2000,
            "critical",
            "xr-engine",
            details={"severity": "SEV1"},
            links=[{"href": "https://tamv.slack.com/archives/C1", "text": KEY}],
            component="render",
        ),
    )
    incident = world.account.incident(KEY)
    event = incident.alerts[0]
    assert event["payload"]["custom_details"] == {"severity": "SEV1"}
    assert (event["payload"]["component"], len(event["payload"]["summary"])) == ("render", 1024)
    assert event["links"][0]["text"] == KEY
    await world.client.acknowledge(KEY)
    assert world.status() == "acknowledged"
    await world.client.resolve(KEY)
    await world.client.resolve(KEY)
    assert world.status() == "resolved"


async def test_paging_twice_wakes_nobody_twice(world: World) -> None:
    await world.page()
    await world.page()
    assert len(world.account.incidents) == 1


async def test_another_team_is_paged_by_its_own_service(world: World) -> None:
    await world.client.trigger(f"{KEY}/AITeam", PageAlert("model", "error", "isabella-ai"), service="equipo-IA-TAMV")
    assert world.account.incident(f"{KEY}/AITeam").service == "PAI0001"
    await world.client.acknowledge(f"{KEY}/AITeam", service="equipo-IA-TAMV")
    assert world.status(f"{KEY}/AITeam") == "acknowledged"
    await world.client.resolve(f"{KEY}/AITeam", service="PAI0001")
    assert world.status(f"{KEY}/AITeam") == "resolved"


async def test_a_service_that_is_not_there_is_said(world: World) -> None:
    problem = await failure(
        lambda c: c.trigger(KEY, PageAlert("s", "error", "x"), service="equipo-Nadie"), world.client
    )
    assert (problem.key, problem.facts["name"]) == ("pagerduty_unknown", "equipo-Nadie")


@pytest.mark.parametrize("kind", ["hang", "nonsense", "drop_before", "status"])
async def test_a_page_goes_out_though_the_api_cannot_say_where_to(world: World, kind: str) -> None:
    world.faults.add("pagerduty", kind, "/api/*", times=None, seconds=3.0)  # type: ignore[arg-type]
    client = world.another(timeout=1.5)
    await client.trigger(KEY, PageAlert("model", "error", "isabella-ai"), service="equipo-IA-TAMV")
    assert world.account.incident(KEY).service == "PSRE001"
    world.faults.clear()
    await client.resolve(KEY, service="equipo-IA-TAMV")
    assert world.account.incident(KEY).status == "resolved"


async def test_a_page_goes_out_though_the_api_answers_in_an_unknown_form(world: World) -> None:
    world.faults.add("pagerduty", "nonsense", "/api/*", times=None, body='{"services": [{"nome": "x"}]}')
    await world.client.trigger(KEY, PageAlert("model", "error", "isabella-ai"), service="equipo-IA-TAMV")
    assert world.account.incident(KEY).service == "PSRE001"


async def test_incidents_are_found_by_key(world: World) -> None:
    assert await world.client.incident_by_key(KEY) is None
    await world.page()
    found = await world.client.incident_by_key(KEY)
    assert found is not None
    assert (found.key, found.status, found.service) == (KEY, "triggered", "equipo-SRE-TAMV")
    assert found.assignees == ("Ana Torres",) and found.url.startswith("https://tamv.pagerduty.com/")
    assert await world.client.key_of(found.id) == KEY
    await world.client.resolve(KEY)
    await world.page()
    second = await world.client.incident_by_key(KEY)
    assert second is not None and second.id != found.id


async def test_a_note_is_there_once_and_from_us(world: World) -> None:
    await world.page()
    incident = world.account.incident(KEY)
    await world.client.note(incident.id, "Ana: scaling to 10 [INC-2026-0001#4]")
    await world.client.note(incident.id, "Ana: scaling to 10 [INC-2026-0001#4]")
    [note] = incident.notes
    assert note.content == "Ana: scaling to 10 [INC-2026-0001#4]"
    assert note.author.id == await world.client.own_user_id() == BOT.id


async def test_incidents_are_changed_by_id(world: World) -> None:
    await world.page()
    incident = world.account.incident(KEY)
    await world.client.acknowledge_incident(incident.id)
    assert world.status() == "acknowledged"
    await world.client.escalate(incident.id, 2)
    assert (incident.level, incident.status) == (2, "triggered")
    await world.client.resolve_incident(incident.id)
    await world.client.resolve_incident(incident.id)
    assert world.status() == "resolved"
    problem = await failure(lambda c: c.acknowledge_incident(incident.id), world.client)
    assert isinstance(problem, Refused) and problem.facts["why"] == "Incident Already Resolved"
    problem = await failure(lambda c: c.escalate(incident.id, 9), world.client)
    assert isinstance(problem, Refused)


@pytest.mark.parametrize("id", ["../users/PANA001", "", "a/b", "Q1?x=1", "ñ"])
async def test_an_id_leads_nowhere_else(world: World, id: str) -> None:
    for act in (lambda c: c.note(id, "x"), lambda c: c.key_of(id), lambda c: c.resolve_incident(id)):
        assert (await failure(act, world.client)).key == "pagerduty_unknown"
    assert world.account.requests == []


@pytest.mark.parametrize("of", ["equipo-SRE-TAMV", "EQUIPO-sre-tamv", "PSRE001", "SRE TAMV", "PPOLSRE"])
async def test_who_is_on_call(world: World, of: str) -> None:
    monday_after = datetime(2026, 11, 30, 9, tzinfo=UTC)
    assert await world.client.on_call(of) == [
        OnCall(1, "Ana Torres", "ana@tamv.world", "+1 2025550101", "PANA001", monday_after),
        OnCall(2, "Bruno Díaz", "bruno@tamv.world", "+1 2025550102", "PBRU002", monday_after),
    ]


async def test_who_is_on_call_always_and_nowhere(world: World) -> None:
    [carla] = await world.client.on_call("equipo-IA-TAMV")
    assert (carla.name, carla.until) == ("Carla Méndez", None)
    problem = await failure(lambda c: c.on_call("equipo-Nadie"), world.client)
    assert isinstance(problem, Refused) and problem.key == "pagerduty_unknown"


async def test_check_says_whom_pages_reach(world: World) -> None:
    assert await world.client.check() == "tamv.pagerduty.com, as Incident bot, pages equipo-SRE-TAMV"
    problem = await failure(lambda c: c.check(), world.another(from_email="nobody@tamv.world"))
    assert problem.key == "pagerduty_from_unknown"
    assert "global" in await world.another(routing_key="x" * 32).check()


async def test_what_was_not_configured_is_said(world: World) -> None:
    assert isinstance(await failure(PAGE, world.another(routing_key=None)), NotConfigured)
    problem = await failure(WHO, world.another(api_token=None))
    assert (type(problem), problem.key) == (Refused, "pagerduty_no_token")
    await world.another(api_token=None).trigger(KEY, PageAlert("slow", "critical", "x"), service="equipo-IA-TAMV")
    assert world.account.incident(KEY).service == "PSRE001"


async def test_wrong_secrets_are_refused(world: World) -> None:
    problem = await failure(WHO, world.another(api_token="wrong-token-0123456789"))
    assert (type(problem), problem.facts["status"]) == (Refused, 401)
    assert "6789" not in repr(problem.facts)
    problem = await failure(PAGE, world.another(routing_key="f" * 32))
    assert (type(problem), problem.facts["status"]) == (Refused, 400)
    assert "Invalid routing key" in str(problem.facts["why"])


@BOTH
async def test_a_rate_limit_says_when_to_come_back(world: World, act: Act) -> None:
    limit = world.faults.add("pagerduty", "ratelimit", times=None, retry_after=7)
    problem = await failure(act, world.client)
    assert isinstance(problem, Unavailable) and problem.key == "rate_limited"
    assert problem.retry_after == 7 and not problem.uncertain
    assert limit.used == 1  # pdpyras would go on for ever


@BOTH
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_error_of_theirs_may_pass(world: World, act: Act, status: int) -> None:
    broken = world.faults.add("pagerduty", "status", times=None, status=status)
    problem = await failure(act, world.client)
    assert isinstance(problem, Unavailable) and problem.facts["status"] == status
    assert problem.uncertain == (act is PAGE)
    assert broken.used == 1


@BOTH
async def test_the_deadline_holds_when_nobody_answers(world: World, act: Act) -> None:
    world.faults.add("pagerduty", "hang", times=None, seconds=60)
    client = world.another(timeout=0.5)
    async with deadline(2):
        problem = await failure(act, client)
    assert isinstance(problem, Unavailable) and problem.key == "timed_out"
    assert problem.uncertain == (act is PAGE)


async def test_no_thread_goes_on_after_the_deadline(world: World) -> None:
    world.faults.add("pagerduty", "hang", times=None, seconds=60)
    client = world.another(timeout=0.5)
    await asyncio.gather(*(failure(PAGE, client) for _ in range(3)))
    async with deadline(5):
        while _busy():
            await asyncio.to_thread(time.sleep, 0.05)


def _busy() -> list[str]:
    """Threads that wait for PagerDuty: their stacks run through pdpyras."""
    found = []
    for thread in threading.enumerate():
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None:
            if "pdpyras" in frame.f_code.co_filename:
                found.append(thread.name)
            frame = frame.f_back
    return found


@BOTH
async def test_a_lost_answer_is_uncertain_for_what_writes(world: World, act: Act) -> None:
    world.faults.add("pagerduty", "drop_after", times=1)
    problem = await failure(act, world.client)
    assert isinstance(problem, Unavailable) and problem.key == "unreachable"
    assert problem.uncertain == (act is PAGE)


@BOTH
@pytest.mark.parametrize("body", [None, "[1, 2", "null", "[]", '"hello"', '{"surprise": true}'])
async def test_nonsense_is_named_so(world: World, act: Act, body: str | None) -> None:
    world.faults.add("pagerduty", "nonsense", times=None, body=body)
    problem = await failure(act, world.client)
    assert isinstance(problem, Unavailable) and problem.key == "nonsense"


@BOTH
async def test_nobody_listens(act: Act) -> None:
    client = PagerDuty(API_TOKEN, "k" * 32, BOT.email, "http://127.0.0.1:9", "http://127.0.0.1:9", 2.0)
    problem = await failure(act, client)
    assert isinstance(problem, Unavailable)
    assert (problem.key, problem.facts["why"], problem.uncertain) == ("unreachable", "Connection refused", False)


async def test_many_at_once(world: World) -> None:
    await asyncio.gather(
        *(world.client.trigger(f"key-{n}", PageAlert(f"page {n}", "critical", "xr-engine")) for n in range(20)),
        *(world.client.on_call("PSRE001") for _ in range(5)),
    )
    assert {i.key: i.title for i in world.account.incidents.values()} == {f"key-{n}": f"page {n}" for n in range(20)}


def test_signatures_are_pagerdutys_own() -> None:
    path = CONTRACTS / "pagerduty" / "signature_vector.json"
    if not path.exists():
        pytest.skip(f"{path} is missing: set CONTRACTS_DIR")
    vector = json.loads(path.read_text(encoding="utf-8"))
    secret, body = vector["secret"], vector["body"].encode()
    for header in (vector["signature"], vector["rotation_example"]):
        assert verify_signature(header, body, [secret])
        assert verify_signature(header, body, ["old", secret])
        assert not verify_signature(header, body + b" ", [secret])
        assert not verify_signature(header, body, ["other"])


@pytest.mark.parametrize("header", ["", "v1=", "v0=abc", "v1=ñandú", ",,,", "v1=" + "0" * 64])
def test_what_is_no_signature_is_none(header: str) -> None:
    assert not verify_signature(header, b"{}", ["secret"])
    assert not verify_signature(header, b"{}", [])
    assert not verify_signature(header, b"{}", [""])
