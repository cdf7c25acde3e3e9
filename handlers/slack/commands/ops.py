"""`/ops`: a single action under the same policy as in a runbook, and the kill switch."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages.help import verb_help
from bot.messages.message import Message
from bot.messages.run import progress
from bot.services.ops import help_on, read, start
from bot.signature import Rest, tokenize
from handlers.slack.commands.group import HELP, Command
from handlers.slack.commands.runbook import run_request
from handlers.slack.context import Call

OPS = Command("ops")


@OPS.verb("/ops freeze Buen Fin: nadie toca producción")
async def freeze(call: Call, reason: Rest) -> Message:
    """Freeze all changes until the freeze is lifted."""
    await call.bot.runs.freeze(reason, by=await call.person(), idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("runbook", "frozen", reason=reason))


@OPS.verb("/ops thaw")
async def thaw(call: Call) -> Message:
    """End the freeze."""
    await call.bot.runs.thaw(by=await call.person(), idempotency_key=call.idempotency_key)
    return Message.of((await call.translations()).render_block("runbook", "thawed"))


@OPS.verb("/ops help scale")
async def help_(call: Call, action: Rest | None = None) -> Message:
    """List what is used most, all actions of one service, or show one with its parameters."""
    return await _help(call, action.split() if action else ())


@OPS.verb("/ops scale xr-engine 10", default=True)
async def ops(call: Call, line: Rest | None = None) -> Message:
    """Run a single action, by alias or as `service.verb`."""
    typed = tokenize(line or "")
    words = typed.words
    if "help" in typed.options or not words:
        return await _help(call, words)
    if words[-1].lower() in HELP:
        return await _help(call, words[:-1])
    runs = call.bot.runs
    ops_request = read(line or "", call.bot.deps.team, runs.library)
    request = await run_request(call, environment=ops_request.environment, dry_run=ops_request.dry_run)
    return progress(await start(runs, ops_request, request), await call.translations())


async def _help(call: Call, words: Sequence[str]) -> Message:
    translations = await call.translations()
    if words and (verb := OPS.verbs.get(words[0])):
        return verb_help(OPS.name, verb, translations)
    return help_on(words, translations)
