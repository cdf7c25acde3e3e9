"""Every request from Slack passes here: saved before it is acknowledged, handled once, errors replied."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

from slack_bolt.async_app import AsyncAck, AsyncBoltContext
from slack_bolt.response import BoltResponse

from bot.domain.errors import BotError, Unavailable
from bot.messages.message import Message
from bot.services.bot import Bot
from bot.store.deliveries import Delivery
from handlers.slack.context import Call

log = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[None]]
Listener = Callable[..., Coroutine[Any, Any, BoltResponse | None]]

SOURCE = "slack"
ACK_TIMEOUT_SECONDS = 2.8  # Slack gives up at 3 s


class SlackDispatcher:
    """Turns handlers into Bolt listeners, and keeps the tasks that continue after the acknowledgement."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._tasks: set[asyncio.Task[None]] = set()

    def listener(self, handler: Handler) -> Listener:
        """Return `handler` as a listener for Bolt with `process_before_response`.

        The response is sent as soon as the handler acknowledges (Bolt itself would poll every 10 ms); the rest of the
        handler continues in a task.
        """

        async def listen(ack: AsyncAck, body: dict[str, Any], context: AsyncBoltContext) -> BoltResponse | None:
            started = time.perf_counter()
            call = Call(self._bot, body, ack, delivery_key(body), replayed=bool(context.get("replayed")))
            task = asyncio.create_task(self._handle(handler, call), name=f"slack:{handler.__name__}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: call.acknowledged.set())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                    await call.acknowledged.wait()
            if not call.replayed:
                self._bot.deps.metrics.ack_seconds.observe(time.perf_counter() - started)
            # Without an acknowledgement Slack repeats events, and shows people an error.
            return ack.response or BoltResponse(status=503)

        return listen

    async def drain(self, seconds: float = 10.0) -> None:
        """Wait for running handlers; unfinished ones continue after the next start."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def _handle(self, handler: Handler, call: Call) -> None:
        deliveries = self._bot.deps.store.deliveries
        try:
            if not call.replayed:
                body = json.dumps(call.body, ensure_ascii=False)
                if not await deliveries.accept(Delivery(call.idempotency_key, SOURCE, body), self._now()):
                    await call.ack()
                    return
        except BotError as problem:
            await self._reply_not_saved(call, problem)
            return
        try:
            await handler(call)
            if call.rejected:
                await deliveries.discard(call.idempotency_key)
            else:
                await deliveries.mark_done(call.idempotency_key, self._now())
        except Unavailable as problem:
            if _can_wait(call, problem):
                await self._defer(call)
            else:
                await self._reply_failure(call, problem)
        except BotError as problem:
            await self._reply_failure(call, problem)
        except Exception:
            reference = uuid.uuid4().hex[:8]
            log.exception("handler failed unexpectedly, reference %s", reference)
            self._bot.deps.metrics.delivery_failed(SOURCE)
            await self._reply_failure(call, BotError("unexpected", reference=reference))

    async def _reply_not_saved(self, call: Call, problem: BotError) -> None:
        """Report that the request was not saved: Slack repeats events, and a form stays open with its values."""
        if _is_event(call):
            return
        blocks = (call.body.get("view") or {}).get("blocks") or []
        field = next((block["block_id"] for block in blocks if block.get("type") == "input"), None)
        if field and call.body.get("type") == "view_submission":
            words = await call.cached_translations()
            await call.ack(response_action="errors", errors={field: words.error(problem)})
            return
        await self._reply_error(call, problem)

    async def _defer(self, call: Call) -> None:
        """Leave a saved request to the next recovery pass."""
        if not call.replayed and not _is_event(call):
            await self._reply_error(call, BotError("database_later"))
        self._bot.deps.store.deliveries.release(call.idempotency_key)

    async def _reply_failure(self, call: Call, problem: BotError) -> None:
        await self._reply_error(call, problem)
        try:
            await self._bot.deps.store.deliveries.mark_done(call.idempotency_key, self._now())
        except Unavailable as unavailable:
            log.warning("could not mark a delivery as done after %s: %s", problem, unavailable)

    async def _reply_error(self, call: Call, problem: BotError) -> None:
        try:
            await call.ack()
            words = await call.translations()
            text = words.error(problem)
            if isinstance(problem, Unavailable) and problem.key != "database_unavailable":
                text += " " + words.render_block("replies", "try_again")
            await call.reply(Message.of(text))
        except BotError as failure:
            log.warning("could not reply: %s", failure)

    def _now(self) -> datetime:
        return self._bot.deps.clock.now()


def delivery_key(body: dict[str, Any]) -> str:
    """Return the key of a delivery: Slack's event id, or a digest of the body."""
    event = body.get("event_id")
    if isinstance(event, str):
        return f"slack:{event}"
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
    return f"slack:{hashlib.sha256(canonical).hexdigest()[:40]}"


def _is_event(call: Call) -> bool:
    return "event_id" in call.body


def _can_wait(call: Call, problem: Unavailable) -> bool:
    """Return True if it is retried without the person: database errors, and all events."""
    return problem.key == "database_unavailable" or _is_event(call)
