"""Keep the hosted status page as the incident is: the same as `GET /status` shows, at Atlassian Statuspage.

Whatever happened in between, each synchronization brings the page to the incident's present state.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from bot.deps import Deps
from bot.domain.incident import Milestone
from bot.domain.status_page import Disruption, Level, Phase, public_view, status_page
from bot.domain.timeline import Kind
from bot.integrations.statuspage import PublicIncident
from bot.team import HostedStatusPage
from bot.workflows.engine.durable import durable_step
from bot.workflows.incidents.messages import append_event, record_failure

GIVE_UP = timedelta(hours=24)
CHANGES_STATUS_PAGE = frozenset(
    {Kind.DECLARED, Kind.ACKNOWLEDGED, Kind.UNACKNOWLEDGED, Kind.SEVERITY_CHANGED, Kind.IMPACT_SET, Kind.MITIGATED,
     Kind.RESOLVED, Kind.DISMISSED, Kind.REOPENED}
)  # fmt: skip
_STATUSES = {
    Phase.INVESTIGATING: "investigating",
    Phase.WORKING: "identified",
    Phase.MONITORING: "monitoring",
    Phase.OVER: "resolved",
}
_LEVELS = {Level.OUTAGE: "major_outage", Level.DEGRADED: "degraded_performance", Level.OPERATIONAL: "operational"}


async def update_status_page(deps: Deps, incident_id: str, seq: int) -> None:
    """Bring the hosted page to the incident's state after the event `seq`; record what was changed, or why not."""
    changed = await durable_step("status page", lambda: _synchronize(deps, incident_id), GIVE_UP)
    if not changed.ok:
        await record_failure(deps, incident_id, "status_page", changed)
    elif facts := changed.value:
        key = f"{incident_id}/{seq}/status-page"
        await durable_step(
            "record",
            lambda: append_event(deps, incident_id, Kind.STATUS_PAGE_UPDATED, facts, idempotency_key=key),
        )


async def _synchronize(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    """Return what the page says now, as facts of an event; None if it said so before or is none of its business."""
    statuspage, hosted = deps.statuspage, deps.team.status_page.hosted
    if statuspage is None or hosted is None:
        return None
    async with deps.message_lock(f"{incident_id}/status-page"):
        incident, policy = await deps.store.incidents.get(incident_id), deps.team.status_page
        view = public_view(incident, policy.components, policy.severities)
        found = await statuspage.find(hosted.page, incident_id, incident.milestones[Milestone.DECLARED])
        for twice in found[1:]:  # an attempt that was taken for lost came late
            await statuspage.delete(hosted.page, twice.id)
        published = found[0] if found else None
        if published is None and (view is None or view.phase is Phase.OVER):
            return None
        now_marked = published.components if published else {}
        components = await _components(deps, hosted, view.components if view else (), now_marked)
        wanted = PublicIncident(
            _name(deps, view) if view else published.name if published else "",
            _STATUSES[view.phase if view else Phase.OVER],
            deps.words.label(f"status_page.phases.{view.phase}" if view else "status_page.false_alarm"),
            components,
        )
        if published is None:
            written = await statuspage.create(hosted.page, incident_id, wanted, notify=hosted.notify)
        elif published.status == wanted.status and components.items() <= now_marked.items():
            return None
        else:
            written = await statuspage.update(hosted.page, published.id, wanted, notify=hosted.notify)
        return {"status": wanted.status, "name": wanted.name, "url": written.url}


def _name(deps: Deps, view: Disruption) -> str:
    words, names = deps.words, deps.team.status_page.components
    return " · ".join([words.label(f"status_page.{view.level}"), *(words.pick(names[one]) for one in view.components)])


async def _components(
    deps: Deps, hosted: HostedStatusPage, affected: Iterable[str], marked: Iterable[str]
) -> dict[str, str]:
    """Return the status of each component that the incident affects, or did: the worst of all that is going on."""
    policy = deps.team.status_page
    page = status_page(
        await deps.store.incidents.list_open(),
        deps.clock.now(),
        components=policy.components,
        severities=policy.severities,
        history=timedelta(),
    )
    ids = {id: name for name, id in hosted.components.items()}
    touched = {hosted.components[name] for name in affected if name in hosted.components} | (set(marked) & set(ids))
    return {id: _LEVELS[page.components[ids[id]]] for id in sorted(touched)}
