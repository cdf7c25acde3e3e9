"""The page's live connection: server-sent events, all records first, then those that change.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from sandbox.console.screen import changes, screen
from sandbox.slack.state import JSON

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack

ALIVE_SECONDS = 15.0  # after so long without news a comment is sent, so that a dead connection is noticed
GATHER_SECONDS = 0.03  # changes that come closer together go out as one


async def stream(slack: Slack, me: str) -> AsyncIterator[str]:
    """Events `all` (the first) and `change`, each `{"set": {key: record}, "gone": [key]}`. Never ends by itself."""
    shown: dict[str, str] = {}

    def news() -> tuple[JSON, dict[str, str]] | None:
        patch, texts = changes(shown, screen(slack, me))
        return (patch, texts) if patch else None

    event = "all"
    while True:
        try:
            found = await slack.wait_for(news, ALIVE_SECONDS)
        except TimeoutError:
            yield ": alive\n\n"
            continue
        if found:
            patch, shown = found
            yield f"event: {event}\ndata: {json.dumps(patch, ensure_ascii=False)}\n\n"
            event = "change"
            await asyncio.sleep(GATHER_SECONDS)
