"""`tamv-bot init`: write a team's folder from what is found in its cluster, Prometheus, PagerDuty, Slack and GitHub."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from bot.app import build_deps
from bot.cli.discovery import Discovery, TeamGuess, discover
from bot.cli.doctor import run_checks
from bot.cli.terminal import exit_with, known_language, terminal_language
from bot.messages.translations import Translations, load_translations
from bot.settings import TEAM_FILE, Settings, WrongSettings, load_settings
from bot.shipped import EXAMPLE_TEAM
from bot.team import load_team

NO_TOKEN = "-"  # noqa: S105 - Slack is not asked then
MAX_REPLICAS = 20

commands = typer.Typer()


@commands.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not have a team.yaml.")] = Path("team"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take every guess.")] = False,
    name: Annotated[str | None, typer.Option(help="The team's or company's name.")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="Only these namespaces of the cluster.")] = None,
    lang: Annotated[
        str | None,
        typer.Option("--lang", help="The team's language; default: LOCALE, or LANG.", callback=known_language),
    ] = None,
) -> None:
    """Write a team's folder from what is found in the cluster, Prometheus, PagerDuty, Slack and GitHub."""
    language = lang or terminal_language()
    words = load_translations()[language]
    try:
        is_there = (folder / TEAM_FILE).exists()
    except OSError as problem:
        exit_with([words.render_block("init", "not_written", folder=folder, why=problem.strerror or problem)])
    if is_there:
        exit_with([words.render_block("init", "exists", path=folder / TEAM_FILE)])
    settings, has_slack = _settings(language)
    logging.disable(logging.WARNING)
    discovery = asyncio.run(_look(settings, namespace or [], has_slack))
    organisation = name or discovery.organisation or "My team"
    channel = os.environ.get("INCIDENT_CHANNEL") or discovery.channel or "#incidents"
    if not yes:
        organisation = typer.prompt(words.render_block("init", "ask_name"), default=organisation)
        channel = typer.prompt(words.render_block("init", "ask_channel"), default=channel)
    try:
        (folder / "runbooks").mkdir(parents=True, exist_ok=True)
        (folder / "manifests").mkdir(exist_ok=True)
        (folder / TEAM_FILE).write_text(team_yaml(discovery, organisation, channel, words), encoding="utf-8")
        if discovery.services:
            (folder / "runbooks" / "restart.yaml").write_text(restart_runbook(discovery, words), encoding="utf-8")
    except OSError as problem:
        exit_with([words.render_block("init", "not_written", folder=folder, why=problem.strerror or problem)])
    load_team(folder / TEAM_FILE)
    typer.echo(words.render_block("init", "written", folder=folder, discovery=discovery))
    if not discovery.services:
        typer.echo(words.render_block("init", "no_services"))
    for integration, reason in discovery.unseen.items():
        typer.echo(words.render_block("init", "unseen", integration=integration, why=words.error(reason)))
    if has_slack:
        run_checks(load_settings(team_dir=folder, bot_config=None))
    typer.echo(words.render_block("init", "next", folder=folder, has_slack=has_slack))


def _settings(language: str) -> tuple[Settings, bool]:
    """Return the settings, and whether Slack's are among them: the rest can be looked at without."""
    given = {"locale": language, "team_dir": EXAMPLE_TEAM, "bot_config": None}
    try:
        return load_settings(**given), True
    except WrongSettings as mistakes:
        without_slack = [line for line in mistakes.lines if not line.startswith("SLACK_")]
        if without_slack:
            exit_with(without_slack)
    return load_settings(**given, slack_bot_token=NO_TOKEN, slack_signing_secret=NO_TOKEN), False


async def _look(settings: Settings, namespaces: list[str], has_slack: bool) -> Discovery:
    async with build_deps(settings) as deps:
        return await discover(deps, namespaces, slack=has_slack)


