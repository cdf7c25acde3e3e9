"""Causes: found by themselves with their evidence, ruled out and confirmed by people, still there after the cure."""

from __future__ import annotations

from pathlib import Path

from bot.domain.run import StepState
from bot.domain.timeline import Kind
from sandbox.slack.state import Channel, Message
from sandbox.world.scenario import load_scenario
from tests.harness.play import Play, playing
from tests.harness.scene import scene, words

EVENING = 900.0  # in which nothing happens
SLOW = 60.0  # of the world's seconds in one of ours: looks are 15 s apart
LONG = 60.0


async def causes(play: Play, channel: Channel, *signs: str) -> Message:
    """The message about the causes, once it holds these words."""
    return await play.told(channel, "🔎", *signs, seconds=LONG)


async def _checked_after_the_last_end(play: Play, channel: Channel) -> bool:
    """Whether the causes were looked at after the incident was last resolved."""
    record = await play.record(channel)
    ended = await play.bot.deps.store.incidents.newest(record.id, Kind.RESOLVED)
    assert ended
    return await play.bot.engine.has_completed(f"{record.id}/{ended.seq}/causes", "check 0")


async def _has_ended(play: Play, channel: Channel) -> bool:
    return not (await play.record(channel)).status.is_open


def _names(play: Play, message: Message) -> str:
    return " ".join(play.slack.files[id].name for id in message.files)


def _chart(play: Play, channel: Channel) -> Message | None:
    return next((one for one in channel.messages.values() if "-causes-" in _names(play, one)), None)


async def kinds(play: Play, channel: Channel) -> list[Kind]:
    record = await play.record(channel)
    return [event.kind for event in await play.bot.deps.store.incidents.timeline(record.id)]


async def test_bad_version_is_claimed_by_itself_and_said_to_remain_until_it_is_rolled_back(tmp_path: Path) -> None:
    async with playing(tmp_path, why=True, speed=SLOW) as play:
        play.world.play(load_scenario("bad-deploy"))
        await play.sandbox.clock.sleep(240)
        channel = await play.incident("Errores tras el despliegue", service="tamv-core")
        message = await causes(play, channel, "Causa probable", "v2.4.1", "los pods nuevos van peor que los viejos")
        assert len([text for text in play.own(channel) if "🔎" in text]) == 1  # one message, edited

        sheet = await (await play.person("ana").press(message, "show_evidence")).view()
        assert "versión v2.4.0 → v2.4.1" in sheet.all_text() and "Qué cambió" in sheet.all_text()

        # The chart is drawn into the card's thread, once however often it is asked for.
        await play.person("bruno").press(message, "show_evidence")
        chart = await play.see(lambda: _chart(play, channel), LONG)
        assert chart.thread_ts == channel.pins[0]
        await play.quiet(LONG)
        assert sum(bool(one.files) and "causes" in _names(play, one) for one in channel.messages.values()) == 1

        # A service that is well gets no cause, whatever was changed elsewhere.
        assert "No encuentro la causa en `xr-engine`" in await play.answer("/why xr-engine", holding="🔎")

        await play.person("ana").run("/incident resolve", channel.name)
        remains = await play.told(channel, "La causa sigue ahí: Versión defectuosa", seconds=LONG)
        assert "tarea abierta" in words(remains)
        record = await play.record(channel)
        followups = await play.bot.deps.store.followups.list_by_incident(record.id)
        assert any("La causa sigue ahí" in followup.title for followup in followups)

        assert (await play.ops("kubernetes.rollout_undo tamv-core")).state.value == "succeeded"
        await play.person("ana").run("/incident reopen otra vez", channel.name)
        await play.told(channel, "otra vez")
        await play.person("ana").run("/incident resolve", channel.name)
        await play.until(lambda: _has_ended(play, channel))
        await play.until(lambda: _checked_after_the_last_end(play, channel), LONG)
        assert (await kinds(play, channel)).count(Kind.CAUSE_REMAINS) == 1  # it is not said of what was rolled back


async def test_two_causes_are_shown_and_people_rule_one_out_and_confirm_the_other(tmp_path: Path) -> None:
    async with playing(tmp_path, why=True, speed=SLOW) as play:
        play.world.play(load_scenario("render-latency"))
        await play.sandbox.clock.sleep(240)
        channel = await play.incident("Latencia alta en el render")
        message = await causes(play, channel, "Caben dos", "más peticiones", "`EXPERIMENTAL_FEATURES` = true")
        sheet = await (await play.person("ana").press(message, "show_evidence")).view()
        incident = await play.record(channel)
        await play.person("ana").press(sheet, "rule_out", f"{incident.id}|more_load")
        await play.told(channel, "descartó: Más peticiones", seconds=LONG)
        await causes(play, channel, "`EXPERIMENTAL_FEATURES` = true", "de 10)")  # it looks again, without it

        refused = await play.answer("/why confirm bad-configuratoin", channel=channel.name, holding="bad-config")
        assert "¿Querías decir `bad-configuration`?" in refused
        await play.person("bruno").run("/why confirm bad-configuration", channel.name)
        await play.told(channel, "🎯", "Causa confirmada", "EXPERIMENTAL_FEATURES", seconds=LONG)
        assert (await play.record(channel)).cause.primary == "Cambio de configuración"


async def test_treatment_of_the_likely_cause_goes_first_says_why_and_cures_it_alone(tmp_path: Path) -> None:
    async with playing(tmp_path, why=True, speed=EVENING) as play:
        play.world.set_load(2.2, "xr-engine")
        await play.sandbox.clock.sleep(45 * 60)
        play.sandbox.clock.speed = SLOW
        play.world.set_env("xr-engine", {"EXPERIMENTAL_FEATURES": "true"})
        await play.sandbox.clock.sleep(240)
        channel = await play.incident("Latencia alta en el render")
        await causes(play, channel, "Causa probable", "EXPERIMENTAL_FEATURES")

        why = "Primero *Funciones experimentales fuera*: trata la causa probable, un cambio de configuración: `EXP"
        await play.shown(await play.start("render-latency --dry-run", channel), why)
        run = await play.start("render-latency", channel)
        await play.shown(run, why)
        await play.person("ana").run("/why rule-out bad-configuration", channel.name)  # the order stays as it began
        done = await play.ended(run)
        assert [step.id for step in done.steps][4:] == ["features-off", "scale", "gpu-nodes", "roll-back"]
        assert done.step("features-off").verified
        assert {done.step(id).state for id in ("scale", "gpu-nodes", "roll-back")} == {StepState.SKIPPED}
        assert "primero `features-off`, que trata la causa probable" in await play.answer(
            "/incident timeline", channel=channel.name, holding="features-off"
        )


async def test_quiet_service_gets_no_message_and_missing_sources_are_named(tmp_path: Path) -> None:
    async with playing(tmp_path, why=True) as play:
        channel = await play.incident("Falsa alarma")
        answer = await play.answer("/why", channel=channel.name, holding="🔎")
        assert "Sus métricas no se han movido" in answer
        await play.sandbox.clock.sleep(400)
        await play.quiet()
        assert not [text for text in play.own(channel) if "🔎" in text]
        assert Kind.CAUSES_WEIGHED not in await kinds(play, channel)


async def test_why_without_prometheus_and_cluster_says_what_is_missing(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        assert "PROMETHEUS_URL" in await stage.answer("/why xr-engine", holding="PROMETHEUS_URL")
