"""An alert's runbooks, proposed with a button."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from bot.domain.errors import Unavailable
from bot.messages.run import proposal
from bot.parts import Parts
from bot.post import upsert_message
from bot.workflows.engine import durable_step
from bot.workflows.follow import destination

PROPOSE_TIMEOUT = timedelta(hours=1)


async def propose(parts: Parts, incident_id: str, runbooks: list[dict[str, str]]) -> None:
    """Offer runbooks (`name`, and the title in each language) where the incident is told, once that is known."""
    await durable_step("propose", partial(_propose, parts, incident_id, runbooks), PROPOSE_TIMEOUT)


async def _propose(parts: Parts, incident_id: str, runbooks: list[dict[str, str]]) -> None:
    incident = await parts.store.incidents.get(incident_id)
    target = await destination(parts, incident)
    if target is None:
        raise Unavailable("channel_pending", incident=incident_id)
    channel, thread = target
    await upsert_message(
        parts, f"{incident_id}/proposal", channel, proposal(incident, runbooks, parts.words), thread=thread
    )
