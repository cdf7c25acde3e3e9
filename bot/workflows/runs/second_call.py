"""Page the next person on call when an approval of a serious incident gets no answer by half time."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from bot.deps import Deps
from bot.domain.errors import BotError, Unavailable
from bot.domain.incident import Incident, Severity
from bot.domain.on_call import OnCall
from bot.domain.run import Run, base_step_id
from bot.domain.runbook import Runbook
from bot.domain.timeline import Kind
from bot.workflows.engine.durable import run_with_retries
from bot.workflows.incidents.messages import append_event

PAGED_SEVERITIES = (Severity.SEV1, Severity.SEV2)
PAGE_TIMEOUT = timedelta(seconds=20)


def second_call_key(run_id: str, step_id: str) -> str:
    """Return PagerDuty's dedup key of the page for an approval."""
    return f"{run_id}/{step_id}"


async def page_second_on_call(deps: Deps, run: Run, step_id: str) -> None:
    """Page the next person on call for an approval that waits in SEV1 or SEV2; once, and never for a drill.

    A page that does not go out is on the timeline with whom to call; the approval goes on waiting.
    """
    if run.incident_id is None or deps.pagerduty is None:
        return
    incident = await deps.store.incidents.get(run.incident_id)
    quiet = incident.drill and not deps.team.drills.page
    if incident.severity not in PAGED_SEVERITIES or not incident.status.is_open or quiet:
        return
    page = await deps.store.pages.by_key(second_call_key(run.id, step_id))
    if page and page.state != "sending":
        return
    outcome = await run_with_retries(f"{step_id}: page", partial(_page, deps, run, step_id, incident), PAGE_TIMEOUT)
    if not outcome.ok:
        why = deps.words.error(BotError(outcome.error or "unknown", **outcome.facts))
        facts = {"team": deps.words.label("second_call"), "why": why, "reach": [], "again": False, "approval": run.id}
        key = f"{second_call_key(run.id, step_id)}/page-failed"
        await append_event(deps, incident.id, Kind.PAGE_FAILED, facts, idempotency_key=key)


async def end_second_call(deps: Deps, run: Run, step_id: str) -> None:
    """Resolve the page once nobody needs to decide any more."""
    page = await deps.store.pages.by_key(second_call_key(run.id, step_id))
    if page is None or page.pagerduty_id is None or page.state == "resolved" or deps.pagerduty is None:
        return
    await deps.pagerduty.resolve_incident(page.pagerduty_id)
    await deps.store.pages.add(page.key, page.incident_id, page.team, "resolved")


async def _page(deps: Deps, run: Run, step_id: str, incident: Incident) -> None:
    service, person = await _next_on_call(deps, incident, without=run.asked_by(step_id).id)
    if deps.pagerduty is None or person is None or person.user_id is None:
        return
    key = second_call_key(run.id, step_id)
    steps = Runbook.model_validate(run.definition).steps
    spec = next(step for step in steps if step.id == base_step_id(step_id))
    title = deps.words.pick(spec.title) or spec.uses
    summary = deps.words.render_block("approval", "page", incident=incident, step_title=title, by=run.asked_by(step_id))
    await deps.store.pages.add(key, incident.id, person.name, "sending")  # its webhook may be quicker than the answer
    id = await deps.pagerduty.page_person(key, summary, person.user_id, service=service, details=f"{incident.id} {key}")
    await deps.store.pages.add(key, incident.id, person.name, "sent", id)
    facts = {"team": deps.words.label("second_call"), "key": key, "who": person.name, "approval": run.id}
    await append_event(deps, incident.id, Kind.PAGED, facts, idempotency_key=f"{key}/paged")


async def _next_on_call(deps: Deps, incident: Incident, *, without: str) -> tuple[str, OnCall | None]:
    """Return the PagerDuty service and the person after the first on call who did not ask, and can approve."""
    last: tuple[str, OnCall | None] = ("", None)
    for name in deps.team.severity_policy(incident.severity).page:
        service = deps.team.teams[name].pagerduty
        if service is None:
            continue
        people = []
        for person in await deps.on_call.get(service):
            owner = deps.team.person(pagerduty=person.user_id) if person.user_id else None
            if owner is None or owner.slack != without:
                people.append(person)
        if later := [person for person in people if person.level > 1]:
            return service, later[0]
        if people and last[1] is None:
            last = service, people[0]
    if last[1] is None:
        raise Unavailable("nobody_on_call", retry_after=5.0)
    return last
