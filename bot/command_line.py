"""`tamv-bot`: the command line. The only module that imports every layer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from bot.app import running_bot
from bot.cli import incident, init, manifest, runbook
from bot.cli.doctor import run_checks
from bot.cli.findings import CHECK_SECONDS
from bot.cli.team import add_team_option
from bot.cli.terminal import (
    Language,
    exit_with,
    exit_with_error,
    mistyped,
    runbook_names,
    settings_or_exit,
    team_settings_or_exit,
    team_words,
    terminal_language,
)
from bot.domain.errors import BotError
from bot.logs import configure_logging
from bot.messages.translations import load_translations
from bot.redaction import Redaction
from bot.services.rotated_secrets import rotated
from bot.services.team_folder import TeamFolder, on_hangup
from bot.settings import Settings
from bot.store.backup import backup, restore
from bot.store.migrate import upgrade
from bot.tasks import cancel_and_wait
from handlers.app import Server
from handlers.health import Health
from handlers.heartbeat import beat
from handlers.http_server import bind, listen

log = logging.getLogger(__name__)

cli = typer.Typer(
    help="The incident bot: from the alert to the report.", no_args_is_help=True, pretty_exceptions_enable=False
)
database = typer.Typer(help="The database.", no_args_is_help=True)
cli.add_typer(database, name="db")
cli.add_typer(incident.commands, name="incident")
cli.add_typer(runbook.commands, name="runbook")
cli.add_typer(runbook.single)
cli.add_typer(manifest.commands)
cli.add_typer(init.commands)


def run() -> None:
    """Run the command line."""
    if sys.stdin is None:  # closed by whoever has started us: nobody answers
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - until it ends
    command = typer.main.get_command(cli)
    add_team_option(command)
    try:
        sys.exit(command.main(prog_name="tamv-bot", standalone_mode=False))
    except typer.Abort:  # a question that nobody answers
        typer.echo(load_translations()[terminal_language()].render_block("terminal", "unanswered"), err=True)
        sys.exit(2)
    except typer.TyperException as problem:
        is_help = not isinstance(problem, typer.BadParameter) and (not problem.message or "\n" in problem.message)
        words = load_translations()[terminal_language()]
        text = problem.message if is_help else mistyped(problem, command, sys.argv[1:], words)
        typer.echo(text, err=True, nl=bool(text))
        sys.exit(problem.exit_code)
    except Exception as problem:  # a fault of ours; whoever types need not read its trace
        if os.environ.get("LOG_LEVEL") == "DEBUG":
            sys.stderr.write(Redaction().text(traceback.format_exc()))
        words = load_translations()[terminal_language()]
        sys.exit(words.render_block("terminal", "unexpected", kind=type(problem).__name__))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tamv-bot {version('tamv-bot')}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = (
        False
    ),
) -> None:
    pass  # the options act by themselves


@cli.command()
def serve() -> None:
    """Run the bot: HTTP, and Socket Mode where SLACK_APP_TOKEN is set."""
    settings = settings_or_exit()
    try:
        asyncio.run(_serve(settings))
    except BotError as problem:
        exit_with_error(problem, settings.locale, code=2)
    except Exception:
        log.exception("the bot ends")  # its log is where whoever runs it looks
        raise


@cli.command()
def demo(
    auto: Annotated[bool, typer.Option("--auto", help="Play the scenario to its end, then exit.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the report that --auto writes.")] = Path("out"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the web page; 0 picks a free one.")] = 8080,
    lang: Language = "",
    speed: Annotated[float | None, typer.Option(min=0.1, max=120, help="Simulated seconds per real second.")] = None,
    scenario: Annotated[str, typer.Option(help="Scenario to play.")] = "render-latency",
) -> None:
    """Try the whole product without any account: the sandbox, the bot and a web page that looks like Slack."""
    from demo import play  # imports the sandbox, which `serve` does not need

    logging.disable(logging.WARNING)  # the terminal shows the story only
    words = load_translations()[lang]
    if scenario not in play.scenarios():
        exit_with([words.render_block("demo", "no_scenario", scenario=scenario, known=play.scenarios())])
    if play.lacks_helm(scenario):
        exit_with([words.render_block("demo", "no_helm", scenario=scenario)])
    if play.lacks_moto(scenario):
        exit_with([words.render_block("demo", "no_moto", scenario=scenario)])
    speed = speed or (play.SPEED if auto else play.INTERACTIVE_SPEED)
    code = 0
    try:
        code = asyncio.run(play.play(auto=auto, out=out, port=port, locale=lang, speed=speed, scenario=scenario))
    except KeyboardInterrupt:
        code = 130 if auto else 0
    except BotError as problem:
        exit_with_error(problem, lang, code=2)
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            exit_with([words.render_block("demo", "port_taken", port=port)])
        exit_with([words.render_block("demo", "not_written", out=out, why=problem.strerror or problem)])
    raise typer.Exit(code)


@runbook.commands.command("test")
def runbook_test(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Test only these runbooks.", metavar="[NAME]...", autocompletion=runbook_names),
    ] = None,
    lang: Language = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Play runbooks of the team in a sandbox: succeeding, rejected, failing at each step, with the bot killed."""
    settings, words = team_settings_or_exit(), team_words(lang)
    try:
        from demo import runbook_test  # imports the sandbox, which `serve` does not need
    except ModuleNotFoundError:
        exit_with([words.render_block("runbook_test", "no_sandbox")])
    logging.disable(logging.CRITICAL)
    try:
        test = runbook_test.read(settings, words, names or ())
    except BotError as problem:
        exit_with_error(problem, lang, code=2)
    except LookupError as problem:
        exit_with([str(problem.args[0])])
    try:
        succeeded = asyncio.run(test.run(as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if succeeded else 1)


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each check may take.")] = CHECK_SECONDS,
) -> None:
    """Check every integration, read-only, and report what is missing; exit 1 if something required is."""
    raise typer.Exit(run_checks(settings_or_exit(), as_json=as_json, seconds=timeout))


