"""Look for the causes of an incident by itself: soon after it began, again as evidence comes, and after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from bot.actions.boards import board, query_board
from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.causes.catalogue import CAUSES, diagnose_itself, joined, with_elsewhere
from bot.causes.catalogue import diagnose as weigh
from bot.causes.evidence import Found, find
from bot.deps import Deps
from bot.domain.change import Change, still_applies
from bot.domain.diagnosis import PRESENT, Diagnosis, Outcome, Suspect
from bot.domain.errors import NotConfigured
from bot.domain.followup import FollowUpDraft
from bot.domain.incident import Incident, Milestone
from bot.domain.people import BOT, Person
from bot.domain.timeline import Kind, TimelineEvent
from bot.messages.charts import render_strip
from bot.messages.why import CHANGES_SHOWN, Treatment, Why, changes_on_chart
from bot.slack_messages import upload_once
from bot.store.documents import Document
from bot.store.runs import times_helped
from bot.team import PRODUCTION
from bot.workflows.engine.durable import durable_step, sleep_until
from bot.workflows.incidents.evidence import CHANGES_SINCE, Gathered, gather
from bot.workflows.incidents.messages import thread_destination

# After the declaration: some causes show late. It ends when the same cause leads in two looks, or at the last one.
LOOKS = tuple(timedelta(seconds=seconds) for seconds in (0, 15, 30, 45, 60, 120, 180, 240, 300))
LOOK_TIMEOUT = timedelta(seconds=30)
NEXT_DAY = timedelta(hours=24)
CHART = "chart_causes"  # the workflow `chart_causes`
CHART_TIMEOUT = timedelta(minutes=10)
CHART_BEFORE = timedelta(minutes=40)  # the incident, to see what is normal
CHART_METRICS = 4
KEPT = 3  # causes in the timeline
BROADLY = LOOKS[-1]  # after the declaration: from then on a second cause is looked for
OTHERS = 3  # services that suffer, too, and are looked into
CHANGED = ("new_version", "new_configuration", "new_limits")  # findings that stay true when it was changed back


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at a service: what is known of the causes, and what changed, oldest first."""

    diagnosis: Diagnosis
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Opinions:
    """What the timeline says of an incident's causes: what was last weighed, and what people say of it."""

    weighed: TimelineEvent | None
    ruled_out: Mapping[str, Suspect]
    confirmed: tuple[Suspect, Person] | None

    @classmethod
    def of(cls, events: Sequence[TimelineEvent]) -> Opinions:
        """Read the events of a timeline; what was said last counts."""
        weighed: TimelineEvent | None = None
        ruled_out: dict[str, Suspect] = {}
        confirmed: tuple[Suspect, Person] | None = None
        for event in events:
            if event.kind is Kind.CAUSES_WEIGHED:
                weighed = event
            elif event.kind is Kind.CAUSE_RULED_OUT:
                suspect = Suspect.from_json(event.facts["suspect"])
                ruled_out[suspect.cause] = suspect
                if confirmed and confirmed[0].cause == suspect.cause:
                    confirmed = None
            elif event.kind is Kind.CAUSE_CONFIRMED:
                confirmed = (Suspect.from_json(event.facts["suspect"]), event.by)
                ruled_out.pop(confirmed[0].cause, None)
        return cls(weighed, ruled_out, confirmed)

    def suspect(self, cause: str, service: str) -> Suspect:
        """Return a cause as it was last weighed, with its evidence; without any if it never was."""
        last = diagnosis_of(self.weighed) if self.weighed else None
        known = last.ranked if last else ()
        return next((one for one in known if one.cause == cause), Suspect(cause, service, 0.0))


async def diagnose(
    deps: Deps,
    service: str,
    *,
    since: datetime | None = None,
    excluded: Sequence[str] = (),
    alerting: bool = False,
    broadly: bool = False,
) -> Looked:
    """Look once. `since` is when the incident began; `excluded` are causes that a person has ruled out; `alerting`: an
    alert of the service fires.

    Where the trouble may come from another service, one that this one calls, its cause is looked for there, too.
    `broadly`: also for a second cause, here and at what else suffers.
    """
    here = await gather(deps, service, since, alerting=alerting)
    diagnosis = await _weigh(deps, here, excluded)
    at_roots = await asyncio.gather(*(gather(deps, root, since) for root in diagnosis.roots))
    whole = joined(diagnosis, await asyncio.gather(*(_weigh(deps, one, excluded) for one in at_roots)))
    if broadly:
        others = await asyncio.gather(*(gather(deps, name, since) for name in diagnosis.others[:OTHERS]))
        ask = partial(diagnose_itself, excluded=excluded)
        evidence = [one.evidence for one in (here, *at_roots, *others)]
        whole = with_elsewhere(whole, await asyncio.gather(*(asyncio.to_thread(ask, one) for one in evidence)))
    return Looked(whole, here.changes)


