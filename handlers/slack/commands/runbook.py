"""`/runbook`: list and show runbooks, and run them."""

from __future__ import annotations

from bot.actions.catalogue import ACTIONS
from bot.domain.nearest import nearest
from bot.domain.run import RunRequest, normalize_run_id
from bot.messages.message import Message
from bot.messages.run import progress, runs
from bot.messages.runbook import library, runbook
from bot.services.ops import read_runbook, start
from bot.signature import Rest
from handlers.slack.commands.group import Command
from handlers.slack.context import Call

RUNBOOK = Command("runbook")


@RUNBOOK.verb("/runbook list")
async def list_(call: Call) -> Message:
    """List all runbooks."""
    return library(call.bot.runs.library.runbooks.values(), await call.translations())


@RUNBOOK.verb("/runbook show render-latency")
async def show(call: Call, name: str) -> Message:
    """Show a runbook's steps."""
    definition = call.bot.runs.library.get(name)
    return runbook(
        definition, await call.translations(), [ACTIONS.get(step.uses).risk.value for step in definition.steps]
    )


@RUNBOOK.verb("/runbook run render-latency service=xr-engine --dry-run")
async def run(call: Call, line: Rest) -> Message:
    """Run a runbook; with `--dry-run` only show what it would do."""
    asked = read_runbook(line, call.bot.runs.library)
    request = await run_request(call, environment=asked.environment, dry_run=asked.dry_run)
    started = await start(call.bot.runs, asked, request)
    return progress(started, await call.translations())


@RUNBOOK.verb("/runbook status")
async def status(call: Call, run: str | None = None) -> Message:
    """Show a run, or all running ones."""
    words = await call.translations()
    if run:
        return progress(await call.bot.deps.store.runs.get(normalize_run_id(run)), words)
    return runs(await call.bot.deps.store.runs.list_running(), words)


@RUNBOOK.verb("/runbook cancel R-3fa91c7k2m")
async def cancel(call: Call, run: str) -> Message:
    """Stop a run immediately."""
    stopped = await call.bot.runs.cancel(
        normalize_run_id(run), by=await call.person(), idempotency_key=call.idempotency_key
    )
    return progress(stopped, await call.translations())


@RUNBOOK.verb("/runbook undo R-3fa91c7k2m")
async def undo(call: Call, run: str) -> Message:
    """Undo a run's changes."""
    undone = await call.bot.runs.undo(
        normalize_run_id(run), by=await call.person(), idempotency_key=call.idempotency_key
    )
    return progress(undone, await call.translations())


async def run_request(call: Call, *, environment: str | None, dry_run: bool) -> RunRequest:
    """Return the request for a run from this call, for the incident of its channel if there is one."""
    return RunRequest(
        by=await call.person(),
        idempotency_key=call.idempotency_key,
        incident=await call.bot.incidents.in_channel(call.channel_id or ""),
        channel=call.channel_id,
        environment=environment,
        dry_run=dry_run,
    )


def _suggest(call: Call, word: str) -> str | None:
    known = call.bot.runs.library.runbooks
    return f"run {word}" if word in known else nearest(word, [*RUNBOOK.verbs, *(f"run {name}" for name in known)])


RUNBOOK.suggest = _suggest