def team_yaml(discovery: Discovery, organisation: str, channel: str, words: Translations) -> str:
    """Return the team file; a comment marks each guess."""

    def note(part: str) -> str:
        return f"# {words.render_block('init', part)}"

    teams = discovery.teams or {"Responders": TeamGuess()}
    first = next(iter(teams))
    lines = [note("header"), f"organisation: {_q(organisation)}", f"languages: [{words.locale}]"]
    lines += [f"incident_channel: {_q(channel)}", "", *_teams(teams, note("teams")), ""]
    if group := teams[first].usergroup:
        lines += [note("roles"), "roles:", f"  responder: {{usergroup: {group}}}"]
        lines += [f"  incident_commander: {{usergroup: {group}}}"]
    else:
        people = discovery.people or {"U0123456789": "Ada"}
        named = (f"#  - {{name: {_q(name)}, slack: {id}, roles: [responder]}}" for id, name in people.items())
        lines += [note("people"), "people: []", *named]
    lines += ["", *_services(discovery, note("services"), first), "", *_queries(discovery, words, note("queries")), ""]
    lines += [note("severities"), "severities:"]
    for level, invited in (("SEV1", True), ("SEV2", True), ("SEV3", True), ("SEV4", False)):
        lines += [f"  {level}:", f"    title: {_q(words.render_block('init', level))}"]
        if level in ("SEV1", "SEV2") and teams[first].pagerduty:
            lines.append(f"    page: [{_q(first)}]")
        if invited:
            lines.append(f"    invite: [{_q(first)}]")
    mapped = _mapped(discovery.severities)
    lines += ["", note("alerts"), f"alerts: {{severity: {{{mapped}}}, default: SEV3}}"]
    lines += ["", note("policy"), f"policy: {{limits: {{replicas: {MAX_REPLICAS}}}}}", ""]
    return "\n".join(lines)


def _teams(teams: dict[str, TeamGuess], note: str) -> Iterator[str]:
    yield from (note, "teams:")
    for name, team in teams.items():
        fields = {"usergroup": team.usergroup, "github_team": team.github_team, "pagerduty": team.pagerduty}
        given = ", ".join(f"{field}: {_q(value)}" for field, value in fields.items() if value)
        yield f"  {_q(name)}: {{{given}}}"


def _services(discovery: Discovery, note: str, owner: str) -> Iterator[str]:
    yield from (note, "services:" if discovery.services else "services: {}")
    for name, service in discovery.services.items():
        where = ", ".join(f"{environment}: {_q(namespace)}" for environment, namespace in service.namespaces.items())
        yield f"  {_q(name)}:"
        yield f"    workload: {_q(service.workload)}"
        yield f"    namespaces: {{{where}}}"
        yield f"    owners: [{_q(owner)}]"
        if discovery.queries:
            yield "    board: overview"


SIGNALS = {  # of the usual metrics, for `/why`
    "latency_p95": "latency",
    "grpc_latency_p95": "latency",
    "error_rate": "errors",
    "grpc_error_rate": "errors",
    "ingress_error_rate": "errors",
    "mesh_error_rate": "errors",
    "request_rate": "traffic",
    "gpu_utilization": "accelerator",
}


def _queries(discovery: Discovery, words: Translations, note: str) -> Iterator[str]:
    if not discovery.queries:
        yield from (f"{note} {words.render_block('init', 'no_queries')}", "queries: {}")
        return
    yield from (note, "queries:")
    for name, query in discovery.queries.items():
        yield from (f"  {name}:", f"    title: {_q(words.label(f'init.queries.{name}'))}")
        yield from (f"    promql: {_q(query.promql)}", f"    unit: {_q(query.unit)}")
        if query.threshold is not None:
            yield f"    threshold: {query.threshold:g}"
        if name in SIGNALS:
            yield f"    signal: {SIGNALS[name]}"
    yield from ("boards:", "  overview:", f"    title: {_q(words.label('init.overview'))}")
    yield f"    queries: [{', '.join(discovery.queries)}]"


def _mapped(severities: list[str]) -> str:
    levels = {
        "critical": "SEV2",
        "emergency": "SEV1",
        "page": "SEV2",
        "error": "SEV3",
        "warning": "SEV3",
        "info": "SEV4",
    }
    names = dict.fromkeys(["critical", "warning", "info", *(name for name in severities if name != "none")])
    return ", ".join(f"{name}: {levels.get(name, 'SEV3')}" for name in names)


def restart_runbook(discovery: Discovery, words: Translations) -> str:
    """Return a first runbook, for any service."""

    def text(part: str) -> str:
        return _q(words.label(f"init.restart.{part}"))

    verify = ["    verify: {board: overview, within: 5m}"] if discovery.queries else []
    return "\n".join(
        [
            "name: restart",
            f"title: {text('title')}",
            "inputs:",
            "  service: {type: service, default: '{{ incident.service }}'}",
            "steps:",
            "  - id: look",
            f"    title: {text('look')}",
            "    uses: kubernetes.pods",
            "    with: {service: '{{ inputs.service }}'}",
            "  - id: restart",
            f"    title: {text('restart')}",
            "    uses: kubernetes.restart",
            "    with: {deployment: '{{ inputs.service }}'}",
            *verify,
            "",
        ]
    )


def _q(value: object) -> str:
    """Return a YAML scalar; JSON's strings are YAML's."""
    return json.dumps(str(value), ensure_ascii=False)