async def _weigh(deps: Deps, gathered: Gathered, excluded: Sequence[str]) -> Diagnosis:
    confirmed = await deps.store.incidents.confirmed_causes(gathered.evidence.service)
    ask = partial(weigh, excluded=excluded, confirmed_before=confirmed, missing=gathered.missing)
    return await asyncio.to_thread(ask, gathered.evidence)


async def check_causes(deps: Deps, incident_id: str, seq: int) -> None:
    """Say whether a likely cause is still in place, after the event `seq` that ended its symptoms.

    When the incident is resolved, a follow-up is opened for it, and it is looked at again the next day.
    """
    event = await deps.store.incidents.event(incident_id, seq)
    later = (timedelta(0), NEXT_DAY) if event.kind is Kind.RESOLVED else (timedelta(0),)
    for number, after in enumerate(later):
        await sleep_until(deps, event.at + after)
        check = partial(_check, deps, incident_id, f"{incident_id}/{seq}/remains/{number}", event.kind, number)
        outcome = await durable_step(f"check {number}", check, LOOK_TIMEOUT)
        if outcome.ok and not outcome.value:
            return


async def _check(deps: Deps, incident_id: str, key: str, kind: Kind, number: int) -> bool:
    """Record the causes that are still in place. Returns whether there are any."""
    incident = await deps.store.incidents.get(incident_id)
    opinions = Opinions.of(await deps.store.incidents.timeline(incident_id))
    if incident.service not in deps.team.services or (number and incident.status.is_open):
        return False
    gathered = await gather(deps, incident.service, incident.milestones.get(Milestone.DETECTED))
    found = await asyncio.to_thread(find, gathered.evidence)
    present = [suspect for suspect in likely(opinions) if _is_in_place(suspect, found, gathered.changes)]
    if not present:
        return False
    at = deps.clock.now()
    facts = {
        "suspects": [suspect.to_json() for suspect in present],
        "followup": kind is Kind.RESOLVED and not number and not incident.drill,
        "again": bool(number),
    }
    await deps.store.incidents.change(
        incident_id,
        lambda now: now.with_event(Kind.CAUSE_REMAINS, deps.redaction.of(facts), by=BOT, at=at),
        idempotency_key=key,
    )
    if facts["followup"]:
        for suspect in present:
            await _open_followup(deps, incident_id, suspect, f"{key}/{suspect.cause}")
    return True


async def _open_followup(deps: Deps, incident_id: str, suspect: Suspect, key: str) -> None:
    now, policy = deps.clock.now(), deps.team.followups
    draft = FollowUpDraft(
        deps.words.label("why.followup", cause=deps.words.label(f"causes.{suspect.cause}"), place=suspect.place),
        owner=policy.owner,
        due=now.date() + policy.due_in,
        labels=tuple(policy.labels),
    )
    await deps.store.followups.open(incident_id, draft, by=BOT, at=now, idempotency_key=key)


def likely(opinions: Opinions) -> list[Suspect]:
    """Return the cause that was confirmed, or else those that fitted last and were not ruled out."""
    if opinions.confirmed:
        return [opinions.confirmed[0]]
    if opinions.weighed is None:
        return []
    shown = diagnosis_of(opinions.weighed).shown
    return [suspect for suspect in shown if suspect.cause not in opinions.ruled_out]


def leading(opinions: Opinions) -> Suspect | None:
    """Return the cause that was confirmed, or else the one that leads clearly; None if none does."""
    claimed = opinions.weighed is not None and diagnosis_of(opinions.weighed).outcome is Outcome.CLAIM
    return next(iter(likely(opinions)), None) if opinions.confirmed or claimed else None


def _is_in_place(suspect: Suspect, found: Found, changes: Sequence[Change]) -> bool:
    """Return whether a cause is proved to be there still: what was changed was not changed back, or it still shows."""
    cause = CAUSES.get(suspect.cause)
    if cause is None or cause.remains is None:
        return False
    for piece in suspect.evidence:
        if piece.finding == cause.remains and piece.facts.get("change"):
            return still_applies(piece.facts["change"], suspect.place, changes)
    return cause.remains not in CHANGED and found.value(cause.remains) >= PRESENT