@database.command("upgrade")
def database_upgrade() -> None:
    """Migrate the database to the newest version."""
    settings = settings_or_exit()
    try:
        upgrade(settings.database_url)
    except BotError as problem:
        exit_with_error(problem, settings.locale)


@database.command("backup")
def database_backup(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or new.", file_okay=False)],
) -> None:
    """Copy the database, workflows included, while the bot runs; both from the same moment."""
    settings = settings_or_exit()
    try:
        for path in backup(settings.database_url, folder):
            typer.echo(path)
    except BotError as problem:
        exit_with_error(problem, settings.locale)


@database.command("restore")
def database_restore(
    folder: Annotated[Path, typer.Argument(help="What `db backup` has written.", exists=True, file_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a database that is not empty.")] = False,
) -> None:
    """Restore a backup; stop every bot on this database first."""
    settings = settings_or_exit()
    try:
        restore(settings.database_url, folder, force=force)
    except BotError as problem:
        exit_with_error(problem, settings.locale)


async def _serve(settings: Settings) -> None:
    # Every step of an acknowledgement may wait this long while another thread holds the GIL (default: 5 ms).
    sys.setswitchinterval(0.0005)
    stop, secrets = asyncio.Event(), list(settings.secrets)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    current: Settings | None = settings
    with contextlib.closing(bind(settings.host, settings.port)) as bound:
        while current is not None:
            secrets += current.secrets  # those from before stay out of the log, too
            configure_logging(Redaction(secrets), settings.log_format, settings.log_level)
            current = await _serve_until_rotated(current, stop, bound)
            gc.unfreeze()


async def _serve_until_rotated(settings: Settings, stop: asyncio.Event, bound: socket.socket) -> Settings | None:
    """Run the bot until `stop` is set, or until a secret has changed: then return the settings to go on with.

    What is under way goes on as after a restart. BotError if the engine cannot start.
    """
    async with running_bot(settings) as bot:
        server = Server(bot, settings)
        folder = TeamFolder(bot, settings.team_file)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup(folder))
        beside = [asyncio.create_task(folder.watch(), name="watch the team's folder")]
        if settings.heartbeat_url:
            beating = beat(Health(bot).is_ready, bot.deps.http, str(settings.heartbeat_url))
            beside.append(asyncio.create_task(beating, name="heartbeat"))
        async with (
            server.recovering_deliveries(),
            server.socket_mode(settings),
            listen(server.app(), settings.host, settings.port, bound),
        ):
            slack = "Socket Mode" if settings.slack_app_token else "HTTP: POST /slack/events"
            log.info("listening on %s:%s; Slack reaches the bot by %s", settings.host, settings.port, slack)
            gc.freeze()  # skip objects that live as long as the process: scanning them takes 0.2 s each time
            stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(bot.engine.failed())
            changed = asyncio.create_task(rotated(settings), name="watch the secrets")
            await asyncio.wait({stopped, failed, changed}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait([stopped, failed, changed, *beside])
            if not failed.cancelled():
                raise BotError("engine_not_started", why=failed.result())
            return None if changed.cancelled() or stop.is_set() else changed.result()
