"""Write the post-incident report: collect, render, save, and show it in the channel; any number of times."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from bot.deps import Deps
from bot.domain.errors import Refused, Unavailable
from bot.domain.incident import Incident
from bot.domain.report import Chart, Previous, Report, build_report, time_incident
from bot.domain.snapshot import MetricResult, Snapshot
from bot.domain.timeline import Kind, TimelineEvent, first_broken_link, is_call
from bot.messages.report import RenderedReport, ReportContext, summary, write
from bot.messages.report_page import draw_svg
from bot.slack_messages import Place, below, upload_once, upsert_message
from bot.store.documents import Document
from bot.workflows.engine.durable import durable_step
from bot.workflows.incidents.messages import MESSAGE_TIMEOUT, append_event, destination, record_failure
from bot.workflows.incidents.snapshot import AT_MILESTONES, chart_name

MARKDOWN, HTML = "text/markdown", "text/html"
SNAPSHOT_WAIT = timedelta(seconds=15)
_SOURCES = {"alertmanager": "Prometheus", "storm": "Prometheus", "grafana": "Grafana", "pagerduty": "PagerDuty"}


async def write_report(deps: Deps, incident_id: str) -> None:
    """Write the current report, update its message and upload its files.

    Without news the text is identical to the byte: then nothing is uploaded and nothing is put on the timeline.
    """
    await durable_step("last snapshot", partial(_last_snapshot, deps, incident_id), SNAPSHOT_WAIT)
    written = await durable_step("write", partial(_write, deps, incident_id), MESSAGE_TIMEOUT)
    if not written.ok:
        await record_failure(deps, incident_id, "report", written)
        return
    shown = await durable_step("show", partial(_show, deps, incident_id), MESSAGE_TIMEOUT)
    if shown.ok and shown.value:
        shown = await durable_step(
            "files", partial(_share, deps, incident_id, shown.value, written.value), MESSAGE_TIMEOUT
        )
    if not shown.ok:
        await record_failure(deps, incident_id, "report_message", shown)
    digest = written.value["digest"]
    facts = {"markdown": f"{incident_id}.md", "html": f"{incident_id}.html", "up_to": written.value["up_to"]}
    await durable_step(
        "note",
        partial(
            append_event,
            deps,
            incident_id,
            Kind.REPORT_WRITTEN,
            facts,
            idempotency_key=f"{incident_id}/report/{digest}",
        ),
        MESSAGE_TIMEOUT,
    )


async def compose(deps: Deps, incident_id: str) -> tuple[Report, RenderedReport]:
    """Build the report of the incident's current state. Raises NotFound, and Unavailable without the database."""
    store = deps.store
    incident = await store.incidents.get(incident_id)
    timeline = await store.incidents.timeline(incident_id)
    snapshots = await _snapshots(deps, incident_id)
    targets = deps.team.targets
    charts, drawn = _charts(incident_id, snapshots)
    runs, approvals = await store.runs.list_by_incident(incident_id), await store.runs.approvals_of(incident_id)
    report = build_report(
        incident,
        timeline,
        await store.followups.list_by_incident(incident_id),
        list(snapshots.values()),
        charts=charts,
        links=await _links(deps, incident, timeline),
        runs=runs,
        approvals=approvals,
        previous=await _previous(deps, incident, timeline[0]),
        response_target=targets.response if incident.drill else targets.mtta,
        recovery_target=targets.rto if incident.drill else targets.mttr,
        told_target=deps.team.severity_policy(incident.severity).tell_stakeholders_within,
    )
    context = ReportContext(
        names=_names(deps, timeline),
        channel_url=await _channel_url(deps, incident),
        public_name=deps.words.pick(deps.team.public_name(incident.service)),
        organisation=deps.team.organisation,
        pictures={
            chart.name: draw_svg(
                snapshot, metric, deps.words, (report.milestones[0].at or snapshot.start, report.timing.recovered_at)
            )
            for chart, (snapshot, metric) in zip(charts, drawn, strict=True)
        },
        broken=first_broken_link(incident_id, timeline),
    )
    return report, write(report, deps.words, context)


async def update_report_message(deps: Deps, incident_id: str) -> None:
    """Update the report's message, if there is one; its files stay unchanged."""
    message = await deps.store.slack_messages.get(f"{incident_id}/report")
    if message and message.ts:
        await _show(deps, incident_id)


async def _last_snapshot(deps: Deps, incident_id: str) -> None:
    """Raise Unavailable while the snapshot after the resolution is being taken: its metrics belong in the report."""
    if deps.prometheus is None or (await deps.store.incidents.get(incident_id)).status.is_open:
        return
    since_resolved: list[TimelineEvent] = []
    for event in await deps.store.incidents.timeline(incident_id):
        since_resolved = [event] if event.kind is Kind.RESOLVED else [*since_resolved, event]
    moments = [str(event.facts["moment"]) for event in since_resolved if event.kind is Kind.SNAPSHOT_TAKEN]
    if not any(moment.startswith("resolved") for moment in moments):
        raise Unavailable("snapshot_pending", incident=incident_id)


async def _write(deps: Deps, incident_id: str) -> dict[str, Any]:
    async with deps.message_lock(f"{incident_id}/report/documents"):
        with contextlib.suppress(Unavailable, Refused):
            await deps.slack.identity()  # without it the report has no links to messages
        report, written = await compose(deps, incident_id)
        for name, media_type, text in (
            (f"{incident_id}.md", MARKDOWN, written.markdown),
            (f"{incident_id}.html", HTML, written.html),
        ):
            await deps.store.documents.write(incident_id, Document(name, media_type, text.encode(), deps.clock.now()))
    digest = hashlib.sha256(written.html.encode()).hexdigest()[:16]
    return {"digest": digest, "up_to": report.timeline[-1].seq}


