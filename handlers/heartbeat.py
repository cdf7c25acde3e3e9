"""A dead-man's switch: call a URL each minute while this process can do its job; who watches it notices the silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.domain.errors import BotError
from bot.integrations.http import Http

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
TIMEOUT_SECONDS = 10.0


async def beat(is_ready: Callable[[], Awaitable[bool]], http: Http, url: str, every: float = INTERVAL_SECONDS) -> None:
    """Call `url` each so many seconds while `is_ready`, until cancelled. A call that fails is logged and not repeated
    before the next beat.
    """
    while True:
        try:
            if await is_ready():
                response = await http.get(url, TIMEOUT_SECONDS)
                if response.status >= 400:
                    log.warning("the heartbeat's URL answers %s", response.status)
        except BotError as problem:
            log.warning("the heartbeat did not arrive: %s", problem.key)
        await asyncio.sleep(every)
