"""People are told: stakeholders in Slack, those on call by PagerDuty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, NotConfigured
from bot.domain.incident import Incident, Severity, Status
from bot.domain.people import Person
from bot.messages.results import result_sentence
from demo.environment import DemoEnvironment, demo_environment
from sandbox.deadline import deadline
from sandbox.pagerduty.state import Incident as Page
from sandbox.server import Sandbox
from tests.harness.actor import Actor

ANA = Person("U0ANA00001", "Ana Torres")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[DemoEnvironment]:
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", prometheus_url=None) as made:
        yield made


async def until(true: Callable[[], Any], seconds: float = 15) -> Any:
    async with deadline(seconds):
        while not (found := true()):  # noqa: ASYNC110 - the engine, PagerDuty and the test are three programs
            await asyncio.sleep(0.02)
    return found


async def incident(stage: DemoEnvironment) -> Incident:
    declared = await stage.bot.incidents.declare(
        "Render <lento>", Severity.SEV1, by=ANA, idempotency_key="declared", service="xr-engine"
    )
    await until(lambda: declared.id in pages(stage))
    return declared


def pages(stage: DemoEnvironment) -> dict[str, Page]:
    """PagerDuty's incidents by their dedup keys."""
    return {one.key: one for one in stage.sandbox.pagerduty.incidents.values()}


def said(stage: DemoEnvironment, words: str) -> list[str]:
    messages = stage.sandbox.slack.channel("tamv-avisos").messages.values()
    return [str(one.blocks) for one in messages if words in str(one.blocks)]


async def test_stakeholders_are_told_once(stage: DemoEnvironment) -> None:
    declared = await incident(stage)
    actor = Actor(stage.bot.deps, incident=declared.id, by=ANA)
    given = {"text": "Los usuarios ven <lentitud> & saltos", "occasion": "incident"}
    effects, foreseen = await actor.rehearse("slack.announce", **given)
    assert [effect.facts for effect in effects] == [{"channel": "#tamv-avisos", "text": given["text"]}]
    assert foreseen.ts == "" and said(stage, "lentitud") == []
    first = await actor.perform("slack.announce", **given)
    assert await actor.perform("slack.announce", **given) == first
    (told,) = said(stage, "lentitud")
    assert "SEV1 · Render &lt;lento&gt;" in told and "&lt;lentitud&gt; &amp; saltos" in told
    await actor.perform("slack.announce", key="R-2/a", **given)
    assert len(said(stage, "lentitud")) == 2


async def test_an_announcement_says_when_maintenance_begins_and_where_it_may_go(stage: DemoEnvironment) -> None:
    actor = Actor(stage.bot.deps)
    given = {"text": "Restauramos la base", "occasion": "maintenance", "begins": "2026-01-31T02:00:00Z"}
    await actor.perform("slack.announce", **given)
    assert "2026-01-31 02:00 UTC" in said(stage, "Restauramos")[0]
    for wrong in ({"channel": "everybody"}, {"occasion": "party"}, {"text": ""}, {"begins": "2026-01-31T02:00:00"}):
        with pytest.raises(BadInput):
            await actor.perform("slack.announce", **given | wrong)


async def test_a_team_is_paged_once_about_the_incident_and_the_timeline_knows(stage: DemoEnvironment) -> None:
    declared = await incident(stage)
    actor = Actor(stage.bot.deps, incident=declared.id, by=ANA)
    effects, _ = await actor.rehearse("pagerduty.page", team="AITeam", text="El modelo no responde")
    assert effects[0].facts == {"team": "AITeam", "text": "El modelo no responde"}
    assert list(pages(stage)) == [declared.id]
    paged = await actor.perform("pagerduty.page", team="AITeam", text="El modelo no responde")
    await actor.perform("pagerduty.page", team="AITeam", text="El modelo no responde")
    await until(lambda: paged.key in pages(stage))
    assert set(pages(stage)) == {declared.id, paged.key}
    assert pages(stage)[paged.key].service == "PAI0001"


async def test_without_an_incident_the_step_is_the_key(stage: DemoEnvironment) -> None:
    actor = Actor(stage.bot.deps)
    for _ in range(2):
        paged = await actor.perform("pagerduty.page", team="SRETeam", text="La copia falló")
    assert list(pages(stage)) == [paged.key] == ["R-1/a"]
    for name in ("pagerduty.acknowledge", "pagerduty.resolve"):
        with pytest.raises(BadInput) as nowhere:
            await actor.perform(name)
        assert nowhere.value.key == "not_in_incident"
    for team in ("SRETeams", "DevTeam"):
        with pytest.raises(BadInput):
            await actor.perform("pagerduty.page", team=team, text="x")


async def test_a_page_is_acknowledged_noted_and_resolved(stage: DemoEnvironment) -> None:
    declared = await incident(stage)
    actor = Actor(stage.bot.deps, incident=declared.id, by=ANA)
    page = pages(stage)[declared.id]
    for name in ("pagerduty.acknowledge", "pagerduty.resolve"):
        assert (await actor.rehearse(name))[0][0].facts == {"incident": declared.id}
    await actor.perform("pagerduty.acknowledge")
    await actor.perform("pagerduty.acknowledge", key="R-2/a")
    assert (await stage.bot.deps.store.incidents.get(declared.id)).status is Status.ACKNOWLEDGED
    await until(lambda: page.status == "acknowledged")
    for _ in range(2):
        await actor.perform("pagerduty.note", key="R-1/b", text="Escalado a 10")
    await until(lambda: page.notes)
    assert len(page.notes) == 1
    await actor.perform("pagerduty.resolve", key="R-1/c")
    await until(lambda: page.status == "resolved")
    assert (await stage.bot.deps.store.incidents.get(declared.id)).status is Status.ACKNOWLEDGED


async def test_who_is_on_call_is_a_fact_with_words(stage: DemoEnvironment) -> None:
    actor = Actor(stage.bot.deps)
    effects, _ = await actor.rehearse("pagerduty.oncall")
    found = await actor.perform("pagerduty.oncall", team="SRETeam")
    assert effects == [] and {one.team for one in found.people} == {"SRETeam"}
    assert {one.level for one in found.people} == {1, 2}
    shown = result_sentence(
        "pagerduty.oncall", {"people": [{"team": "SRETeam", "name": "Ana", "level": 2}]}, stage.bot.deps.words
    )
    assert shown == "SRETeam: Ana (nivel 2)"


async def test_without_pagerduty_it_is_said(tmp_path: Path) -> None:
    off: dict[str, Any] = {"pagerduty_api_token": None, "pagerduty_routing_key": None, "prometheus_url": None}
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", **off) as stage:
        for name, given in (("page", {"team": "SRETeam", "text": "x"}), ("resolve", {}), ("oncall", {})):
            with pytest.raises(NotConfigured):
                await Actor(stage.bot.deps).rehearse(f"pagerduty.{name}", **given)