async def look_at(deps: Deps, incident: Incident, opinions: Opinions) -> Looked:
    """Look at an incident's service, of those that the team's file has."""
    return await diagnose(
        deps,
        incident.service or "",
        since=incident.milestones.get(Milestone.DETECTED),
        excluded=list(opinions.ruled_out),
        alerting=await deps.store.alerts.count_firing(incident.id) > 0,
        broadly=deps.clock.now() - incident.milestones[Milestone.DECLARED] >= BROADLY,
    )


async def diagnose_incident(deps: Deps, incident_id: str, seq: int) -> None:
    """Look for causes from the event `seq` on: several times after the declaration, once after any other event.

    When one has led twice it stands, and only a second one is looked for in the end.
    """
    event = await deps.store.incidents.event(incident_id, seq)
    looks = LOOKS if event.kind is Kind.DECLARED else LOOKS[:1]
    leading: str | None = None
    settled = False
    for number, after in enumerate(looks):
        last = number == len(looks) - 1
        if settled and not last:
            continue
        await sleep_until(deps, event.at + after)
        look = partial(_look, deps, incident_id, f"{incident_id}/{seq}/why/{number}", settled=settled)
        outcome = await durable_step(f"look {number}", look, LOOK_TIMEOUT)
        if outcome.ok and outcome.value is None:
            return
        settled = settled or bool(outcome.value and outcome.value == leading)
        leading = outcome.value


async def _look(deps: Deps, incident_id: str, key: str, *, settled: bool) -> str | None:
    """Look, and record what has changed; where the last cause is `settled`, only what is claimed besides it.

    Returns the cause that leads clearly (empty: none); None to look no more.
    """
    incident = await deps.store.incidents.get(incident_id)
    opinions = Opinions.of(await deps.store.incidents.timeline(incident_id))
    if not incident.status.is_open or incident.service not in deps.team.services or opinions.confirmed:
        return None
    looked = await look_at(deps, incident, opinions)
    if settled:
        kept = last_look(opinions, incident)
        known = {(one.cause, one.place) for one in kept.diagnosis.shown}
        besides = [one for one in looked.diagnosis.elsewhere if (one.cause, one.place) not in known]
        looked = replace(kept, diagnosis=replace(kept.diagnosis, elsewhere=besides))
    await record(deps, incident, opinions, looked, idempotency_key=key)
    diagnosis = looked.diagnosis
    return diagnosis.shown[0].cause if diagnosis.outcome is Outcome.CLAIM else ""


async def record(deps: Deps, incident: Incident, opinions: Opinions, looked: Looked, *, idempotency_key: str) -> None:
    """Keep what was found in the timeline, if it says something else than before."""
    diagnosis, before = looked.diagnosis, last_look(opinions, incident).diagnosis
    if _summary(diagnosis) == _summary(before):
        return
    fitted = {suspect.cause for suspect in before.shown}  # what speaks against those now belongs to the report
    kept = [suspect for rank, suspect in enumerate(diagnosis.suspects) if rank < KEPT or suspect.cause in fitted]
    facts = {
        "service": diagnosis.service,
        "outcome": diagnosis.outcome.value,
        "suspects": [suspect.to_json() for suspect in kept],
        "elsewhere": [suspect.to_json() for suspect in diagnosis.elsewhere[:OTHERS]],
        "changes": [change.to_json() for change in looked.changes[-CHANGES_SHOWN:]],
        "missing": list(diagnosis.missing),
    }
    at = deps.clock.now()
    await deps.store.incidents.change(
        incident.id,
        lambda now: now.with_event(Kind.CAUSES_WEIGHED, deps.redaction.of(facts), by=BOT, at=at),
        idempotency_key=idempotency_key,
    )


async def chart_causes(deps: Deps, incident_id: str, seq: int) -> None:
    """Draw the metrics and the changes of the look that event `seq` holds, and show them in the card's thread."""
    drawn = await durable_step("draw", partial(_draw, deps, incident_id, seq), CHART_TIMEOUT)
    if drawn.ok:
        await durable_step("charts", partial(_upload, deps, incident_id, seq), CHART_TIMEOUT)


