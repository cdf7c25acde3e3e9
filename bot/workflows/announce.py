"""What everybody must know at once: a sentence in the incidents' channel."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from bot.domain.people import Person
from bot.messages.message import Message
from bot.parts import Parts
from bot.post import upsert_message
from bot.workflows.engine import durable_step

ANNOUNCE_TIMEOUT = timedelta(hours=1)


async def announce(parts: Parts, key: str, part: str, facts: dict[str, Any]) -> None:
    """Say `part` of the announcements once; `by` among the facts is a Person as JSON, or a Slack user id."""
    by = facts.get("by")
    facts_shown = facts | {"by": Person(**by) if isinstance(by, dict) else by}
    message = Message.of(parts.words.render_block("everybody", part, **facts_shown))
    await durable_step(
        f"announce {part}",
        partial(upsert_message, parts, f"{key}/{part}", parts.incident_channel, message),
        ANNOUNCE_TIMEOUT,
    )
