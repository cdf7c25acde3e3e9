"""`tamv-bot runbook …` and `tamv-bot ops …`: runbooks and actions in a terminal, under the same policy and audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bot.actions.catalogue import ACTIONS
from bot.cli.runs import decide, names, pending_approvers, start_and_watch
from bot.cli.runs import undo as undone
from bot.cli.targets import missing_targets
from bot.cli.terminal import Language, ask, exit_with, exit_with_error, person
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef, StepState, normalize_run_id
from bot.messages.message import Message
from bot.messages.run import progress
from bot.messages.run import runs as listed_runs
from bot.messages.runbook import library as listed
from bot.messages.runbook import runbook as told
from bot.messages.text import as_text
from bot.messages.translations import load_translations
from bot.runbooks import Library
from bot.runbooks.check import check, queries
from bot.runbooks.document import mermaid
from bot.runbooks.library import read
from bot.services.bot import Bot
from bot.services.ops import read as read_line
from bot.services.ops import start
from bot.signature import tokenize
from bot.team import PRODUCTION, TeamFile, load_team

commands = typer.Typer(help="Runbooks: what there is, whether they are right, and runs of them.", no_args_is_help=True)
single = typer.Typer()

Folder = Annotated[Path, typer.Option("--folder", help="Where the runbooks are.", exists=True, file_okay=False)]
Team = Annotated[Path, typer.Option("--team", envvar="BOT_CONFIG", help="The team's file.")]
As = Annotated[str | None, typer.Option("--as", help="Who asks, as the team's file knows them; else the user here.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]
Where = Annotated[str, typer.Option("--environment", help="production, staging …")]
About = Annotated[str | None, typer.Option("--incident", help="The incident that it is for: INC-2026-0001.")]
FOLDER, TEAM = Path("runbooks"), Path("config/tamv.yaml")


@commands.command("list")
def list_(folder: Folder = FOLDER, team: Team = TEAM, lang: Language = "es") -> None:
    """All runbooks, a line each."""
    _print(_blocks(listed(_library(folder, team, lang).runbooks.values(), load_translations()[lang]).to_dict()))


@commands.command()
def show(name: str, folder: Folder = FOLDER, team: Team = TEAM, lang: Language = "es") -> None:
    """One step by step, and its drawing as Mermaid."""
    words, library = load_translations()[lang], _library(folder, team, lang)
    try:
        runbook = library.get(name)
    except BotError as problem:
        exit_with_error(problem, lang)
    risks = [ACTIONS.get(step.uses).risk.value for step in runbook.steps]
    _print(_blocks(told(runbook, words, risks).to_dict()))
    typer.echo(f"\n{mermaid(runbook, words.pick)}", nl=False)


@commands.command()
def validate(
    files: Annotated[list[Path] | None, typer.Argument(help="Some of them; else all.", exists=True)] = None,
    folder: Folder = FOLDER,
    team: Team = TEAM,
    lang: Language = "es",
    cluster: Annotated[bool, typer.Option("--cluster", help="Look in the cluster, too: do the targets exist?")] = False,
) -> None:
    """Judge them without running anything: a line for each mistake, with its place; exit 1 when there is one."""
    owners, words = _team(team, lang), load_translations()[lang]
    books, wrong = read([*sorted(folder.glob("*.yaml")), *(files or [])])
    all_runbooks = {runbook.name: runbook for runbook in books.values()}
    wrong += [
        str(mistake) for path, book in books.items() for mistake in check(path, book, ACTIONS, owners, all_runbooks)
    ]
    wrong += [str(mistake) for mistake in queries(team, owners)]
    if cluster and not wrong:
        wrong += [str(mistake) for mistake in ask(lambda parts: missing_targets(parts, team, books))]
    if files:
        names = {path.name for path in files}
        wrong = [line for line in wrong if line.partition(":")[0] in names]
    if wrong:
        exit_with(dict.fromkeys(wrong), code=1)
    typer.echo(words.render_block("terminal", "valid", count=len(files or books)))


@commands.command()
def run(
    name: str,
    inputs: Annotated[list[str] | None, typer.Argument(help="key=value …", metavar="[KEY=VALUE]...")] = None,
    dry_run: DryRun = False,
    environment: Where = PRODUCTION,
    incident: About = None,
    by: As = None,
) -> None:
    """Run one and say how it goes, also while Slack is down; exit 0 only when it succeeded."""
    given = {key.replace("-", "_"): value for key, value in tokenize(_line(inputs or ())).options.items()}

    async def begin(bot: Bot, idempotency_key: str) -> Run:
        request = RunRequest(
            by=person(bot.deps.team, by),
            idempotency_key=idempotency_key,
            incident=await bot.incidents.find(incident) if incident else None,
            environment=environment,
            dry_run=dry_run,
        )
        return await bot.runs.start(name, given, request)

    start_and_watch(begin)


@commands.command()
def status(run: Annotated[str | None, typer.Argument(help="R-3fa91c; else all that are going on.")] = None) -> None:
    """How a run stands, or all that are going on; the database alone is asked."""

    async def found(deps: Deps) -> tuple[Deps, Message, list[str]]:
        if run is None:
            return deps, listed_runs(await deps.store.runs.list_running(), deps.words), []
        run_record = await deps.store.runs.get(normalize_run_id(run))
        waiting = [
            await pending_approvers(deps, run_record, step.id)
            for step in run_record.steps
            if step.state is StepState.WAITING
        ]
        return deps, progress(run_record, deps.words), [how for how in waiting if how]

    deps, message, how = ask(found)
    _print(_blocks(message.to_dict()), names(deps))
    _print(how)


@commands.command()
def approve(run: str, step: str, digest: str, by: As = None) -> None:
    """Agree to exactly what was shown (the digest names it), and watch the run."""
    verdict = ApprovalState.APPROVED
    start_and_watch(
        lambda bot, cause: decide(bot, person(bot.deps.team, by), StepRef(normalize_run_id(run), step, digest), verdict)
    )


@commands.command()
def reject(run: str, step: str, digest: str, by: As = None) -> None:
    """Say no to exactly what was shown, and watch what becomes of the run; exit 0 when the no was counted."""
    verdict = ApprovalState.REJECTED
    start_and_watch(
        lambda bot, cause: decide(
            bot, person(bot.deps.team, by), StepRef(normalize_run_id(run), step, digest), verdict
        ),
        tuple(RunState),
    )


@commands.command()
def cancel(run: str, by: As = None) -> None:
    """Stop a run at once; what it has done is undone as its runbook says. Exit 0 when it was cancelled."""
    well = (RunState.CANCELLED,)
    start_and_watch(
        lambda bot, cause: bot.runs.cancel(normalize_run_id(run), by=person(bot.deps.team, by), idempotency_key=cause),
        well,
    )


@commands.command()
def undo(run: str, by: As = None) -> None:
    """Undo what a run has done; exit 0 only when nothing is left of it but what its runbook keeps."""
    undone(normalize_run_id(run), by)


@single.command()
def ops(
    line: Annotated[list[str], typer.Argument(help="As behind /ops: scale xr-engine 10", metavar="ACTION [WORDS]...")],
    dry_run: DryRun = False,
    environment: Where = PRODUCTION,
    incident: About = None,
    by: As = None,
) -> None:
    """One action by itself, as `/ops` does it, also while Slack is down; exit 0 only when it succeeded."""

    async def begin(bot: Bot, idempotency_key: str) -> Run:
        wanted = read_line(_line(line), bot.deps.team, bot.runs.library)
        request = RunRequest(
            by=person(bot.deps.team, by),
            idempotency_key=idempotency_key,
            incident=await bot.incidents.find(incident) if incident else None,
            environment=wanted.environment or environment,
            dry_run=dry_run or wanted.dry_run,
        )
        return await start(bot.runs, wanted, request)

    start_and_watch(begin)


def _line(words: Sequence[str]) -> str:
    """What the shell has taken apart, in the bot's own quotes."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if " " not in word:
        return word
    sign = "'" if '"' in word else '"'
    key, equals, value = word.partition("=")
    return f"{key}={sign}{value}{sign}" if equals and " " not in key else f"{sign}{word}{sign}"


def _library(folder: Path, team: Path, lang: str) -> Library:
    try:
        return Library.read(folder, ACTIONS, _team(team, lang))
    except BotError as problem:
        exit_with_error(problem, lang)


def _team(path: Path, lang: str) -> TeamFile:
    try:
        return load_team(path)
    except BotError as problem:
        exit_with_error(problem, lang)


def _blocks(message: dict[str, object]) -> list[str]:
    """The text of a message's blocks, and what stands small below."""
    blocks = message["blocks"] if isinstance(message["blocks"], list) else []
    texts = [part for block in blocks for part in (block.get("text"), *block.get("elements", ()))]
    return [part["text"] for part in texts if part and isinstance(part.get("text"), str)]


def _print(texts: Sequence[str], names: dict[str, str] | None = None) -> None:
    for text in texts:
        typer.echo(as_text(text, names or {}).replace("`", ""))