async def _draw(deps: Deps, incident_id: str, seq: int) -> None:
    if deps.prometheus is None:
        raise NotConfigured("prometheus_off")
    incident, event = await deps.store.incidents.get(incident_id), await deps.store.incidents.event(incident_id, seq)
    diagnosis, changes = diagnosis_of(event), [Change.from_json(raw) for raw in event.facts["changes"]]
    since = min(incident.milestones[Milestone.DETECTED], event.at) - CHART_BEFORE
    snapshot = await query_board(deps.prometheus, board(deps.team, None, diagnosis.service), event.at, start=since)
    metrics = [metric for metric in snapshot.figures if snapshot.of(metric.query)][:CHART_METRICS]
    if not metrics:
        return
    marks = changes_on_chart(diagnosis, changes, since, deps.words)
    picture = await render_strip(snapshot, metrics, marks, deps.words)
    await deps.store.documents.write(incident_id, Document(_chart_name(seq), "image/png", picture, deps.clock.now()))


async def _upload(deps: Deps, incident_id: str, seq: int) -> None:
    incident, event = await deps.store.incidents.get(incident_id), await deps.store.incidents.event(incident_id, seq)
    document = await deps.store.documents.read(incident_id, _chart_name(seq))
    if document is None:
        return
    place = await thread_destination(deps, incident)
    causes = [deps.words.label(f"causes.{suspect.cause}") for suspect in diagnosis_of(event).shown]
    title = deps.words.render_block("why", "chart", causes=causes)
    file = (f"{incident_id}-{document.name.rpartition('/')[2]}", f"{incident_id} #{seq}", document.content)
    await upload_once(deps, f"{incident_id}/{seq}/{CHART}", place, [file], title)


def _chart_name(seq: int) -> str:
    return f"charts/causes-{seq}.png"


def diagnosis_of(event: TimelineEvent) -> Diagnosis:
    return Diagnosis.of_event(event.at, event.facts)


def _summary(diagnosis: Diagnosis) -> object:
    """Return what a person would see change: the outcome, and the causes that fit with their odds."""
    return diagnosis.outcome, [(suspect.cause, suspect.place, suspect.out_of_ten) for suspect in diagnosis.shown]


async def why_of(deps: Deps, incident: Incident, opinions: Opinions, looked: Looked | None = None) -> Why:
    """Return what is to be said of an incident's causes, after this look or else after the last one of the timeline."""
    looked = looked or last_look(opinions, incident)
    began = incident.milestones.get(Milestone.DETECTED) or looked.diagnosis.at
    suspects = [*looked.diagnosis.shown, *([opinions.confirmed[0]] if opinions.confirmed else ())]
    return Why(
        looked.diagnosis,
        looked.changes,
        began - CHANGES_SINCE,
        list(opinions.ruled_out.values()),
        opinions.confirmed,
        await treatments(deps, suspects, looked.diagnosis.service),
    )


def last_look(opinions: Opinions, incident: Incident) -> Looked:
    """Return what the timeline has of the last look; without one, one that found nothing."""
    event = opinions.weighed
    if event is None:
        at = incident.milestones[Milestone.DECLARED]
        return Looked(Diagnosis(at, incident.service or "", Outcome.NOTHING, ()), ())
    return Looked(diagnosis_of(event), [Change.from_json(raw) for raw in event.facts["changes"]])


async def treatments(deps: Deps, suspects: Sequence[Suspect], service: str) -> Mapping[str, Treatment]:
    """Return what treats each cause, and how often it helped before, measured in production."""
    result = {}
    for suspect in suspects:
        cause = CAUSES.get(suspect.cause)
        place = suspect.place if suspect.place in deps.team.services else service
        has_chart = place in deps.team.services and deps.team.services[place].chart is not None
        treating = cause.treatments_of(suspect) if cause else ()
        names = [name for name in treating if has_chart or not name.startswith("helm.")]
        if not names:
            continue
        action = ACTIONS.get(names[0])
        helped, measured = await times_helped(deps.store.database, names, PRODUCTION)
        what = deps.words.action(action.name, action.summary)
        result[suspect.cause] = Treatment(what, _command(action, place, suspect), helped, measured)
    return result


def _command(action: Action, place: str, suspect: Suspect) -> str:
    """Return what to type: the action on the place, with the settings of before, or `…` for what is to be chosen."""
    required = [parameter.name for parameter in action.signature.parameters if parameter.required]
    values = {
        one["name"]: one["from"]
        for piece in suspect.evidence
        for one in (piece.facts.get("change") or {}).get("settings") or ()
        if action.name == "kubernetes.set_env" and one.get("from") is not None
    }
    chosen = [f"{name}={value}" for name, value in values.items()] or [f"{name}=…" for name in required[1:]]
    return " ".join(["/ops", action.name, *([place] if required else []), *chosen])
