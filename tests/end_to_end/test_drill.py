"""A drill as a team plays it from Slack: opened, broken, answered, measured, put right again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.domain.drill import Goal
from bot.domain.incident import Status
from bot.domain.run import Run, RunState, StepState
from bot.messages.translations import format_duration
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.slack.state import Channel
from tests.harness.play import LONG, Play, playing, story
from tests.harness.scene import TEAM

NAME = "drill-gpu-node-loss"


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    async with playing(tmp_path) as made:
        yield made


async def begun(play: Play) -> tuple[Channel, Run]:
    """The drill's channel, and its run once the fault waits there."""
    before = set(play.slack.channels)
    answer = await play.answer("/drill start gpu-node-loss")
    assert "Simulacro" in answer
    channel = await play.opened(before)

    async def waiting() -> Run | None:
        (run,) = await play.bot.deps.store.runs.list_by_incident((await play.record(channel)).id)
        return run if run.step("inject").state is StepState.WAITING else None

    run: Run = await play.until(waiting)
    return channel, run


def takes_pods(play: Play) -> bool:
    found = play.cluster.store.get(NODE, "", "gpu-node-2")
    assert found
    return not found["spec"].get("unschedulable")


async def test_nothing_is_broken_before_the_word_and_all_is_measured_after_it(play: Play) -> None:
    channel, run = await begun(play)
    incident = await play.record(channel)
    assert incident.drill and incident.title.startswith("Simulacro: ")
    assert (await play.known(run)).channel == channel.id
    assert takes_pods(play)
    assert "Aún no hay fallo" in await play.answer("/drill score", channel=channel.name)
    await play.answer("/drill inject", channel=channel.name)
    async with play.approving(run, "bruno", "carla"):
        await play.reached(run, "lose-node", StepState.DONE)
        assert not takes_pods(play)
        with play.slowly():
            await play.answer("/incident ack", "bruno", channel.name)
            await play.answer("/incident update 'Perdimos un nodo; seguimos con dos'", "bruno", channel.name)
        done = await play.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert takes_pods(play)
    seen = await play.bot.drills.score(incident)
    marks = {mark.goal: mark for mark in seen.marks}
    assert all(marks[goal].reached for goal in (Goal.RESPONSE, Goal.STAKEHOLDERS, Goal.RTO))
    assert marks[Goal.RPO].took is None, "no database was touched"
    card = await play.answer("/drill score", channel=channel.name)
    assert "objetivo: menos de 15 min" in card and "objetivo: menos de 5 min" in card
    await play.answer("/drill stop", channel=channel.name)
    await play.told(channel, "Resultado del simulacro")
    assert (await play.record(channel)).status is Status.RESOLVED
    assert (await play.known(run)).state is RunState.SUCCEEDED, "what is back is not undone"


async def test_a_drill_is_compared_with_the_last_one_of_its_kind(play: Play) -> None:
    async def held() -> tuple[Channel, str]:
        channel, run = await begun(play)
        await play.answer("/drill inject", channel=channel.name)
        async with play.approving(run, "bruno", "carla"):
            await play.ended(run)
        return channel, await play.answer("/drill stop", channel=channel.name)

    first, told = await held()
    assert "la última vez" not in told, "there was none"
    id = (await play.record(first)).id
    unheld, _ = await begun(play)
    await play.answer("/drill stop", channel=unheld.name)  # its fault never began: nothing to compare with
    second, told = await held()
    took = next(
        mark.took for mark in (await play.bot.drills.score(await play.record(first))).marks if mark.goal is Goal.RTO
    )
    assert took and f"la última vez {format_duration(took)}" in told and f"El anterior: {id}" in told
    await play.told(second, "Resultado del simulacro", f"El anterior: {id}")


async def test_stopped_in_the_middle_the_node_comes_back(play: Play) -> None:
    play.world.set_load(2.2, "xr-engine")  # two nodes are not enough, so it stays broken
    channel, run = await begun(play)
    await play.answer("/drill inject", channel=channel.name)
    async with play.approving(run, "bruno", "carla"):
        await play.reached(run, "recovered", StepState.PERFORMING)
    with play.slowly():
        assert not takes_pods(play)
        await play.answer("/drill stop", channel=channel.name)
        done = await play.ended(run)
    assert done.step("lose-node").state is StepState.UNDONE, story(done)
    assert takes_pods(play)
    await play.told(channel, "Resultado del simulacro", "no se logró")
    assert (await play.record(channel)).status is Status.RESOLVED


async def test_the_alerts_of_what_a_drill_breaks_are_the_drills(tmp_path: Path) -> None:
    async with playing(tmp_path, alerts=True) as play:
        before = set(play.slack.channels)
        await play.answer("/drill start s3-outage")
        channel = await play.opened(before)
        incident = await play.record(channel)
        (run,) = await play.until(lambda: play.bot.deps.store.runs.list_by_incident(incident.id))
        await play.reached(run, "inject", StepState.WAITING)
        await play.answer("/drill inject", channel=channel.name)
        async with play.approving(run, "bruno", "carla"):
            await play.reached(run, "block", StepState.DONE)
            await play.told(channel, "HighErrorRate", seconds=LONG)
        with play.slowly():
            await play.answer("/drill stop", channel=channel.name)
            await play.quiet()
        assert [one.id for one in await play.bot.deps.store.incidents.recent()] == [incident.id]
        assert not play.sandbox.pagerduty.incidents


