"""`tamv-bot runbook …` and `tamv-bot ops …`: runbooks and actions in a terminal, under the same policy and audit."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.cli.runs import SUCCEEDED, decide, names, pending_approvers, start_and_watch
from bot.cli.runs import answer as give_answer
from bot.cli.runs import undo as undo_and_watch
from bot.cli.terminal import (
    NOBODY,
    Language,
    ask,
    exit_with,
    exit_with_error,
    person,
    plain,
    reader,
    runbook_names,
    say,
    team_settings_or_exit,
    team_words,
)
from bot.deps import Deps
from bot.domain.errors import BotError, NotConfigured, NotFound
from bot.domain.run import ApprovalState, Run, RunRequest, RunState, StepRef, is_undo, normalize_run_id, undo_step_id
from bot.domain.runbook import Runbook, Step
from bot.messages.message import Message
from bot.messages.run import progress
from bot.messages.run import runs as runs_message
from bot.messages.runbook import library as library_message
from bot.messages.runbook import runbook as runbook_message
from bot.messages.translations import Translations
from bot.runbooks import Library, Mistake
from bot.runbooks.check import check, load, queries
from bot.runbooks.document import mermaid
from bot.runbooks.library import files as runbook_files
from bot.runbooks.library import read
from bot.services.bot import Bot
from bot.services.ops import help_on, read_runbook, start
from bot.services.ops import read as read_line
from bot.team import PRODUCTION, TeamFile, load_team
from bot.yaml_text import compose, line_and_column

if TYPE_CHECKING:  # takes a second to import, which other commands do not need
    from bot.integrations.kubernetes.kubernetes import Kubernetes

commands = typer.Typer(help="Runbooks: list, show, validate and run them.", no_args_is_help=True)
single = typer.Typer()

HELP = ("help", "ayuda")
_NEW_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
# What names a target in a step, and of a service in the team's file, in the order in which they count.
_NAMES = ("deployment", "service", "release")
_FIELDS = ("workloads", "workload", "deployment")

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
    words = team_words(lang)
    _print(library_message(_library(folder, lang).runbooks.values(), words), words)


@commands.command()
def show(name: Name, folder: Folder = None, lang: Language = "") -> None:
    """Show a runbook's steps, and a flowchart in Mermaid."""
    words, library = team_words(lang), _library(folder, lang)
    try:
        runbook = library.get(name)
    except BotError as problem:
        exit_with_error(problem, lang)
    risks = [ACTIONS.get(step.uses).risk.value for step in runbook.steps]
    _print(runbook_message(runbook, words, risks), words)
    typer.echo(f"\n{mermaid(runbook, words.pick)}", nl=False)


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the runbook, and of its file: restart-checkout.")],
    action: Annotated[str, typer.Argument(help="Action of its first step: kubernetes.restart.")] = "kubernetes.restart",
    lang: Language = "",
) -> None:
    """Write a runbook with one step into the team's folder, ready to be changed; its inputs are the action's."""
    words = team_words(lang)
    if not _NEW_NAME.fullmatch(name):
        exit_with([words.render_block("new_runbook", "wrong_name", name=name)])
    try:
        team = load_team(team_settings_or_exit().team_file)
        path = team.runbooks / f"{name}.yaml"
        if path.exists():
            exit_with([words.render_block("new_runbook", "exists", path=path)])
        path.parent.mkdir(exist_ok=True)
        path.write_text(_skeleton(name, ACTIONS.get(action), words), encoding="utf-8")
        mistakes = [str(mistake) for mistake in check(path, load(path), ACTIONS, team)]
    except BotError as problem:
        exit_with_error(problem, lang)
    except OSError as problem:
        exit_with([words.render_block("new_runbook", "not_written", why=problem.strerror or problem)])
    typer.echo(words.render_block("new_runbook", "written", path=path, name=name))
    if mistakes:
        exit_with(mistakes, code=1)


def _skeleton(name: str, action: Action, words: Translations) -> str:
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
    try:
        by_path, mistakes = read([*runbook_files(folder or team.runbooks), *(files or [])])
    except BotError as problem:
        exit_with_error(problem, lang)
    all_runbooks = {runbook.name: runbook for runbook in by_path.values()}
    mistakes += [
        str(mistake)
        for file, runbook in by_path.items()
        for mistake in check(file, runbook, ACTIONS, team, all_runbooks)
    ]
    mistakes += [str(mistake) for mistake in queries(path, team)]
    if cluster and not mistakes:
        mistakes += [str(mistake) for mistake in ask(lambda deps: _missing_targets(deps, path, by_path))]
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

    async def start_run(bot: Bot, idempotency_key: str) -> Run:
        asked = read_runbook(_line([name, *(inputs or ())]), bot.runs.library)
        request = RunRequest(
            by=(reader if dry_run else person)(bot.deps.team, by),
            idempotency_key=idempotency_key,
            incident=await bot.incidents.find(incident) if incident else None,
            environment=asked.environment or environment,
            dry_run=dry_run or asked.dry_run,
        )
        return await start(bot.runs, asked, request)

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
    _print(message, deps.words, names(deps))
    for hint in hints:
        say(hint)


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


