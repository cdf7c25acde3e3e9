"""When a run may go on without approval: what the incident says, and since when approvers are asked."""

from __future__ import annotations

from datetime import datetime

from bot.deps import Deps
from bot.domain.policy import Emergency
from bot.domain.run import Approval, ApprovalState, Run
from bot.domain.timeline import Kind
from bot.team import policy_of

_SETS_SEVERITY = (Kind.DECLARED, Kind.SEVERITY_CHANGED)


async def emergency(deps: Deps, run: Run, approval: Approval) -> Emergency:
    """Return what breaking the glass depends on, as it is now."""
    if run.incident_id is None:
        return Emergency(approval.asked_at)
    incident = await deps.store.incidents.get(run.incident_id)
    if incident.severity not in policy_of(deps.team).break_glass:
        return Emergency(approval.asked_at, incident.severity)
    timeline = await deps.store.incidents.timeline(run.incident_id)
    set_by = next((event.by.id for event in reversed(timeline) if event.kind in _SETS_SEVERITY), None)
    return Emergency(approval.asked_at, incident.severity, set_by)


async def break_glass_offered(deps: Deps, run: Run, approval: Approval, at: datetime) -> bool:
    """Return True if somebody could break the glass now; the click is judged again."""
    policy, state = policy_of(deps.team), await emergency(deps, run, approval)
    if approval.state is not ApprovalState.WAITING or state.severity not in policy.break_glass:
        return False
    possible_at = policy.break_glass_at(state, run.asked_by(approval.step_id).id)
    return possible_at is None or possible_at <= at
