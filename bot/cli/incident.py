"""`tamv-bot incident …`: the incidents in a terminal, even while Slack is down."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.cli.terminal import ask, plain
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.followup import FollowUp
from bot.domain.incident import Incident, Milestone
from bot.domain.timeline import TimelineEvent
from bot.messages.incident import timeline_line
from bot.messages.report import RenderedReport
from bot.messages.translations import Translations, format_duration
from bot.workflows.reports.report import compose

commands = typer.Typer(help="Incidents: list them, show one, print its report.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(help="INC-2026-0001", metavar="INCIDENT")]
LINKS_TIMEOUT_SECONDS = 3.0  # without Slack the report has no links to messages


@commands.command("list")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Include resolved and closed ones; the newest first.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number; without it all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List open incidents, the most severe first."""

    async def query(deps: Deps) -> tuple[Deps, list[Incident]]:
        incidents = deps.store.incidents
        return deps, await (incidents.recent(limit) if everything else incidents.list_open(limit))

    deps, incidents = ask(query)
    if as_json:
        _print_json([_incident_json(incident) for incident in incidents])
    elif not incidents:
        typer.echo(deps.words.render_block("terminal", "none_at_all" if everything else "none"))
    else:
        Console().print(_incident_table(incidents, deps.words, _names(deps)))


@commands.command()
def show(incident: Id, as_json: AsJson = False) -> None:
    """Show an incident: milestones, timeline, follow-ups."""
    deps, details = ask(lambda deps: _fetch(deps, incident))
    if as_json:
        _print_json(_incident_json(details.incident) | {
            "timeline": [_event_json(event) for event in details.timeline],
            "followups": [_followup_json(followup) for followup in details.followups],
        })  # fmt: skip
        return
    words, names, console = deps.words, _names(deps, details.timeline), Console()
    console.print(_incident_table([details.incident], words, names))
    console.print(_timeline_table(details, words, names))
    if details.followups:
        console.print(_followup_table(details.followups, words))


@commands.command()
def report(
    incident: Id,
    html: Annotated[bool, typer.Option("--html", help="Print HTML with charts instead of Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the current report; nothing is sent."""

    async def render(deps: Deps) -> RenderedReport:
        with contextlib.suppress(BotError, TimeoutError):
            async with asyncio.timeout(LINKS_TIMEOUT_SECONDS):
                await deps.slack.identity()
        return (await compose(deps, _id(incident)))[1]

    text = ask(render)
    if as_json:
        _print_json({"incident": _id(incident), "markdown": text.markdown, "html": text.html})
    else:
        typer.echo(text.html if html else text.markdown)


@dataclass(frozen=True)
class _IncidentDetails:
    incident: Incident
    timeline: list[TimelineEvent]
    followups: list[FollowUp]


async def _fetch(deps: Deps, incident: str) -> tuple[Deps, _IncidentDetails]:
    store, id = deps.store, _id(incident)
    return deps, _IncidentDetails(
        await store.incidents.get(id), await store.incidents.timeline(id), await store.followups.list_by_incident(id)
    )


def _id(typed: str) -> str:
    return typed.strip().upper()


def _incident_table(incidents: Sequence[Incident], words: Translations, names: Mapping[str, str]) -> Table:
    columns = ("incident", "severity", "status", "title", "service", "commander", "declared", "duration")
    table = _table(words, *columns)
    for incident in incidents:
        detected, ended = incident.milestones[Milestone.DETECTED], incident.milestones.get(Milestone.RESOLVED)
        table.add_row(
            incident.id,
            incident.severity.value,
            words.label(f"status.{incident.status.value}"),
            Text(incident.title),
            incident.service or "—",
            Text(names.get(incident.commander or "", incident.commander or "—")),
            f"{incident.milestones[Milestone.DECLARED]:%Y-%m-%d %H:%M}",
            format_duration(ended - detected) if ended else "—",
        )
    return table


def _timeline_table(details: _IncidentDetails, words: Translations, names: Mapping[str, str]) -> Table:
    table = _table(words, "time", "happened")
    for event in details.timeline:
        table.add_row(f"{event.at:%H:%M:%S}", Text(plain(timeline_line(event, details.incident, words), words, names)))
    return table


def _followup_table(followups: Sequence[FollowUp], words: Translations) -> Table:
    table = _table(words, "task", "owner", "due", "issue")
    for followup in followups:
        table.add_row(
            Text(followup.title), Text(followup.owner or "—"), str(followup.due or "—"), Text(followup.url or "—")
        )
    return table


def _table(words: Translations, *columns: str) -> Table:
    table = Table(header_style="bold", border_style="dim")
    for column in columns:
        table.add_column(words.render_block("terminal", column), no_wrap=column in ("incident", "time", "declared"))
    return table


def _names(deps: Deps, timeline: Sequence[TimelineEvent] = ()) -> dict[str, str]:
    people = {person.slack: person.name for person in deps.team.people}
    return {event.by.id: event.by.name for event in timeline if event.by.name} | people


def _incident_json(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "title": incident.title,
        "severity": incident.severity.value,
        "status": incident.status.value,
        "service": incident.service,
        "drill": incident.drill,
        "source": incident.source,
        "channel": incident.channel,
        "roles": {role.value: person for role, person in incident.roles.items()},
        "milestones": {milestone.value: at.isoformat() for milestone, at in incident.milestones.items()},
        "impact": asdict(incident.impact),
        "cause": asdict(incident.cause),
    }


def _event_json(event: TimelineEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "kind": event.kind.value,
        "by": {"id": event.by.id, "name": event.by.name},
        "facts": dict(event.facts),
        "hash": event.hash,
    }


def _followup_json(followup: FollowUp) -> dict[str, Any]:
    return {
        "title": followup.title,
        "owner": followup.owner,
        "due": followup.due.isoformat() if followup.due else None,
        "state": followup.state.value,
        "url": followup.url,
    }


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
