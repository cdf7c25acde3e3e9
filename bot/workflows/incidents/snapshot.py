"""Snapshots of an incident: the table immediately, the charts after it, and missing metrics again later.

A snapshot has a fixed time: queried later, Prometheus still returns the values of that time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from slugify import slugify

from bot.actions.boards import WINDOW, board, query_board
from bot.deps import Deps
from bot.domain.alert import ALERT_SOURCES
from bot.domain.errors import BadInput, NotConfigured
from bot.domain.incident import Incident, Milestone
from bot.domain.people import BOT, Person
from bot.domain.snapshot import Snapshot, assess, compare, metric_json
from bot.domain.timeline import Kind
from bot.messages import snapshot as messages
from bot.messages.charts import Mark, prestart, render
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.slack_messages import Place, upload_once, upsert_message, where_it_went
from bot.store.documents import Document
from bot.workflows.engine.durable import durable_step, sleep_until, start
from bot.workflows.forecasts import with_forecasts
from bot.workflows.incidents.messages import (
    MESSAGE_TIMEOUT,
    destination,
    destination_so_far,
    record_failure,
    thread_destination,
)

TABLE_TIMEOUT = CHART_UPLOAD_TIMEOUT = MESSAGE_TIMEOUT
COMPLETE_AFTER = (15, 60, 300, 900, 3600, 21_600)  # seconds since the first time
RATE_WINDOW = timedelta(minutes=5)  # of the board's rates: so long they still hold what was before
NOT_MEASURABLE = ("prometheus_off", "no_board", "service_needed")
ON_REQUEST = "asked"
AT_MILESTONES = ("declared", "mitigated", "resolved")

SnapshotRequest = dict[str, Any]
"""A request as JSON: `what`, `service`, `start`, `at`, `before` (a time to compare with, or None), `calm_until` and
`now` (ISO 8601), `occasion` (`declared`, …, `asked`), and `by` (id and name of the requester, or None)."""


async def snapshot(deps: Deps, incident_id: str, moment: str, request: SnapshotRequest | None = None) -> None:
    """Take a snapshot, post it and save it. Missing metrics are reported, and queried again later.

    `moment` is `declared`, `mitigated` or `resolved` (`resolved-2` after a reopening), or the unique name of a
    `request`. It ends within seconds even if Prometheus does not answer.
    """
    resolved_request = request
    if resolved_request is None:
        outcome = await durable_step("what", partial(_resolve_request, deps, incident_id, moment))
        if not outcome.ok:
            return
        resolved_request, moment = outcome.value
    taken = await durable_step("take", partial(_take, deps, resolved_request))
    if not taken.ok:
        if taken.error not in NOT_MEASURABLE:
            await record_failure(deps, incident_id, "snapshot", taken)
        return
    after = Snapshot.from_json(taken.value["after"])
    later = request is None and after.is_temporarily_incomplete
    drawn = await _show(deps, incident_id, moment, resolved_request, taken.value, later=later, drawn=[])
    if later:
        id = f"{incident_id}/snapshot/{moment}/again"
        await start("complete_snapshot", id, incident_id, moment, resolved_request, drawn)
    else:
        await durable_step(
            "keep", partial(_save, deps, incident_id, moment, resolved_request, taken.value), TABLE_TIMEOUT
        )


async def complete_snapshot(
    deps: Deps, incident_id: str, moment: str, request: SnapshotRequest, drawn: list[str]
) -> None:
    """Query the missing metrics again and update the snapshot's messages."""
    taken_at = datetime.fromisoformat(request["now"])
    for seconds in COMPLETE_AFTER:
        await sleep_until(deps, taken_at + timedelta(seconds=seconds))
        taken = await durable_step("take", partial(_take, deps, request))
        if not taken.ok:
            continue
        after = Snapshot.from_json(taken.value["after"])
        done = not after.is_temporarily_incomplete or seconds == COMPLETE_AFTER[-1]
        if done or len(after.figures) > len(drawn):
            drawn = await _show(deps, incident_id, moment, request, taken.value, later=not done, drawn=drawn)
        if done:
            await durable_step("keep", partial(_save, deps, incident_id, moment, request, taken.value), TABLE_TIMEOUT)
            return


async def _show(
    deps: Deps, incident_id: str, moment: str, request: SnapshotRequest, taken: Mapping[str, Any], *, later: bool,
    drawn: Sequence[str],
) -> list[str]:  # fmt: skip
    """Post the table, and charts of the metrics that are not in `drawn`. Returns the queries that are drawn now."""
    queries = [metric["query"] for metric in taken["after"]["figures"]]
    new = [query for query in queries if query not in drawn]
    outcome, _ = await asyncio.gather(
        durable_step("say", partial(_post_table, deps, incident_id, moment, request, taken, later), TABLE_TIMEOUT),
        durable_step("draw", partial(_render_charts, deps, incident_id, moment, request, taken, new)),
    )
    if new and outcome.ok and outcome.value:
        place = Place(str(outcome.value["channel"]), outcome.value.get("thread"), incident_id)
        upload = partial(_upload_charts, deps, place, moment, request, taken, new)
        await durable_step("charts", upload, CHART_UPLOAD_TIMEOUT)
    return queries