@commands.command("answer")
def answer_(run: str, step: str, digest: str, answer: str, by: As = None) -> None:
    """Answer the question of a step, and watch the run; exit 0 if it succeeds."""
    start_and_watch(
        lambda bot, key: give_answer(
            bot, person(bot.deps.team, by), StepRef(normalize_run_id(run), step, digest), answer.strip()
        )
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


@single.command(context_settings={"ignore_unknown_options": True})  # -1 is a number, and mistakes are said in our words
def ops(
    line: Annotated[list[str], typer.Argument(help="As after /ops: scale xr-engine 10", metavar="ACTION [WORDS]...")],
    dry_run: DryRun = False,
    environment: Where = None,
    incident: About = None,
    by: As = None,
) -> None:
    """Run a single action like `/ops`, even while Slack is down; exit 0 only if it succeeds. `ops help` lists them."""
    if line[0].lower() in HELP:
        locale = team_settings_or_exit().locale
        words = team_words(locale)
        try:
            _print(help_on(line[1:], words), words)
        except BotError as problem:
            exit_with_error(problem, locale)
        return

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


def _print(message: Message, words: Translations, names: Mapping[str, str] = NOBODY) -> None:
    """Print the texts of a message's blocks."""
    blocks = message.to_dict()["blocks"]
    texts = [part for block in blocks for part in (block.get("text"), *block.get("elements", ()))]
    for part in texts:
        if part and isinstance(part.get("text"), str):
            say(plain(part["text"], words, names).replace("`", ""))


async def _missing_targets(deps: Deps, team: Path, runbooks: Mapping[Path, Runbook]) -> list[Mistake]:
    """Return missing workloads of the team's services, and missing targets that runbooks name.

    Raises NotConfigured without a cluster, and Unavailable if it does not answer.
    """
    if deps.kubernetes is None:
        raise NotConfigured("kubernetes_off")
    missing = []
    for name, service in deps.team.services.items():
        for environment, namespace in service.namespaces.items():
            for workload in service.runs_as:
                if not await _deployed(deps.kubernetes, workload, namespace):
                    what = f"no workload `{workload}` in {namespace} ({environment})"
                    field = next(field for field in _FIELDS if getattr(service, field))
                    missing.append(Mistake(team.name, *line_and_column(_root(team), ("services", name, field)), what))
    for path, runbook in runbooks.items():
        for number, step in enumerate(runbook.steps):
            async for field, what in _missing_of_step(deps, deps.kubernetes, step):
                missing.append(
                    Mistake(path.name, *line_and_column(_root(path), ("steps", number, "with", field)), what)
                )
    return missing


async def _missing_of_step(deps: Deps, kubernetes: Kubernetes, step: Step) -> AsyncIterator[tuple[str, str]]:
    if not step.uses.startswith(("kubernetes.", "helm.")):
        return
    literal = {name: value for name, value in step.with_.items() if isinstance(value, str) and "{" not in value}
    subject = next((literal[name] for name in _NAMES if name in literal), deps.team.default_service or "")
    service = deps.team.services.get(subject)
    namespace = literal.get("namespace") or (service.namespaces.get(PRODUCTION) if service else None)
    if namespace is None:
        return
    declared = service.runs_as if service else []
    names = [*declared, literal["deployment"]] if "deployment" in literal and not declared else declared
    if "deployment" in literal and not all([await _deployed(kubernetes, name, namespace) for name in names]):
        yield "deployment", f"no workload `{literal['deployment']}` in {namespace}"
    if "cron_job" in literal:
        try:
            await kubernetes.jobs.of_cron_job(literal["cron_job"], namespace, "check")
        except NotFound:
            yield "cron_job", f"no cron job `{literal['cron_job']}` in {namespace}"


async def _deployed(kubernetes: Kubernetes, name: str, namespace: str) -> bool:
    try:
        await kubernetes.workloads.find(name, namespace)
    except NotFound:
        return False
    return True


def _root(path: Path) -> yaml.Node | None:
    return compose(path.read_text(encoding="utf-8"))