async def test_figures_that_do_not_hold_afterwards_count_in_the_score(play: Play) -> None:
    before = set(play.slack.channels)
    await play.answer("/drill start s3-outage")
    channel = await play.opened(before)
    (run,) = await play.until(lambda: _runs(play, channel))
    await play.reached(run, "inject", StepState.WAITING)
    await play.answer("/drill inject", channel=channel.name)
    async with play.approving(run, "bruno", "carla"):
        await play.reached(run, "outage", StepState.PERFORMING)
        play.world.set_load(12, "xr-engine")  # when S3 is back, it is still too much
        with play.slowly():
            await play.answer("/incident mitigate", channel=channel.name)
        done = await play.ended(run)
    assert (done.state, done.step("unblock").verified) == (RunState.SUCCEEDED, False), story(done)
    card = await play.answer("/drill score", channel=channel.name)
    assert "Hubo métricas fuera de límite después de: `unblock`" in card
    marks = {mark.goal: mark for mark in (await play.bot.drills.score(await play.record(channel))).marks}
    assert (marks[Goal.RTO].reached, marks[Goal.RTO].met) == (False, False)


async def test_where_slack_allows_no_channel_the_drill_is_held_in_the_headlines_thread(play: Play) -> None:
    play.sandbox.faults.add("slack", "error", "conversations.create", error="restricted_action", times=None)
    assert "INC-" in await play.answer("/drill start gpu-node-loss")
    headline = await play.told(TEAM, "Simulacro", "INC-")
    assert (await play.told(TEAM, "📒")).thread_ts == headline.ts


async def _runs(play: Play, channel: Channel) -> list[Run]:
    return await play.bot.deps.store.runs.list_by_incident((await play.record(channel)).id)


async def test_an_alert_of_another_service_is_no_drill(tmp_path: Path) -> None:
    async with playing(tmp_path, alerts=True) as play:
        channel, _ = await begun(play)
        play.world.set_load(12, "tamv-core")
        other = await play.opened({*play.slack.channels})
        assert (await play.record(other)).drill is False
        assert (await play.record(channel)).drill


async def test_nobody_is_paged_and_no_figure_counts_it(play: Play) -> None:
    channel, _ = await begun(play)
    await play.answer("/drill stop", channel=channel.name)
    await play.quiet()
    assert not play.sandbox.pagerduty.incidents
    assert (await play.bot.statistics.compute()).count == 0


async def test_the_home_says_which_drill_is_next_until_it_is_held(play: Play) -> None:
    planned = play.bot.deps.team.schedules.drills
    shown = (await play.person("ana").open_home()).all_text()
    assert "Próximo simulacro" in shown
    assert any(drill.title["es"] in shown for drill in planned)
    await begun(play)
    last = await play.bot.deps.store.runs.last_started([NAME])
    assert last and last.date() == play.sandbox.clock.now().date()


async def test_what_cannot_be_is_said(play: Play) -> None:
    assert "gpu-node-loss" in await play.answer("/drill start gpu-node-lost")
    assert "gpu-node-loss" in await play.answer("/drill list")
    real = await play.incident()
    for verb in ("inject", "score", "stop"):
        assert "no es un simulacro" in await play.answer(f"/drill {verb}", channel=real.name)
    before = set(play.slack.channels)
    assert "responder" in await play.answer("/drill start gpu-node-loss", "emma", TEAM)
    assert set(play.slack.channels) == before, "who is no responder opens none"


async def test_a_fault_begins_once(play: Play) -> None:
    channel, run = await begun(play)
    await play.answer("/drill inject", channel=channel.name)
    await play.reached(run, "lose-node", StepState.WAITING)
    assert "Ningún fallo espera" in await play.answer("/drill inject", channel=channel.name)


async def test_no_drill_breaks_production_while_an_incident_is_open(play: Play) -> None:
    channel, run = await begun(play)
    real = await play.incident("Render lento de verdad")
    incident = await play.record(real)
    refused = await play.answer("/drill inject", channel=channel.name)
    assert f"{incident.id} está abierto" in refused and "Render lento de verdad" in refused
    assert f"{incident.id} está abierto" in await play.answer("/drill start db-failover", holding="Ahora no")
    assert (await play.known(run)).step("inject").state is StepState.WAITING and takes_pods(play)
    await play.answer("/incident resolve", channel=real.name)
    await play.answer("/drill inject", channel=channel.name)
    await play.reached(run, "inject", StepState.DONE)
    await play.answer("/drill stop", channel=channel.name)