async def _resolve_request(deps: Deps, incident_id: str, moment: str) -> tuple[SnapshotRequest, str]:
    """Return the request of a milestone and its unique name: the service's board, from an hour before the incident."""
    incident = await deps.store.incidents.get(incident_id)
    if incident.service is None and incident.source in ALERT_SOURCES:
        # Whose metrics would they be? Those of the team's default service would accuse a healthy one.
        raise BadInput("service_needed", services=sorted(deps.team.services))
    at = incident.milestones.get(Milestone(moment), deps.clock.now())
    timeline = await deps.store.incidents.timeline(incident_id)
    occurrences = sum(event.kind.value == moment for event in timeline)
    request = snapshot_request(deps, incident, at=at, trigger=moment)
    return await with_baseline(deps, incident, request), moment if occurrences < 2 else f"{moment}-{occurrences}"


async def with_baseline(deps: Deps, incident: Incident | None, request: SnapshotRequest) -> SnapshotRequest:
    """Return the request with the newest period in which no outage of the service went on: only that is normal."""
    if incident is None or incident.service is None:
        return request
    until = datetime.fromisoformat(request["calm_until"])
    for detected, resolved in await deps.store.incidents.outages_before(incident):
        if resolved is not None and resolved + RATE_WINDOW < until:
            return request | {"calm_until": until.isoformat(), "calm_from": (resolved + RATE_WINDOW).isoformat()}
        until = min(until, detected)
    return request | {"calm_until": until.isoformat()}


def snapshot_request(
    deps: Deps,
    incident: Incident | None,
    *,
    at: datetime,
    what: str | None = None,
    service: str | None = None,
    window: timedelta | None = None,
    before: datetime | None = None,
    trigger: str = ON_REQUEST,
    by: Person | None = None,
) -> SnapshotRequest:
    """Build a request. In an incident the window starts at least half an hour before it began.

    The time before is as long as the incident so far, at most an hour: enough to see both, and what is normal.
    """
    earliest = min(before or at, at)
    incident_start = incident.milestones.get(Milestone.DETECTED) if incident else None
    start = earliest - (window or WINDOW)
    if window is None and incident_start is not None and incident_start <= earliest:
        start = incident_start - min(max(earliest - incident_start, WINDOW / 2), WINDOW)
    return {
        "what": what,
        "service": service or (incident.service if incident else None),
        "start": start.isoformat(),
        "at": at.isoformat(),
        "before": before.isoformat() if before else None,
        "calm_until": min(incident_start or at, at).isoformat(),
        "now": deps.clock.now().isoformat(),
        "occasion": trigger,
        "by": {"id": by.id, "name": by.name} if by else None,
    }


async def _take(deps: Deps, request: SnapshotRequest) -> dict[str, Any]:
    """Return the snapshot, and the one to compare with, as JSON. Raises BadInput."""
    after, before = await take_now(deps, request)
    return {"after": after.to_json(), "before": before.to_json() if before else None}


async def take_now(deps: Deps, request: SnapshotRequest) -> tuple[Snapshot, Snapshot | None]:
    """Return the requested snapshot, and the earlier one to compare with, if requested."""
    if deps.prometheus is None:
        raise NotConfigured("prometheus_off")
    prestart()
    board_spec = board(deps.team, request["what"], request["service"])
    at, start, calm = (datetime.fromisoformat(request[name]) for name in ("at", "start", "calm_until"))
    calm_from = datetime.fromisoformat(request["calm_from"]) if request.get("calm_from") else None
    after = await query_board(deps.prometheus, board_spec, at, start=start, calm_until=calm, calm_from=calm_from)
    if request["before"] is None:
        return (await with_forecasts(deps, after) if request["occasion"] not in AT_MILESTONES else after), None
    earlier = datetime.fromisoformat(request["before"])
    return after, await query_board(deps.prometheus, board_spec, earlier, start=earlier - WINDOW, calm_until=calm)


def message(
    deps: Deps,
    words: Translations,
    request: SnapshotRequest,
    after: Snapshot,
    before: Snapshot | None,
    *,
    later: bool = False,
) -> Message:
    """Return the table."""
    title = board_title(deps, after, words)
    if before is not None:
        return messages.comparison(before, after, words, title=title)
    return messages.snapshot(after, words, title=title, moment=_occasion(request), later=later)


def board_title(deps: Deps, snapshot: Snapshot, words: Translations) -> str:
    entry = deps.team.boards.get(snapshot.board) or deps.team.queries.get(snapshot.board)
    return words.pick(entry.title) if entry else snapshot.board


async def charts(
    deps: Deps,
    words: Translations,
    request: SnapshotRequest,
    after: Snapshot,
    incident: Incident | None,
    queries: Sequence[str],
) -> dict[str, bytes]:
    """Return a PNG for each query, with marks for the incident's milestones or for the two compared times."""
    marks = _marks(request, incident, words)
    metrics = [metric for metric in after.figures if metric.query in queries]
    pictures = await render(after, metrics, marks, words)
    return {metric.query: picture for metric, picture in zip(metrics, pictures, strict=True)}


