"""`http.check` against the health endpoints of the sandbox's world, and against servers that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.domain.errors import BadInput, Unavailable, WrongState
from bot.integrations.http import BODY_LIMIT, Http
from bot.messages.results import result_sentence
from bot.team import TeamFile
from sandbox.clock import Clock
from sandbox.server import Sandbox, serving
from sandbox.world.deployments import Fault
from tests.harness.actor import Actor, parts


@pytest.fixture
async def sandbox() -> Sandbox:
    return Sandbox(clock=Clock())


@pytest.fixture
async def actor(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Actor]:
    async with sandbox.serving() as url, Http(f"{url}/health") as http:
        yield Actor(parts(tmp_path, sandbox.clock, http=http))


async def suffer(sandbox: Sandbox, fault: Fault) -> None:
    """Let the fault of xr-engine take effect."""
    sandbox.world.inject("xr-engine", "outside", fault)
    sandbox.clock.speed = 10_000
    await sandbox.clock.sleep(300)
    sandbox.clock.speed = 1


async def ill(actor: Actor, service: str = "xr-engine", **given: Any) -> dict[str, Any]:
    with pytest.raises(WrongState) as found:
        await actor.perform("http.check", service=service, **given)
    assert found.value.key == "unhealthy"
    words = actor.deps.words.error(found.value)
    assert service in words and "health." not in words
    services: Any = found.value.facts["services"]
    return dict(services[0])


async def test_all_are_well_and_it_is_said(actor: Actor) -> None:
    effects, _ = await actor.rehearse("http.check")
    found = await actor.perform("http.check")
    assert effects == [] and found.healthy and len(found.rows) == 6
    assert all(row.status == 200 and 0 < row.milliseconds < 2000 for row in found.rows)
    said = result_sentence(
        "http.check", {"rows": [{"service": "a", "status": 200, "milliseconds": 9, "why": ""}]}, actor.deps.words
    )
    assert said == "a ✅ 9 ms"
    staging = Actor(actor.deps, "staging")
    assert (await staging.perform("http.check", service="tamv-core")).healthy


async def test_a_service_that_fails_does_not_pass(actor: Actor, sandbox: Sandbox) -> None:
    await suffer(sandbox, Fault(errors=0.5))
    facts = await ill(actor)
    assert (facts["status"], facts["why"]) == (500, "status")
    everything = await actor.perform("http.check", required=False)
    assert not everything.healthy and [row.service for row in everything.rows if row.why] == ["xr-engine"]


async def test_a_service_that_is_slow_says_so(actor: Actor, sandbox: Sandbox) -> None:
    await suffer(sandbox, Fault(latency=6.0))
    facts = await ill(actor)
    assert (facts["status"], facts["why"]) == (200, "body") and facts["milliseconds"] > 50


async def test_without_pods_nobody_answers(actor: Actor, sandbox: Sandbox) -> None:
    sandbox.world.scale("xr-engine", 0)
    assert (await ill(actor))["status"] == 503


async def test_it_waits_until_they_are_well(actor: Actor, sandbox: Sandbox) -> None:
    sandbox.world.scale("xr-engine", 0)
    sandbox.world.scale("xr-engine", 3)  # the new pods take 20 s
    sandbox.clock.speed = 60
    assert (await actor.perform("http.check", service="xr-engine", within="2m")).healthy
    sandbox.world.scale("xr-engine", 0)
    await ill(actor, within="10s")


async def test_only_what_the_teams_file_names_is_asked(actor: Actor) -> None:
    for service in ("http://169.254.169.254/", "nobody"):
        with pytest.raises(BadInput) as unknown:
            await actor.perform("http.check", service=service)
        assert unknown.value.key == "unknown_service"
    with pytest.raises(BadInput) as nowhere:
        await Actor(actor.deps, "moon").perform("http.check")
    assert nowhere.value.key == "no_health_endpoint"


def pointed(actor: Actor, url: str, **more: Any) -> Actor:
    """The same for a team whose xr-engine has its health there."""
    raw = actor.deps.team.model_dump(mode="json")
    raw["services"]["xr-engine"]["health"] = {"production": {"url": url, "within": 0.5} | more}
    return Actor(replace(actor.deps, team=TeamFile.model_validate(raw), http=actor.deps.http))


async def test_what_misbehaves_is_told_apart(tmp_path: Path) -> None:
    asked: list[str] = []

    async def elsewhere(_: Request) -> Response:
        asked.append("elsewhere")
        return PlainTextResponse("ok")

    async def endless(_: Request) -> Response:
        async def forever() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * BODY_LIMIT

        return StreamingResponse(forever())

    async def moved(_: Request) -> Response:
        return RedirectResponse("/elsewhere", 302)

    app = Starlette(routes=[Route("/elsewhere", elsewhere), Route("/endless", endless), Route("/moved", moved)])
    async with serving(app) as url, Http() as http:
        actor = Actor(parts(tmp_path, Clock(), http=http))
        redirected = await ill(pointed(actor, f"{url}/moved"))
        assert (redirected["status"], redirected["why"], asked) == (302, "status", [])
        assert (await ill(pointed(actor, f"{url}/endless", body="ok")))["why"] == "body"
        assert (await pointed(actor, f"{url}/moved", status=302).perform("http.check", service="xr-engine")).healthy
        assert (await ill(pointed(actor, "http://127.0.0.1:9/health")))["why"] == "silent"


async def test_the_deadline_holds(sandbox: Sandbox, tmp_path: Path) -> None:
    async with sandbox.serving() as url, Http(f"{url}/health") as http:
        sandbox.faults.add("health", "hang", times=None)
        actor = Actor(parts(tmp_path, sandbox.clock, http=http))
        assert (await ill(pointed(actor, "https://xr-engine.tamv.world/health")))["why"] == "slow"
    with pytest.raises(Unavailable):
        await Http().get("http://127.0.0.1:9/", 1)
