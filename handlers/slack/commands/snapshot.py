"""`/snapshot`: the metrics with charts, now or compared between two times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from bot.domain.times import Duration
from bot.messages.message import Message
from bot.signature import Rest, Signature, Tokens
from handlers.slack.commands.group import Command
from handlers.slack.context import Call

SNAPSHOT = Command("snapshot")

_PROMQL = re.compile(r"[({\[]|[=!<>]=|=~|!~")
_OPTION = re.compile(r"(?:^|\s)(service|window)=([\w.-]+)(?=\s|$)")  # PromQL quotes its values, so it does not match


class PromqlSignature(Signature):
    """A signature whose words may be PromQL, which contains `=` and quotes."""

    def read(self, typed: Tokens, command: str, general: Sequence[str] = ()) -> dict[str, Any]:
        if not _PROMQL.search(typed.raw):
            return super().read(typed, command, general)
        values = {"what": _OPTION.sub(" ", typed.raw).strip(), **dict(_OPTION.findall(typed.raw))}
        return {
            parameter.name: self._value(parameter, values[parameter.name], f"{command} {self.name}", self.example)
            for parameter in self.parameters
            if parameter.name in values
        }


async def snapshot(
    call: Call, what: Rest | None = None, *, service: str | None = None, window: Duration | None = None
) -> Message | None:
    """Show the metrics of a board, a query or PromQL; in an incident's channel, for everybody."""
    return await _answer(call, what=what, service=service, window=window)


SNAPSHOT.default = PromqlSignature.of(snapshot, example="/snapshot render service=xr-engine window=2h")
SNAPSHOT.verbs[SNAPSHOT.name] = SNAPSHOT.default


@SNAPSHOT.verb("/snapshot compare 02:10 -5m")
async def compare(
    call: Call, first: str, second: str = "now", *, board: str | None = None, service: str | None = None
) -> Message | None:
    """Compare the metrics at two times: `02:10` (in your time zone), `-15m`, ISO 8601, or a milestone's name."""
    return await _answer(call, what=board, service=service, between=(first, second))


async def _answer(
    call: Call,
    *,
    what: str | None,
    service: str | None,
    window: timedelta | None = None,
    between: tuple[str, str] | None = None,
) -> Message | None:
    named = call.named_incident
    incident = await call.incident() if named else await call.bot.incidents.in_channel(call.channel_id or "")
    person, words, snapshots = await call.person(), await call.translations(), call.bot.snapshots
    snapshot_request = await snapshots.ask(
        incident, by=person, what=what, service=service, window=window, between=between
    )
    times = await snapshots.understood(snapshot_request, person)
    if incident and incident.channel:
        await snapshots.into_channel(incident, snapshot_request, idempotency_key=call.idempotency_key)
        return Message.of(words.render_block("snapshot", "in_channel", times=times))
    taken = await snapshots.take(snapshot_request)
    await call.reply(snapshots.message(taken, words))
    text = await snapshots.send_charts(taken, person, words, idempotency_key=call.idempotency_key)
    lines = "\n".join(filter(None, (words.render_block("snapshot", "times", times=times) if times else "", text)))
    return Message.of(lines) if lines else None