def _marks(request: SnapshotRequest, incident: Incident | None, words: Translations) -> list[Mark]:
    if request["before"]:
        times = (datetime.fromisoformat(request[name]) for name in ("before", "at"))
        return [Mark(at, f"{at:%H:%M}") for at in times]
    if incident is None:
        return []
    return messages.marks({milestone.value: at for milestone, at in incident.milestones.items()}, words)


async def _post_table(
    deps: Deps, incident_id: str, moment: str, request: SnapshotRequest, taken: Mapping[str, Any], later: bool
) -> dict[str, Any] | None:
    key = f"{incident_id}/snapshot/{moment}"
    async with deps.message_lock(key):
        incident = await deps.store.incidents.get(incident_id)
        if await destination_so_far(deps, incident) is None:
            return None  # the figures are kept all the same
        is_asked = request["occasion"] not in AT_MILESTONES
        place = await (destination if is_asked else thread_destination)(deps, incident)
        table = message(deps, deps.words, request, *_read(taken), later=later)
        sent = await upsert_message(deps, key, place, table)
        return sent | {"thread": (await where_it_went(deps, place, sent)).thread}


async def _render_charts(
    deps: Deps,
    incident_id: str,
    moment: str,
    request: SnapshotRequest,
    taken: Mapping[str, Any],
    queries: Sequence[str],
) -> None:
    incident = await deps.store.incidents.get(incident_id)
    after, _ = _read(taken)
    for query, picture in (await charts(deps, deps.words, request, after, incident, queries)).items():
        document = Document(chart_name(moment, query), "image/png", picture, deps.clock.now())
        await deps.store.documents.write(incident_id, document)


async def _upload_charts(
    deps: Deps,
    place: Place,
    moment: str,
    request: SnapshotRequest,
    taken: Mapping[str, Any],
    queries: Sequence[str],
) -> None:
    """Upload the saved charts below the table."""
    incident_id = str(place.incident_id)
    after, before = _read(taken)
    titles = chart_titles(deps.words, request, after, before)
    files = []
    for query in queries:
        name = chart_name(moment, query)
        if document := await deps.store.documents.read(incident_id, name):
            files.append((f"{incident_id}-{name.rpartition('/')[2]}", titles[query], document.content))
    comment = charts_comment(deps, deps.words, request, after)
    key = f"{incident_id}/snapshot/{moment}/charts/{_digest(*queries)}"
    await upload_once(deps, key, place, files, comment)


def chart_titles(
    words: Translations, request: SnapshotRequest, after: Snapshot, before: Snapshot | None
) -> dict[str, str]:
    """Return the title of each query's chart, unique within a snapshot."""
    return messages.chart_titles(after, words, moment=_occasion(request), before=before.at if before else None)


def charts_comment(deps: Deps, words: Translations, request: SnapshotRequest, after: Snapshot) -> str:
    return messages.charts_comment(after, words, title=board_title(deps, after, words), moment=_occasion(request))


async def _save(deps: Deps, incident_id: str, moment: str, request: SnapshotRequest, taken: Mapping[str, Any]) -> None:
    """Save the snapshot, and put its metrics on the timeline as evidence."""
    after, before = _read(taken)
    key = f"{incident_id}/snapshot/{moment}"
    await deps.store.snapshots.add(key, incident_id, after.at, after.to_json())
    facts = {
        "snapshot": key,
        "moment": moment,
        "board": after.board,
        "title": board_title(deps, after, deps.words),
        "service": after.service,
        "of": after.at.isoformat(),
        "figures": [metric_json(metric) for metric in after.figures],
        "missing": [missing.measure.query for missing in after.missing],
        "charts": [chart_name(moment, metric.query) for metric in after.figures],
    }
    if before is not None:
        facts |= {"compared_with": before.at.isoformat(), "effect": assess(compare(before, after)).value}
    by = Person(request["by"]["id"], request["by"]["name"]) if request["by"] else BOT
    at = deps.clock.now()
    await deps.store.incidents.change(
        incident_id,
        lambda incident: incident.with_event(Kind.SNAPSHOT_TAKEN, facts, by=by, at=at),
        idempotency_key=key[:160],
    )


def chart_name(moment: str, query: str) -> str:
    """Return the file name of a chart: `charts/declared-latency_p95.png`; PromQL is shortened and gets a digest."""
    if not query.replace("_", "").replace("-", "").isalnum() or len(query) > 60:
        query = f"{slugify(query, max_length=40) or 'promql'}-{_digest(query)}"
    return f"charts/{moment}-{query}.png"


def _occasion(request: SnapshotRequest) -> str:
    return str(request["occasion"]) if request["occasion"] in (*AT_MILESTONES, ON_REQUEST) else ON_REQUEST


def _read(taken: Mapping[str, Any]) -> tuple[Snapshot, Snapshot | None]:
    return Snapshot.from_json(taken["after"]), Snapshot.from_json(taken["before"]) if taken["before"] else None


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]
