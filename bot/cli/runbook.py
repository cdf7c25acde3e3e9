"""`tamv-bot runbook …` and `tamv-bot ops …`: runbooks and actions in a terminal, under the same policy and audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bot.actions.catalogue import ACTIONS
from bot.cli import new_runbook
from bot.cli.runs import SUCCEEDED, decide, names, pending_approvers, start_and_watch
from bot.cli.runs import undo as undo_and_watch
from bot.cli.targets import missing_targets
from bot.cli.terminal import (
    Language,
    ask,
    exit_with,
    exit_with_error,
    person,
    reader,
    runbook_names,
    say,
    team_settings_or_exit,
    team_words,
)
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef, is_undo, normalize_run_id, undo_step_id
from bot.messages.message import Message
from bot.messages.run import progress
from bot.messages.run import runs as runs_message
from bot.messages.runbook import library as library_message
from bot.messages.runbook import runbook as runbook_message
from bot.messages.text import as_text
from bot.runbooks import Library
from bot.runbooks.check import check, queries
from bot.runbooks.document import mermaid
from bot.runbooks.library import read
from bot.services.bot import Bot
from bot.services.ops import read as read_line
from bot.services.ops import start
from bot.signature import tokenize
from bot.team import TeamFile, load_team

commands = typer.Typer(help="Runbooks: list, show, validate and run them.", no_args_is_help=True)
single = typer.Typer()
commands.add_typer(new_runbook.commands)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder of the runbooks; default: the team's.", exists=True, file_okay=False),
]
Name = Annotated[str, typer.Argument(autocompletion=runbook_names)]
As = Annotated[str | None, typer.Option("--as", help="Requester, as in the team file; default: the current user.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]
Where = Annotated[
    str | None, typer.Option("--environment", help="production (default unless the runbook names one), staging …")
]
About = Annotated[str | None, typer.Option("--incident", help="Incident of the run: INC-2026-0001.")]


@commands.command("list")
def list_(folder: Folder = None, lang: Language = "") -> None:
    """List all runbooks."""
    _print(_blocks(library_message(_library(folder, lang).runbooks.values(), team_words(lang)).to_dict()))


@commands.command()
def show(name: Name, folder: Folder = None, lang: Language = "") -> None:
    """Show a runbook's steps, and a flowchart in Mermaid."""
    words, library = team_words(lang), _library(folder, lang)
    try:
        runbook = library.get(name)
    except BotError as problem:
        exit_with_error(problem, lang)
    risks = [ACTIONS.get(step.uses).risk.value for step in runbook.steps]
    _print(_blocks(runbook_message(runbook, words, risks).to_dict()))
    typer.echo(f"\n{mermaid(runbook, words.pick)}", nl=False)


@commands.command()
def validate(
    files: Annotated[list[Path] | None, typer.Argument(help="Check only these files.", exists=True)] = None,
    folder: Folder = None,
    lang: Language = "",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also check that the targets exist in the cluster.")
    ] = False,
) -> None:
    """Check runbooks without running them: one line per mistake, with its position; exit 1 if there is any."""
    team, words = _team(lang), team_words(lang)
    path = team_settings_or_exit().team_file
    by_path, mistakes = read([*sorted((folder or team.runbooks).glob("*.yaml")), *(files or [])])
    all_runbooks = {runbook.name: runbook for runbook in by_path.values()}
    mistakes += [
        str(mistake)
        for file, runbook in by_path.items()
        for mistake in check(file, runbook, ACTIONS, team, all_runbooks)
    ]
    mistakes += [str(mistake) for mistake in queries(path, team)]
    if cluster and not mistakes:
        mistakes += [str(mistake) for mistake in ask(lambda deps: missing_targets(deps, path, by_path))]
    if files:
        names = {path.name for path in files}
        mistakes = [line for line in mistakes if line.partition(":")[0] in names]
    if mistakes:
        exit_with(dict.fromkeys(mistakes), code=1)
    typer.echo(words.render_block("terminal", "valid", count=len(files or by_path)))


@commands.command()
def run(
    name: Name,
    inputs: Annotated[list[str] | None, typer.Argument(help="key=value …", metavar="[KEY=VALUE]...")] = None,
    dry_run: DryRun = False,
    environment: Where = None,
    incident: About = None,
    by: As = None,
) -> None:
    """Run a runbook and show its progress, even while Slack is down; exit 0 only if it succeeds.

    A dry run needs no settings of Slack: without them it is nobody's, is posted nowhere, and is not kept.
    """
    given = {key.replace("-", "_"): value for key, value in tokenize(_line(inputs or ())).options.items()}

    async def start_run(bot: Bot, idempotency_key: str) -> Run:
        request = RunRequest(
            by=(reader if dry_run else person)(bot.deps.team, by),
            idempotency_key=idempotency_key,
            incident=await bot.incidents.find(incident) if incident else None,
            environment=environment,
            dry_run=dry_run,
        )
        return await bot.runs.start(name, given, request)

    start_and_watch(start_run, dry_run=dry_run)


