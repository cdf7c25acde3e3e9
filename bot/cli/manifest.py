"""`tamv-bot manifest`: the Slack app of the team, for api.slack.com/apps → From a manifest."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from bot.cli.terminal import exit_with, exit_with_error, team_settings_or_exit
from bot.domain.errors import BotError
from bot.messages.manifest import manifest as manifest_of
from bot.messages.translations import translations_of
from bot.team import load_team

commands = typer.Typer()


@commands.command()
def manifest(
    url: Annotated[
        str | None, typer.Option(help="Where Slack reaches the bot: https://bot.example.org; default: Socket Mode.")
    ] = None,
) -> None:
    """Print the Slack app manifest with the names of the team's folder, in its language."""
    settings = team_settings_or_exit()
    if url and not url.startswith("https://"):
        exit_with(["--url: must begin with https://, as Slack demands"])
    try:
        team = load_team(settings.team_file)
    except BotError as problem:
        exit_with_error(problem, settings.locale)
    words = translations_of(team, settings.locale)[settings.locale]
    content = manifest_of(team, words, url)
    typer.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), nl=False)
