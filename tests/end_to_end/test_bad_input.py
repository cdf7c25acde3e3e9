"""What cannot be is answered with what was wrong, the nearest right thing and an example; and it changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.slack.state import Channel
from tests.harness.scene import TEAM, Scene, scene, words

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("bad-input")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(stage: Scene) -> Channel:
    return await stage.incident()


ELSEWHERE = [
    ("/incident declarar Render lento", ["declare", "/incident help"]),
    ("/incident sttaus", ["`/incident status`"]),
    ("/incident xyzzy", ["xyzzy", "/incident help"]),
    ("/incident declare Render sev=SEV9", ["SEV9", "SEV1 | SEV2 | SEV3 | SEV4", "/incident declare"]),
    ("/incident declare Render sev=", ["sev", "SEV1"]),
    ("/incident declare Render severity=SEV1", ["severity=", "`sev=`", "/incident declare"]),
    ("/incident declare Render service=xr-engin", ["xr-engin", "`xr-engine`", "tamv-core"]),
    ("/incident declare Render CPU=100%", ["CPU=", "comillas"]),
    (f"/incident declare {'x' * 201}", ["201", "200"]),
    ('/incident declare "   "', ["título", "/incident declare"]),
    ("/incident status", ["canal de un incidente", "incident="]),
    ("/incident ack", ["canal de un incidente"]),
    ("/incident note", ["text", "/incident note"]),
    ("/incident status incident=INC-1999-0001", ["INC-1999-0001", "/incident list"]),
    ("/incident status ahora mismo", ["ahora", "/incident status"]),
    ("/incident stats soon", ["soon", "/incident stats"]),
    ("/incident stats 0d", ["0d", "duración", "/incident stats"]),
    (f"/incident stats {'9' * 20}d", ["999d", "diez años"]),
    ("/incident stats -P1D", ["-P1D", "diez años"]),
    ("/ops logs xr-engine since=999999d", ["999999d", "diez años"]),
    ("/ops undo", ["`/runbook undo`"]),
    ("/incident resolve ya", ["ya", "/incident resolve"]),
    ("/incident run render-latency", ["`/runbook run`"]),
    ("/ops scale xr_engine 4", ["xr_engine", "minúsculas", "/ops scale xr-engine"]),
    ("/ops scale xr-engine 4 enviroment=staging", ["`environment=`", "`replicas=`"]),
    ("/ops scale xr-engine 4 namespace=", ["Falta el valor de `namespace`"]),
    ("/incident help declrae", ["declrae", "declare"]),
    ("/page sre-taem algo", ["sre-taem", "SRETeam"]),
    ("/page", ["/page"]),
    ("/page sre-team", ["texto"]),
    ("/page sre-team algo sev=alto", ["alto", "SEV1"]),
    ("/incident --help", ["/incident declare", "/incident resolve"]),
    ("/incident ?", ["/incident declare", "/incident resolve"]),
    ("/incident declare \u200b", ["título", "/incident declare"]),
    ("/incident declare Render sev = SEV9", ["SEV9", "SEV1 | SEV2 | SEV3 | SEV4", "/incident declare"]),
    ("/incident status INC-1999-0001", ["INC-1999-0001", "/incident list"]),
    ("/oncall hoy", ["hoy", "SRETeam"]),
    ("/page bruno algo", ["no a una persona", "SRETeam"]),
    ("/page @bruno algo", ["no a una persona", "SRETeam"]),
    ("/incident resolve --help", ["`/incident resolve`"]),
    ("/ops scale xr-engine 4 --help", ["/ops scale deployment replicas"]),
    ("/ops scale xr-engine +2", ["`+2`", "número entero"]),
    ("/ops logs xr-engine -f", ["`follow=`"]),
    ("/ops restart xr-engine dry-run=quizá", ["quizá", "true | false"]),
    ("/runbook render-latency", ["`/runbook run render-latency`"]),
    ("/runbook run Latencia", ["`render-latency`"]),
    ("/runbook run render-latency ya", ["Sobra `ya`", "service="]),
    ("/runbook run", ["Falta", "/runbook run"]),
    ("/incident status inc-1999-1", ["INC-1999-0001"]),
]

IN_AN_INCIDENT = [
    ("/incident severity", ["level", "/incident severity SEV1"]),
    ("/incident severity SEV5", ["SEV5", "SEV1 | SEV2", "/incident severity SEV1"]),
    ("/incident severity alta", ["alta", "SEV1"]),
    ("/incident severity SEV3", ["ya es SEV3"]),
    ("/incident role comandante @ana", ["comandante", "commander"]),
    ("/incident role commander ana", ["ana", "@", "/incident role commander @ana"]),
    ("/incident role commander", ["person"]),
    ("/incident reopen porque sí", ["sigue abierto", "/incident resolve"]),
    ("/incident close", ["sigue abierto", "/incident resolve"]),
    ("/incident reopen", ["reason", "/incident reopen"]),
    ("/incident impact users=muchos", ["muchos", "users", "/incident impact"]),
    ("/incident impact users=-1", ["-1", "users"]),
    (f"/incident impact users={'9' * 20}", ["users", "menos de 1000000000000"]),
    ("/incident note \u200b\u2060", ["Falta el texto"]),
    ("/incident impact servces=xr-engine", ["servces=", "`services=`"]),
    ("/incident impact services=xr-engine,tamv-cor", ["tamv-cor", "`tamv-core`"]),
    ("/incident cause primry=fuga", ["primry=", "`primary=`"]),
    (f"/incident note {'ñ' * 3001}", ["3001", "3000"]),
    ("/incident followup", ["title", "/incident followup"]),
    ("/incident followup Algo owner=SRETaem", ["SRETaem", "`SRETeam`"]),
    ("/incident followup Algo due=mañana-o-así", ["mañana-o-así", "14d"]),
    ("/incident followup Algo due=2020-01-01", ["2020-01-01", "pasó"]),
    ("/incident followup Algo due=9999-12-31", ["9999-12-31", "14d"]),
    ("/incident note hola incident=INC-1999-0001", ["INC-1999-0001"]),
]


@pytest.mark.parametrize(("typed", "said"), ELSEWHERE)
async def test_in_any_channel(stage: Scene, typed: str, said: list[str]) -> None:
    before = await stage.bot.deps.store.incidents.count()
    answer = await stage.answer(typed)
    assert not [sign for sign in said if sign not in answer], answer
    assert await stage.bot.deps.store.incidents.count() == before


@pytest.mark.parametrize(("typed", "said"), IN_AN_INCIDENT)
async def test_in_an_incident(stage: Scene, channel: Channel, typed: str, said: list[str]) -> None:
    store, incident = stage.bot.deps.store, await stage.record(channel)
    await stage.quiet()
    events = len(await store.incidents.timeline(incident.id))
    answer = await stage.answer(typed, channel=channel.name)
    assert not [sign for sign in said if sign not in answer], answer
    assert await stage.record(channel) == incident
    assert len(await store.incidents.timeline(incident.id)) == events


async def test_what_was_typed_is_shown_as_it_was_typed_and_pings_nobody(stage: Scene) -> None:
    reply = await stage.person("ana").run("/incident declare Render sev=<!channel>")
    message = await reply.message()
    assert message.mentions() == set()
    assert "`&lt;!channel&gt;`" in words(message)  # which Slack shows as <!channel>


async def test_a_mistake_is_told_in_the_language_of_the_person(stage: Scene) -> None:
    answer = await stage.answer("/incident declare Render sev=SEV9", who="emma")
    assert "SEV9" in answer and "Example" in answer and "Ejemplo" not in answer


async def test_nobody_else_sees_a_mistake(stage: Scene) -> None:
    reply = await stage.person("ana").run("/incident xyzzy")
    message = await reply.message()
    assert message.ephemeral_to == stage.person("ana").id
    assert all("xyzzy" not in text for text in stage.own(TEAM))
