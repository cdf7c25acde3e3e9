"""From the resolved incident to its report, its issue and the figures: signed HTTP in, files and issues out."""

from __future__ import annotations

from pathlib import Path

from bot.domain.followup import FollowUpState
from bot.domain.timeline import Kind
from sandbox.slack.person import Person
from tests.end_to_end.test_snapshot_command import Stage, staged


def shared(stage: Stage, channel: str) -> list[str]:
    """The names of the files of reports in a channel."""
    messages = stage.sandbox.slack.channel(channel).messages.values()
    names = [stage.sandbox.slack.files[id].name for one in messages for id in one.files]
    return [name for name in names if name.endswith((".md", ".html"))]


async def test_the_whole_way(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        store, ana = stage.bot.deps.store, Person(stage.sandbox.slack, "ana")
        channel = await stage.incident()
        for typed in (
            "/incident ack",
            "/incident update Escalamos xr-engine de 3 a 10 réplicas",
            '/incident impact users=1240 revenue="$4,200"',
            '/incident followup "Alertar de la memoria" owner=SRETeam due=14d label=monitoring',
            "/incident mitigate",
            "/incident resolve",
        ):
            await ana.run(typed, channel)
        (incident,) = await store.incidents.recent()

        async def reported() -> bool:
            return len(shared(stage, channel)) == 2

        await stage.until(reported, 40)
        assert shared(stage, channel) == [f"{incident.id}.md", f"{incident.id}.html"]
        told = await stage.in_channel(channel, f"Informe de {incident.id}")
        assert "Recuperado en" in told and "objetivo" in told and "complete_report" in told

        async def readable() -> bool:
            message = await stage.in_channel(channel, f"Informe de {incident.id}")
            return "open_report" in message and "thread_ts=" in message

        await stage.until(readable)
        document = await store.documents.read(incident.id, f"{incident.id}.md")
        assert document
        text = document.content.decode()
        assert "Escalamos xr-engine de 3 a 10 réplicas" in text and "**Falta contar:**" in text
        assert "charts/resolved-latency_p95.png" in text  # the figures after the end were waited for

        async def in_state(state: FollowUpState) -> bool:
            return [
                one.state for one in await store.followups.list_by_incident(incident.id) if one.id.endswith("/F1")
            ] == [state]

        await stage.until(lambda: in_state(FollowUpState.FILED))
        followup, meeting = await store.followups.list_by_incident(incident.id)
        assert "Reunión posterior" in meeting.title  # the team's file asks for it by itself
        assert followup.number is not None
        await stage.sandbox.github.person("ana").close(followup.number)
        await stage.until(lambda: in_state(FollowUpState.DONE))
        event = await store.incidents.newest(incident.id, Kind.FOLLOWUP_DONE)
        assert event and event.by.id == "U0ANA00001"

        assert "1 incidente" in await stage.answer("/incident stats 90d", channel=channel, holding="MTTR")
        await ana.run("/incident close", channel)

        async def again() -> bool:
            return len(shared(stage, channel)) == 4

        await stage.until(again)
        closed = await store.documents.read(incident.id, f"{incident.id}.md")
        assert closed and "[x] Alertar de la memoria (SRETeam, " in closed.content.decode()