@commands.command()
def status(run: Annotated[str | None, typer.Argument(help="R-3fa91c7k2m; default: all running ones.")] = None) -> None:
    """Show a run, or all running ones; reads only the database."""

    async def query(deps: Deps) -> tuple[Deps, Message, list[str]]:
        if run is None:
            return deps, runs_message(await deps.store.runs.list_running(), deps.words), []
        run_record = await deps.store.runs.get(normalize_run_id(run))
        waiting = [
            await pending_approvers(deps, run_record, asked)
            for step in run_record.steps
            for asked in (step.id, undo_step_id(step.id))
        ]
        return deps, progress(run_record, deps.words), [hint for hint in waiting if hint]

    deps, message, hints = ask(query)
    _print(_blocks(message.to_dict()), names(deps))
    _print(hints)


@commands.command()
def approve(run: str, step: str, digest: str, by: As = None) -> None:
    """Approve exactly what was shown (identified by the digest), and watch the run."""
    verdict = ApprovalState.APPROVED
    start_and_watch(
        lambda bot, key: decide(bot, person(bot.deps.team, by), StepRef(normalize_run_id(run), step, digest), verdict),
        tuple(RunState) if is_undo(step) else SUCCEEDED,  # a run that is undone may have ended in any way
    )


@commands.command()
def reject(run: str, step: str, digest: str, by: As = None) -> None:
    """Reject exactly what was shown, and watch the run; exit 0 if the rejection was accepted."""
    verdict = ApprovalState.REJECTED
    start_and_watch(
        lambda bot, key: decide(bot, person(bot.deps.team, by), StepRef(normalize_run_id(run), step, digest), verdict),
        tuple(RunState),
    )


@commands.command()
def cancel(run: str, by: As = None) -> None:
    """Stop a run immediately; its changes are undone as its runbook says. Exit 0 if it was cancelled."""
    success = (RunState.CANCELLED,)
    start_and_watch(
        lambda bot, key: bot.runs.cancel(normalize_run_id(run), by=person(bot.deps.team, by), idempotency_key=key),
        success,
    )


@commands.command()
def undo(run: str, by: As = None) -> None:
    """Undo a run's changes; exit 0 only if none is left but those its runbook keeps."""
    undo_and_watch(normalize_run_id(run), by)


@single.command()
def ops(
    line: Annotated[list[str], typer.Argument(help="As after /ops: scale xr-engine 10", metavar="ACTION [WORDS]...")],
    dry_run: DryRun = False,
    environment: Where = None,
    incident: About = None,
    by: As = None,
) -> None:
    """Run a single action like `/ops`, even while Slack is down; exit 0 only if it succeeds."""

    async def start_run(bot: Bot, idempotency_key: str) -> Run:
        ops_request = read_line(_line(line), bot.deps.team, bot.runs.library)
        request = RunRequest(
            by=(reader if dry_run else person)(bot.deps.team, by),
            idempotency_key=idempotency_key,
            incident=await bot.incidents.find(incident) if incident else None,
            environment=ops_request.environment or environment,
            dry_run=dry_run or ops_request.dry_run,
        )
        return await start(bot.runs, ops_request, request)

    start_and_watch(start_run, dry_run=dry_run)


def _line(words: Sequence[str]) -> str:
    """Return words that the shell has split, quoted for the bot's own parser."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if " " not in word:
        return word
    sign = "'" if '"' in word else '"'
    key, equals, value = word.partition("=")
    return f"{key}={sign}{value}{sign}" if equals and " " not in key else f"{sign}{word}{sign}"


def _library(folder: Path | None, lang: str) -> Library:
    team = _team(lang)
    try:
        return Library.read(folder or team.runbooks, ACTIONS, team)
    except BotError as problem:
        exit_with_error(problem, lang)


def _team(lang: str) -> TeamFile:
    try:
        return load_team(team_settings_or_exit().team_file)
    except BotError as problem:
        exit_with_error(problem, lang)


def _blocks(message: dict[str, object]) -> list[str]:
    """Return the texts of a message's blocks."""
    blocks = message["blocks"] if isinstance(message["blocks"], list) else []
    texts = [part for block in blocks for part in (block.get("text"), *block.get("elements", ()))]
    return [part["text"] for part in texts if part and isinstance(part.get("text"), str)]


def _print(texts: Sequence[str], names: dict[str, str] | None = None) -> None:
    for text in texts:
        say(as_text(text, names or {}).replace("`", ""))
