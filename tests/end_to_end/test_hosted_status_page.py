"""The status page at Atlassian Statuspage follows the incident, once, whatever happens on the way there."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.domain.timeline import Kind
from bot.shipped import EXAMPLE_TEAM
from sandbox.statuspage import API_KEY, PAGE, Incident
from tests.harness.scene import Scene, scene, words

COMPONENT = "cmp0xrengine"
HOSTED = f"""
  hosted:
    page: {PAGE}
    components: {{xr-engine: {COMPONENT}, blockchain-msr: cmp0payments}}
"""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    folder = tmp_path / "team"
    shutil.copytree(EXAMPLE_TEAM, folder)
    file = folder / "team.yaml"
    whole, before = file.read_text("utf-8"), "\nseverities:\n"
    assert whole.count(before) == 1
    file.write_text(whole.replace(before, f"{HOSTED}{before}"), "utf-8")
    async with scene(tmp_path, team_dir=str(folder), statuspage_api_key=API_KEY) as made:
        yield made


async def published(stage: Scene, status: str) -> Incident:
    """The page's only incident once it has this status."""

    async def has() -> Incident | None:
        found = list(stage.sandbox.statuspage.incidents.values())
        return found[0] if [one.status for one in found] == [status] else None

    return await stage.until(has)  # type: ignore[no-any-return]


async def test_it_follows_the_incident_and_says_nothing_internal(stage: Scene) -> None:
    page, ana = stage.sandbox.statuspage, stage.person("ana")
    channel = await stage.incident("Render lento en el cliente Acme", sev="SEV1")
    shown = await published(stage, "investigating")
    assert shown.name == "Servicio interrumpido · Mundos inmersivos"
    assert page.components[COMPONENT] == "major_outage" and page.components["cmp0payments"] == "operational"
    for command, status, component in (
        ("ack", "identified", "major_outage"),
        ("mitigate", "monitoring", "operational"),
        ("resolve", "resolved", "operational"),
    ):
        await ana.run(f"/incident {command}", channel.name)
        shown = await published(stage, status)
        assert page.components[COMPONENT] == component
    said = [update.body for update in reversed(shown.updates)]
    assert said == [
        "Lo estamos investigando",
        "Estamos trabajando en ello",
        "Ya está corregido; lo vigilamos",
        "Ha terminado. Todo funciona con normalidad",
    ]
    assert not any(update.notified for update in shown.updates)
    for internal in ("Acme", "Render", "xr-engine", "SEV", "Ana"):
        assert internal not in str(page.shown(shown)).replace(COMPONENT, "")
    await stage.quiet()
    timeline = await stage.bot.deps.store.incidents.timeline((await stage.record(channel)).id)
    told = [event.facts["status"] for event in timeline if event.kind is Kind.STATUS_PAGE_UPDATED]
    assert told == ["investigating", "identified", "monitoring", "resolved"]


async def test_a_component_is_as_the_worst_of_its_incidents(stage: Scene) -> None:
    page = stage.sandbox.statuspage
    first = await stage.incident("Render lento", sev="SEV1")
    await published(stage, "investigating")
    second = await stage.incident("Render sin sonido", sev="SEV2")
    await stage.quiet()
    assert page.components[COMPONENT] == "major_outage"
    await stage.person("ana").run("/incident resolve", first.name)
    await stage.quiet()
    assert page.components[COMPONENT] == "degraded_performance"
    await stage.person("ana").run("/incident resolve", second.name)
    await stage.quiet()
    assert page.components[COMPONENT] == "operational"


@pytest.mark.parametrize("sev", ["SEV3", "SEV4"])
async def test_what_the_public_is_not_told_of_is_not_there(stage: Scene, sev: str) -> None:
    channel = await stage.incident(sev=sev)
    await stage.person("ana").run("/incident ack", channel.name)
    await stage.quiet()
    assert stage.sandbox.statuspage.incidents == {}


async def test_a_false_alarm_is_over_for_the_public(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV1")
    name = (await published(stage, "investigating")).name
    await stage.person("ana").run("/incident dismiss era una prueba", channel.name)
    shown = await published(stage, "resolved")
    assert shown.name == name and shown.updates[0].body == "Fue una falsa alarma. Todo funciona con normalidad"
    assert stage.sandbox.statuspage.components[COMPONENT] == "operational"


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("drop_after", {}),
        ("drop_before", {}),
        ("status", {"status": 500}),
        ("nonsense", {}),
        ("ratelimit", {"retry_after": 1}),
    ],
)
async def test_it_is_published_once_whatever_becomes_of_the_answer(
    stage: Scene, kind: str, facts: dict[str, int]
) -> None:
    stage.sandbox.faults.add("statuspage", kind, "POST *", **facts)  # type: ignore[arg-type]
    await stage.incident(sev="SEV1")
    await published(stage, "investigating")
    await stage.quiet()
    assert len(stage.sandbox.statuspage.incidents) == 1


async def test_what_came_twice_is_taken_back(stage: Scene) -> None:
    channel = await stage.incident(sev="SEV1")
    shown = await published(stage, "investigating")
    late = {"name": shown.name, "metadata": shown.metadata, "component_ids": [COMPONENT]}
    stage.sandbox.statuspage.create(late)  # of a first attempt that was taken for lost
    await stage.person("ana").run("/incident ack", channel.name)
    assert (await published(stage, "identified")).id == shown.id


async def test_a_refusal_is_said_in_the_channel(stage: Scene) -> None:
    del stage.sandbox.statuspage.components[COMPONENT]
    channel = await stage.incident(sev="SEV1")
    said = words(await stage.told(channel, "actualizar la página de estado externa"))
    assert COMPONENT in said
    assert stage.sandbox.statuspage.incidents == {}
