"""`--team DIR`: which team's folder a command uses, the same for every command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

HELP = "The team's folder, or its team.yaml; instead of TEAM_DIR and BOT_CONFIG."


def add_team_option(command: Any) -> None:
    """Give `--team` to this command of Typer's and all commands below it."""
    for child in getattr(command, "commands", {}).values():
        add_team_option(child)
    app = typer.Typer(add_completion=False)
    app.command()(_with_team)
    command.params.extend(param for param in typer.main.get_command(app).params if param.name == "team")


def _use(team: Path | None) -> None:
    """Set the environment variable that the option stands for: it holds for child processes, too."""
    if team is None:
        return
    name, other = ("BOT_CONFIG", "TEAM_DIR") if team.is_file() else ("TEAM_DIR", "BOT_CONFIG")
    os.environ[name] = str(team.absolute())
    os.environ[other] = ""


def _with_team(
    team: Annotated[
        Path | None, typer.Option(help=HELP, callback=_use, is_eager=True, expose_value=False, exists=True)
    ] = None,
) -> None:
    """Exist for its option, which is the same for all commands."""
