"""`GET /status`: what the users of the services may know, and nothing else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from bot.domain.incident import Declaration, Incident, Milestone, Severity
from bot.domain.people import Person
from bot.domain.status_page import Level, Phase, status_page
from bot.shipped import EXAMPLE_TEAM
from bot.team import load_team
from tests.harness.scene import Scene, scene

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTERNAL = "Render lento <script>alert(1)</script> de Cliente SA"
ANA = Person("U1", "Ana")
COMPONENTS = ("xr-engine", "blockchain-msr")


async def get(stage: Scene, path: str = "/status", **headers: str) -> tuple[int, str, Mapping[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.get(f"{stage.url}{path}", headers=named) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


def shown(page: str) -> str:
    """What a reader sees."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())


async def page_that_says(stage: Scene, words: str) -> str:
    """The page once it says this."""

    async def says() -> str | None:
        page = shown((await get(stage))[1])
        return page if words in page else None

    return str(await stage.until(says))


async def test_it_follows_an_incident_and_shows_nothing_internal(stage: Scene) -> None:
    stage.sandbox.clock.speed = 60.0
    quiet = await page_that_says(stage, "Todo funciona con normalidad")
    assert "Sin interrupciones." in quiet
    channel = await stage.incident(INTERNAL, sev="SEV1")
    incident = await stage.record(channel)
    on_fire = await page_that_says(stage, "Servicio interrumpido")
    assert "Mundos inmersivos Interrumpido" in on_fire and "Acceso y seguridad Normal" in on_fire
    assert "Lo estamos investigando" in on_fire
    await stage.person("ana").run("/incident ack", channel.name)
    working = await page_that_says(stage, "Estamos trabajando en ello")
    await stage.person("ana").run("/incident mitigate", channel.name)
    calm = await page_that_says(stage, "Ya está corregido; lo vigilamos")
    assert "Todo funciona con normalidad" in calm
    await stage.person("ana").run("/incident resolve", channel.name)
    over = await page_that_says(stage, "Interrumpido · Mundos inmersivos del ")
    assert "Ahora mismo" not in over
    for page in (quiet, on_fire, working, calm, over):
        for word in ("Render", "Cliente", "alert(1)", incident.id, "Ana", "xr-engine", "SEV"):
            assert word not in page


@pytest.mark.parametrize(
    ("path", "header", "language"),
    [
        ("/status", "", "es"),
        ("/status", "en-GB,en;q=0.9,es;q=0.1", "en"),
        ("/status", "es;q=0.2, en;q=0.8", "en"),
        ("/status", "fr, de;q=x, *;q=0", "es"),
        ("/status?lang=en", "es", "en"),
        ("/status?lang=xx", "en", "en"),
    ],
)
async def test_it_is_in_the_readers_language(stage: Scene, path: str, header: str, language: str) -> None:
    status, page, headers = await get(stage, path, Accept_Language=header)
    assert (status, headers["Content-Language"]) == (200, language)
    assert f'<html lang="{language}">' in page
    assert ("All systems operational" in page) is (language == "en")
    assert "script" not in page and "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "public, max-age=10"


async def test_without_the_database_it_says_that_the_status_is_not_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        with sqlite3.connect(stage.database) as other:
            other.execute("ALTER TABLE incidents RENAME TO away")
        status, page, headers = await get(stage, "/status?lang=en")
        with sqlite3.connect(stage.database) as other:
            other.execute("ALTER TABLE away RENAME TO incidents")
        assert (status, headers["Cache-Control"]) == (503, "no-store")
        assert "The status is not known right now" in page and "operational" not in shown(page)
        assert (await get(stage, "/status?lang=en"))[0] == 200


async def test_many_readers_cost_one_look_at_the_database(stage: Scene) -> None:
    pages = stage.bot.status_pages
    first = await pages.current()
    assert all([await pages.current() is first for _ in range(100)])


def incident(number: int, *, severity: Severity = Severity.SEV2, hours: float = 1.0, drill: bool = False) -> Incident:
    at = NOW - timedelta(hours=hours)
    declaration = Declaration(
        "x", severity, ANA, at, service="xr-engine", detected=at - timedelta(minutes=3), drill=drill
    )
    return Incident.declare(f"INC-2026-{number:04d}", declaration)[0]


def over(one: Incident, after: timedelta) -> Incident:
    return one.resolve(by=ANA, at=one.milestones[Milestone.DECLARED] + after)[0]


def test_what_the_public_is_told_of() -> None:
    page = status_page(
        [
            incident(1),
            incident(2, severity=Severity.SEV3),
            incident(3, severity=Severity.SEV1, drill=True),
            over(incident(4, severity=Severity.SEV1, hours=30), timedelta(hours=2)),
            over(incident(5, hours=24 * 20), timedelta(hours=2)),
            incident(6, hours=3).dismiss("false alarm", by=ANA, at=NOW)[0],
        ],
        NOW,
        components=COMPONENTS,
        severities=(Severity.SEV1, Severity.SEV2),
        history=timedelta(days=14),
    )
    assert page.level is Level.DEGRADED
    assert page.components == {"xr-engine": Level.DEGRADED, "blockchain-msr": Level.OPERATIONAL}
    assert [(one.level, one.phase) for one in page.going_on] == [(Level.DEGRADED, Phase.INVESTIGATING)]
    assert [(one.level, one.ended_at) for one in page.over] == [(Level.OUTAGE, NOW - timedelta(hours=28))]
    assert page.going_on[0].began_at == NOW - timedelta(hours=1, minutes=3)


def test_a_component_that_is_no_service_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    text = (EXAMPLE_TEAM / "team.yaml").read_text("utf-8")
    text = text.replace("    blockchain-msr: {es: Reg", "    blockchain-mrs: {es: Reg")
    file = tmp_path / "team.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(Exception, match="no service `blockchain-mrs`; did you mean `blockchain-msr`"):
        load_team(file)
