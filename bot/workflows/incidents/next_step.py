"""The incident's message about what to do next, and the one about its end: both follow from the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.deps import Deps
from bot.domain.ending import endings
from bot.domain.incident import Incident, Status
from bot.domain.timeline import Kind
from bot.messages.incident import Endings
from bot.messages.message import Message
from bot.messages.next_step import ending_message, next_step
from bot.slack_messages import DELETED, Place, delete_message, upsert_message
from bot.workflows.incidents.diagnose import Opinions, why_of
from bot.workflows.incidents.messages import destination, out_of_bounds, thread_destination

CHANGES_NEXT_STEP = frozenset(
    {Kind.ROLE_ASSIGNED, Kind.RUN_STARTED, Kind.RUN_ENDED, Kind.MITIGATED, Kind.RESOLVED, Kind.DISMISSED,
     Kind.REOPENED}
)  # fmt: skip
CHANGES_ENDING = frozenset(
    {Kind.ALERT_FIRING, Kind.ALERT_RESOLVED, Kind.MITIGATED, Kind.RESOLVED, Kind.DISMISSED, Kind.REOPENED,
     Kind.CLOSED, Kind.CAUSE_REMAINS}
)  # fmt: skip


async def update_next_step(deps: Deps, incident_id: str) -> None:
    """Bring the causes and the proposed runbooks up to date. Without either there is no message."""
    key = f"{incident_id}/proposal"
    async with deps.message_lock(key):
        incident = await deps.store.incidents.get(incident_id)
        timeline = await deps.store.incidents.timeline(incident_id)
        opinions = Opinions.of(timeline)
        why = await why_of(deps, incident, opinions) if opinions.weighed or opinions.confirmed else None
        runbooks = await _offered(deps, incident, timeline[0].facts.get("runbooks") or ())
        message = next_step(incident, why, runbooks, deps.words)
        if message is None:
            await delete_message(deps, key, Message.of(deps.words.render_block("next_step", "nothing")))
            return
        sent = await deps.store.slack_messages.get(key)
        if sent and sent.digest == DELETED:
            await deps.store.slack_messages.start_again(key)
        await upsert_message(deps, key, await _below_card(deps, incident), message)


async def _offered(deps: Deps, incident: Incident, runbooks: Any) -> list[Mapping[str, Any]]:
    """Return the runbooks that may still help: not yet run in this incident, and none while one runs."""
    if not incident.status.is_open or incident.status is Status.MITIGATED:
        return []
    runs = [run for run in await deps.store.runs.list_by_incident(incident.id) if not run.dry_run]
    if any(not run.state.ended for run in runs):
        return []
    tried = {run.runbook for run in runs}
    return [runbook for runbook in runbooks if runbook["name"] not in tried]


async def update_endings(deps: Deps, incident_id: str) -> None:
    """Bring the message about the incident's end up to date; one that came back leaves a line, and the next is new."""
    async with deps.message_lock(f"{incident_id}/ending"):
        incident = await deps.store.incidents.get(incident_id)
        out = await out_of_bounds(deps, incident) if incident.status.is_open else None
        confirmed = Endings(await deps.store.alerts.count_firing(incident_id), out)
        for ending in endings(await deps.store.incidents.timeline(incident_id))[-2:]:
            key = f"{incident_id}/ending/{ending.began}"
            if ending.back and await deps.store.slack_messages.get(key) is None:
                continue  # nobody has seen it
            place = await _below_card(deps, incident)
            await upsert_message(deps, key, place, ending_message(incident, ending, deps.words, confirmed))


async def _below_card(deps: Deps, incident: Incident) -> Place:
    """Return the incident's channel, once its card is there: what is to be done stands below it."""
    await thread_destination(deps, incident)
    return await destination(deps, incident)
