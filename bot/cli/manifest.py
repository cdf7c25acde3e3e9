"""`tamv-bot manifest` and `tamv-bot rights`: what Slack and the cluster must be told of the team."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml

from bot.actions.catalogue import ACTIONS
from bot.cli.terminal import exit_with_error, expected, team_settings_or_exit
from bot.domain.errors import BotError
from bot.messages.manifest import manifest as manifest_of
from bot.messages.translations import translations_of
from bot.runbooks import Library
from bot.team import load_team

commands = typer.Typer()


def _https(url: str | None) -> str | None:
    if url and not url.startswith("https://"):
        raise typer.BadParameter(expected("https"))
    return url


@commands.command()
def manifest(
    url: Annotated[
        str | None,
        typer.Option(
            help="Where Slack reaches the bot: https://bot.example.org; default: Socket Mode.", callback=_https
        ),
    ] = None,
) -> None:
    """Print the Slack app manifest with the names of the team's folder, in its language."""
    settings = team_settings_or_exit()
    try:
        team = load_team(settings.team_file)
    except BotError as problem:
        exit_with_error(problem, settings.locale)
    words = translations_of(team, settings.locale)[settings.locale]
    content = manifest_of(team, words, url)
    typer.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), nl=False)


@commands.command()
def rights(
    also: Annotated[
        list[str] | None, typer.Option(help="Also for this action, for /ops: kubernetes.scale; several times.")
    ] = None,
) -> None:
    """Print the rights in the cluster that the team's runbooks need, as values of the Helm chart."""
    from bot.integrations.kubernetes.rights import Use, rules_for  # its client is slow to import

    settings = team_settings_or_exit()
    try:
        team = load_team(settings.team_file)
        runbooks = Library.read(team.runbooks, ACTIONS, team).runbooks.values()
        use = Use.of(team, runbooks, [ACTIONS.get(name).name for name in also or ()])
    except BotError as problem:
        exit_with_error(problem, settings.locale, code=2)
    typer.echo(f"# Of `tamv-bot rights`, for the runbooks in {team.runbooks}: helm upgrade … -f access.yaml")
    typer.echo("access:\n  rules:")
    for namespace, actions in use.by_namespace.items():
        typer.echo(f"    {namespace}:")
        for rule in rules_for(actions):
            typer.echo(f"      - {json.dumps(rule)}")
    typer.echo(f"  nodes: {json.dumps(use.nodes)}\n  argocd: {json.dumps(team.argocd_namespace if use.argocd else '')}")
