"""`tamv-bot runbook new`: a first version of a runbook, made of one action."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.cli.terminal import Language, exit_with, exit_with_error, team_settings_or_exit, team_words
from bot.domain.errors import BotError
from bot.messages.translations import Translations
from bot.runbooks.check import check, load
from bot.team import load_team

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

commands = typer.Typer()


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the runbook, and of its file: restart-checkout.")],
    action: Annotated[str, typer.Argument(help="Action of its first step: kubernetes.restart.")] = "kubernetes.restart",
    lang: Language = "",
) -> None:
    """Write a runbook with one step into the team's folder, ready to be changed; its inputs are the action's."""
    words = team_words(lang)
    if not NAME.fullmatch(name):
        exit_with([words.render_block("new_runbook", "wrong_name", name=name)])
    try:
        team = load_team(team_settings_or_exit().team_file)
        path = team.runbooks / f"{name}.yaml"
        if path.exists():
            exit_with([words.render_block("new_runbook", "exists", path=path)])
        path.parent.mkdir(exist_ok=True)
        path.write_text(skeleton(name, ACTIONS.get(action), words), encoding="utf-8")
        mistakes = [str(mistake) for mistake in check(path, load(path), ACTIONS, team)]
    except BotError as problem:
        exit_with_error(problem, lang)
    except OSError as problem:
        exit_with([words.render_block("new_runbook", "not_written", why=problem.strerror or problem)])
    typer.echo(words.render_block("new_runbook", "written", path=path, name=name))
    if mistakes:
        exit_with(mistakes, code=1)


def skeleton(name: str, action: Action, words: Translations) -> str:
    """Return a runbook that asks for what the action requires."""
    required = [field for field, spec in action.parameters.model_fields.items() if spec.is_required()]
    types: dict[Any, str] = {int: "integer", float: "number", bool: "boolean"}
    inputs = []
    for field in required:
        kind = types.get(action.parameters.model_fields[field].annotation or str, "string")
        inputs.append(f"  {field}: {{type: {kind}, required: true}}")
    given = ", ".join(f'{field}: "{{{{ inputs.{field} }}}}"' for field in required)
    title = json.dumps(words.action(action.name, action.summary).rstrip("."), ensure_ascii=False)
    lines = [f"name: {name}", f"title: {title}"]
    lines += ["inputs:", *inputs] if inputs else []
    lines += ["steps:", f"  - id: {action.name.rpartition('.')[2].replace('_', '-')}", f"    title: {title}"]
    lines += [f"    uses: {action.name}", *([f"    with: {{{given}}}"] if given else []), ""]
    return "\n".join(lines)
