"""The one door: every delivery of Slack's is kept before it is acknowledged, handled once, and answered in words."""

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
    """Makes Bolt's listeners out of handlers, and keeps the tasks in which they go on after the acknowledgement."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._tasks: set[asyncio.Task[None]] = set()

    def listener(self, handler: Handler) -> Listener:
        """`handler` behind the door, for Bolt with `process_before_response`.

        The answer goes out the moment the handler acknowledges (Bolt's own way looks for it every 10 ms only);
        what is left of the handler goes on in a task of its own.
        """

        async def listen(ack: AsyncAck, body: dict[str, Any], context: AsyncBoltContext) -> BoltResponse | None:
            began = time.perf_counter()
            call = Call(self._bot, body, ack, delivery_key(body), replayed=bool(context.get("replayed")))
            task = asyncio.create_task(self._handle(handler, call), name=f"slack:{handler.__name__}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: call.acknowledged.set())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                    await call.acknowledged.wait()
            if not call.replayed:
                self._bot.deps.metrics.ack_seconds.observe(time.perf_counter() - began)
            # Nothing is acknowledged that is not kept. Slack sends an event again; it tells a person at once.
            return ack.response or BoltResponse(status=503)

        return listen

    async def drain(self, seconds: float = 10.0) -> None:
        """Wait until what has been acknowledged is handled; what takes longer is handled after the next start."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def _handle(self, handler: Handler, call: Call) -> None:
        deliveries = self._bot.deps.store.deliveries
        try:
            if not call.replayed:
                kept = json.dumps(call.body, ensure_ascii=False)
                if not await deliveries.accept(Delivery(call.idempotency_key, SOURCE, kept), self._now()):
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
                await self._failed(call, problem)
        except BotError as problem:
            await self._failed(call, problem)
        except Exception:
            reference = uuid.uuid4().hex[:8]
            log.exception("a handler broke, reference %s", reference)
            await self._failed(call, BotError("unexpected", reference=reference))

    async def _reply_not_saved(self, call: Call, problem: BotError) -> None:
        """Nothing was saved: an event comes again by itself, a form stays open as it is filled in."""
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
        """It is kept and acknowledged: it is done as soon as that can be."""
        if not call.replayed and not _is_event(call):
            await self._reply_error(call, BotError("database_later"))
        self._bot.deps.store.deliveries.release(call.idempotency_key)

    async def _failed(self, call: Call, problem: BotError) -> None:
        await self._reply_error(call, problem)
        try:
            await self._bot.deps.store.deliveries.mark_done(call.idempotency_key, self._now())
        except Unavailable as away:
            log.warning("a delivery could not be marked as handled after %s: %s", problem, away)

    async def _reply_error(self, call: Call, problem: BotError) -> None:
        try:
            await call.ack()
            await call.reply(Message.of((await call.translations()).error(problem)))
        except BotError as away:
            log.warning("an answer could not be given: %s", away)

    def _now(self) -> datetime:
        return self._bot.deps.clock.now()


def delivery_key(body: dict[str, Any]) -> str:
    """The same for the same delivery: Slack's event id, or the digest of what it sent."""
    event = body.get("event_id")
    if isinstance(event, str):
        return f"slack:{event}"
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
    return f"slack:{hashlib.sha256(canonical).hexdigest()[:40]}"


def _is_event(call: Call) -> bool:
    return "event_id" in call.body


def _can_wait(call: Call, problem: Unavailable) -> bool:
    """Whether it is tried again by itself: always for an event, whose sender looks for no answer."""
    return problem.key == "database_unavailable" or _is_event(call)