async def _show(deps: Deps, incident_id: str) -> dict[str, Any] | None:
    """Send or update the report's message."""
    async with deps.message_lock(f"{incident_id}/report"):
        report, _ = await compose(deps, incident_id)
        place = await destination(deps, report.incident)
        url = await _read_at(deps, incident_id)
        sent = await upsert_message(deps, f"{incident_id}/report", place, summary(report, deps.words, url))
        return sent | {"thread": (await below(deps, place, sent)).thread}


async def _read_at(deps: Deps, incident_id: str) -> str | None:
    """Return the URL of the thread with the report's files; None while there are none."""
    messages = await deps.store.slack_messages.with_prefix(f"{incident_id}/report")
    message = messages.pop(f"{incident_id}/report", None)
    if not message or not message.ts or not messages:
        return None
    url = deps.slack.permalink(message.channel, message.ts)
    return f"{url}?thread_ts={message.ts}&cid={message.channel}" if url else None


async def _share(deps: Deps, incident_id: str, shown: dict[str, Any], written: dict[str, Any]) -> None:
    """Upload both files to the message's thread."""
    key = f"{incident_id}/report/{written['digest']}"
    title = f"{incident_id} #{written['up_to']} {written['digest'][:6]}"
    files = []
    for name in (f"{incident_id}.md", f"{incident_id}.html"):
        document = await deps.store.documents.read(incident_id, name)
        if document is not None:
            files.append((name, f"{title} ({name.rpartition('.')[2]})", document.content))
    comment = deps.words.render_block("report", "files", incident_id=incident_id, up_to=written["up_to"])
    place = Place(shown["channel"], shown.get("thread") or shown["ts"], incident_id)
    await upload_once(deps, key, place, files, comment)
    await _show(deps, incident_id)  # now there is something to read


async def _snapshots(deps: Deps, incident_id: str) -> dict[str, Snapshot]:
    stored = await deps.store.snapshots.list_by_incident(incident_id)
    return {id: Snapshot.from_json(content) for id, content in stored.items()}


def _charts(
    incident_id: str, snapshots: Mapping[str, Snapshot]
) -> tuple[list[Chart], list[tuple[Snapshot, MetricResult]]]:
    """Return the charts of the last milestone's snapshot, whose window covers the whole incident, and what they show.

    Without one, those of the newest requested snapshot.
    """
    prefix = f"{incident_id}/snapshot/"
    moments = {id.removeprefix(prefix): snapshot for id, snapshot in snapshots.items() if id.startswith(prefix)}
    newest_last = sorted(moments, key=lambda moment: moment.partition("-")[0] in AT_MILESTONES)
    for moment in reversed(newest_last):
        snapshot = moments[moment]
        if drawn := [(snapshot, metric) for metric in snapshot.figures]:
            charts = [Chart(chart_name(moment, metric.query), metric.title, snapshot.at) for _, metric in drawn]
            return charts, drawn
    return [], []


async def _links(deps: Deps, incident: Incident, timeline: Sequence[TimelineEvent]) -> dict[int, list[tuple[str, str]]]:
    """Return where each event can be checked: the link in its facts, and its message in Slack."""
    links: dict[int, list[tuple[str, str]]] = {}
    for event in timeline:
        for name, url in (
            (
                _SOURCES.get(incident.source, "Slack") if event.kind is Kind.DECLARED else "Slack",
                event.facts.get("link"),
            ),
            ("GitHub", event.facts.get("url")),
        ):
            if isinstance(url, str) and re.match(r"https?://", url):
                links.setdefault(event.seq, []).append((name, url))
    taken = {event.facts["snapshot"]: event.seq for event in timeline if event.kind is Kind.SNAPSHOT_TAKEN}
    records = {event.seq for event in timeline if event.seq > 1 and not is_call(event, timeline)}  # below the card
    records -= {seq for id, seq in taken.items() if id.rpartition("/")[2].partition("-")[0] not in AT_MILESTONES}
    messages = await deps.store.slack_messages.with_prefix(f"{incident.id}/")
    for key, message in messages.items():
        suffix = key.removeprefix(f"{incident.id}/")
        seq = 1 if suffix == "card" else int(suffix) if suffix.isdigit() else taken.get(key)
        url = deps.slack.permalink(message.channel, message.ts) if seq and message.ts else None
        card = messages.get(f"{incident.id}/card")
        if seq and url and card and seq in records and message.channel == card.channel:
            url = f"{url}?thread_ts={card.ts}&cid={card.channel}"
        if seq and url and not any(name == "Slack" for name, _ in links.get(seq, [])):
            links.setdefault(seq, []).append(("Slack", url))
    return links


async def _previous(deps: Deps, incident: Incident, declared: TimelineEvent) -> Previous | None:
    """Return the last incident of the same kind that is over."""
    store = deps.store
    for earlier in await store.incidents.over_before(incident):
        first = await store.incidents.event(earlier.id, 1)
        if incident.drill or first.facts.get("alert") == declared.facts.get("alert"):
            timeline, runs = await store.incidents.timeline(earlier.id), await store.runs.list_by_incident(earlier.id)
            approvals = await store.runs.approvals_of(earlier.id)
            return Previous(earlier, time_incident(earlier, timeline, runs, approvals))
    return None


def _names(deps: Deps, timeline: Iterable[TimelineEvent]) -> dict[str, str]:
    names = {person.slack: person.name for person in deps.team.people}
    for event in timeline:
        if event.by.name:
            names.setdefault(event.by.id, event.by.name)
    return names


async def _channel_url(deps: Deps, incident: Incident) -> str | None:
    message = await deps.store.slack_messages.get(f"{incident.id}/card")
    return deps.slack.permalink(message.channel, message.ts) if message and message.ts else None
