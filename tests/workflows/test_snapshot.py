"""Snapshots taken by the real engine, from the sandbox's world, into the sandbox's Slack."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, NotConfigured
from bot.domain.incident import Milestone
from bot.domain.people import BOT, Person
from bot.domain.snapshot import Snapshot
from bot.team import TeamFile
from bot.workflows.engine.engine import Engine
from bot.workflows.incidents.snapshot import chart_name
from sandbox.deadline import deadline
from tests.contract.webapi import needs_contracts, problems
from tests.harness.measured import ANA, TEAM, WORKFLOWS, Here, place

EMMA = Person("U0EMMA0005", "Emma Clark", "en")
FIGURES = ("latency_p95", "error_rate", "gpu_utilization", "frame_rate")


async def test_the_table_is_posted_the_charts_stand_behind_it_and_all_is_kept(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.owe("declared")
        (event,) = await here.taken()
        (table,) = here.tables()
        for words in ("📈 *Render 4D* · `xr-engine` · al declarar", "🔴 *Latencia p95*", "fuera de límite",
                      "(máx. 500 ms)", "mediana antes del incidente"):  # fmt: skip
            assert words in str(table.blocks)
        assert "Latencia p95" in table.text

        assert here.shared() == [[f"{here.incident.id}-declared-{query}.png" for query in FIGURES]]
        charts = [one for one in here.sandbox.slack.channels[str(here.incident.channel)].messages.values() if one.files]
        assert charts[0].thread_ts == table.thread_ts is not None and charts[0].ts > table.ts, "below the card"
        for file in here.sandbox.slack.files.values():
            assert file.content is not None and file.content.startswith(b"\x89PNG")
            assert file.title.endswith("al declarar · 02:20 UTC")

        assert event.by == BOT
        assert event.facts["moment"] == "declared"
        assert [figure["query"] for figure in event.facts["figures"]] == list(FIGURES)
        assert {figure["verdict"] for figure in event.facts["figures"]} == {"breach"}
        assert all(figure["change"] for figure in event.facts["figures"])
        kept = await here.deps.store.snapshots.get(f"{here.incident.id}/snapshot/declared")
        assert kept is not None
        stored = Snapshot.from_json(kept)
        assert stored.at == here.incident.milestones[Milestone.DECLARED].replace(microsecond=0)
        assert stored.start <= here.incident.milestones[Milestone.DETECTED] - timedelta(minutes=30)
        for query in FIGURES:
            document = await here.deps.store.documents.read(here.incident.id, chart_name("declared", query))
            assert document is not None
            assert document.content in [file.content for file in here.sandbox.slack.files.values()]


async def test_a_snapshot_owed_twice_is_one(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.owe("declared")
        await here.taken()
        await here.owe("declared")
        await here.owe("resolved")
        await here.taken(2)
        assert len(here.shared()) == 2
        assert [event.facts["moment"] for event in await here.events()] == ["declared", "resolved"]


async def test_after_reopening_a_milestone_has_a_snapshot_of_its_own(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        change, now = here.deps.store.incidents.change, here.deps.clock.now
        await change(here.incident.id, lambda known: known.resolve(by=ANA, at=now()))
        await here.owe("resolved")
        await here.taken()
        await change(here.incident.id, lambda known: known.reopen("volvió", by=ANA, at=now()))
        await change(here.incident.id, lambda known: known.resolve(by=ANA, at=now()))
        await here.deps.store.outbox.enqueue_once("second", "snapshot", [here.incident.id, "resolved"])
        first, second = await here.taken(2)
        assert (first.facts["moment"], second.facts["moment"]) == ("resolved", "resolved-2")
        assert all("al resolver" in str(table.blocks) for table in here.tables())
        assert [names[0] for names in here.shared()] == [
            f"{here.incident.id}-resolved-latency_p95.png",
            f"{here.incident.id}-resolved-2-latency_p95.png",
        ]


async def test_while_prometheus_is_down_the_message_says_so_and_later_it_is_made_whole(tmp_path: Path) -> None:
    async with place(tmp_path, speed=60) as here:
        here.sandbox.faults.add("prometheus", "status", status=503, times=None)
        moment = here.incident.milestones[Milestone.DECLARED]
        await here.owe("declared")
        silent = await here.said("No hay métricas")
        assert "Se reintenta y se añadirá aquí" in str(silent.blocks)
        assert await here.events() == []
        here.sandbox.faults.clear()
        (event,) = await here.taken()
        (table,) = here.tables()
        assert table.ts == silent.ts
        assert "No hay métricas" not in str(table.blocks)
        assert "🔴 *Latencia p95*" in str(table.blocks)
        assert here.shared() == [[f"{here.incident.id}-declared-{query}.png" for query in FIGURES]]
        assert event.facts["of"] == moment.replace(microsecond=0).isoformat()


async def test_only_what_was_missing_is_drawn_when_it_comes(tmp_path: Path) -> None:
    async with place(tmp_path, speed=60) as here:
        # of the four questions one is answered later than anybody waits
        here.sandbox.faults.add("prometheus", "slow", "*query_range*", seconds=1.5, times=1)
        await here.owe("declared")
        partial = await here.said("Se reintenta y se añadirá aquí")
        await here.taken()
        assert [one.ts for one in here.tables()] == [partial.ts]
        assert "Se reintenta" not in str(here.tables()[0].blocks)
        assert sorted(len(names) for names in here.shared()) == [1, 3]
        shared = [name for names in here.shared() for name in names]
        assert sorted(shared) == sorted(f"{here.incident.id}-declared-{query}.png" for query in FIGURES)


async def test_a_query_that_is_wrong_is_said_once_and_holds_nothing_up(tmp_path: Path) -> None:
    queries = TEAM.model_dump(mode="json")["queries"]
    queries["gpu_utilization"]["promql"] = "avg("
    team = TeamFile.model_validate(TEAM.model_dump(mode="json") | {"queries": queries})
    async with place(tmp_path, team=team) as here:
        await here.owe("declared")
        (event,) = await here.taken()
        (table,) = here.tables()
        assert "Falta Uso de GPU: Prometheus rechazó la consulta" in str(table.blocks)
        assert "Se reintenta" not in str(table.blocks)
        assert event.facts["missing"] == ["gpu_utilization"]
        assert len(here.shared()[0]) == 3


@pytest.mark.parametrize(
    ("fault", "method"),
    [
        ("drop_after", "files.completeUploadExternal"),
        ("drop_before", "files.completeUploadExternal"),
        ("drop_after", "chat.postMessage"),
        ("ratelimit", "chat.postMessage"),
        ("ratelimit", "files.getUploadURLExternal"),
        ("error", "files.completeUploadExternal"),
        ("status", "*upload*"),
    ],
)
async def test_whatever_slack_answers_table_and_charts_come_once(tmp_path: Path, fault: Any, method: str) -> None:
    async with place(tmp_path) as here:
        facts = {"status": 500} if fault == "status" else {}
        met = here.sandbox.faults.add("slack", fault, method, times=1, **facts)
        await here.owe("declared")
        await here.taken()
        assert met.used == 1
        assert len(here.tables()) == 1
        assert here.shared() == [[f"{here.incident.id}-declared-{query}.png" for query in FIGURES]]


async def test_without_a_channel_the_figures_are_kept_all_the_same(tmp_path: Path) -> None:
    async with place(tmp_path, channel=False) as here:
        await here.owe("declared")
        (event,) = await here.taken()
        assert len(event.facts["figures"]) == 4
        assert not here.sandbox.slack.files


async def test_without_prometheus_nothing_is_said_and_who_asks_is_told(tmp_path: Path) -> None:
    async with place(tmp_path, prometheus=False) as here:
        await here.owe("declared")
        with pytest.raises(NotConfigured) as off:
            await here.snapshots.ask(here.incident, by=ANA)
        assert off.value.key == "prometheus_off"
        await here.until(lambda: _settled(here))
        assert here.tables() == []


async def _settled(here: Here) -> bool:
    return not await here.deps.store.outbox.pending()


async def test_asked_for_in_the_incident_it_comes_into_the_channel_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        asked = await here.snapshots.ask(here.incident, by=ANA, what="error_rate", window=timedelta(minutes=30))
        for _ in range(2):
            await here.snapshots.into_channel(here.incident, asked, idempotency_key="slack:1")
        (event,) = await here.taken()
        (table,) = here.tables()
        assert "Tasa de errores" in str(table.blocks)
        assert "a petición" in str(table.blocks)
        assert (event.by.id, event.by.name) == (ANA.id, ANA.name)
        assert event.facts["board"] == "error_rate"
        assert len(here.shared()[0]) == 1
        await here.snapshots.into_channel(here.incident, asked, idempotency_key="slack:2")
        await here.taken(2)
        assert len(here.tables()) == 2


async def test_two_moments_are_compared_in_the_channel(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        asked = await here.snapshots.ask(here.incident, by=ANA, between=("ahora", "-40m"))
        await here.snapshots.into_channel(here.incident, asked, idempotency_key="slack:1")
        (event,) = await here.taken()
        (table,) = here.tables()
        assert "🔴 Empeoró" in str(table.blocks)
        assert "→" in str(table.blocks)
        assert event.facts["effect"] == "worse"
        assert all("01:40 → 02:20 UTC" in file.title for file in here.sandbox.slack.files.values())


async def test_milestones_are_moments_in_both_languages(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for first in ("detected", "Detectado"):
            asked = await here.snapshots.ask(here.incident, by=ANA, between=(first, "declared"))
            assert asked["before"] == here.incident.milestones[Milestone.DETECTED].isoformat()
        with pytest.raises(BadInput):
            await here.snapshots.ask(here.incident, by=ANA, between=("mitigated", "now"))


@pytest.mark.parametrize("window", [timedelta(seconds=5), timedelta(days=90), timedelta(0)])
async def test_a_window_that_cannot_be_is_refused(tmp_path: Path, window: timedelta) -> None:
    async with place(tmp_path) as here:
        with pytest.raises(BadInput) as refused:
            await here.snapshots.ask(here.incident, by=ANA, window=window)
        assert refused.value.key == "bad_window"


async def test_elsewhere_the_person_gets_the_table_and_the_charts_in_their_language(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        words = here.deps.words_for(EMMA.locale)
        asked = await here.snapshots.ask(None, by=EMMA, what="xr-engine")
        taken = await here.snapshots.take(asked)
        assert "Latency p95" in here.snapshots.message(taken, words).text
        said = await here.snapshots.send_charts(taken, EMMA, words, idempotency_key="slack:9")
        assert said == words.render_block("snapshot", "charts_sent")
        direct = next(one for one in here.sandbox.slack.channels.values() if one.im_user == EMMA.id)
        assert [len(names) for names in here.shared(direct.id)] == [4]
        assert all("on request" in file.title for file in here.sandbox.slack.files.values())
        assert here.tables() == []
        again = await here.snapshots.send_charts(taken, EMMA, words, idempotency_key="slack:9")
        assert again == said
        assert len(direct.messages) == 2
        assert [len(names) for names in here.shared(direct.id)] == [4]


async def test_charts_that_cannot_be_sent_are_said_to_be_missing(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        asked = await here.snapshots.ask(None, by=ANA, what="xr-engine")
        taken = await here.snapshots.take(asked)
        here.sandbox.faults.add("slack", "error", "files.*", error="missing_scope", times=None)
        said = await here.snapshots.send_charts(taken, ANA, here.deps.words, idempotency_key="slack:9")
        assert said.startswith("No se pudieron enviar las gráficas")
        assert "missing_scope" in said


@needs_contracts
async def test_what_slack_is_sent_is_what_slack_publishes(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.owe("declared")
        await here.taken()
        asked = await here.snapshots.ask(here.incident, by=ANA, between=("-40m", "now"))
        await here.snapshots.into_channel(here.incident, asked, idempotency_key="slack:1")
        await here.taken(2)
        calls = here.sandbox.slack.calls
        assert {"chat.postMessage", "files.completeUploadExternal"} <= {call.method for call in calls}
        assert [problem for call in calls for problem in problems(call.method, call.arguments)] == []


async def test_what_a_restart_cut_off_is_finished_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        hanging = here.sandbox.faults.add("slack", "hang", "files.completeUploadExternal", seconds=3)
        await here.owe("declared")
        async with deadline(20):
            await hanging.met.wait()
        await here.engine.stop()
        engine = Engine(here.deps, WORKFLOWS, f"sqlite:///{tmp_path / 'bot.db'}")
        await engine.start()
        try:
            await here.taken()
            assert len(here.tables()) == 1
            assert here.shared() == [[f"{here.incident.id}-declared-{query}.png" for query in FIGURES]]
        finally:
            await engine.stop()
