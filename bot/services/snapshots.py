"""Snapshots on request: posted to the incident's channel, or privately to the person."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from bot.actions.boards import LONGEST, SHORTEST, board, validate_board
from bot.deps import Deps
from bot.domain.errors import BadInput, BotError, NotConfigured
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.snapshot import Snapshot
from bot.domain.times import format_span, parse_duration, parse_time, parse_zone
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.slack_messages import Place, upload_once, upsert_message
from bot.workflows.incidents.snapshot import (
    SnapshotRequest,
    chart_name,
    chart_titles,
    charts,
    charts_comment,
    message,
    snapshot_request,
    take_now,
    with_baseline,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot with its request; `before` is the snapshot to compare with, if any."""

    request: SnapshotRequest
    after: Snapshot
    before: Snapshot | None


class Snapshots:
    """Snapshots.

    Methods raise NotConfigured without Prometheus, and BadInput, NotFound or Refused for invalid requests.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def ask(
        self,
        incident: Incident | None,
        *,
        by: Person,
        what: str | None = None,
        service: str | None = None,
        window: timedelta | None = None,
        between: tuple[str, str] | None = None,
    ) -> SnapshotRequest:
        """Build and check a request, without querying the metrics.

        `what` is a board, a query, a service or PromQL; default: the board of `service`, which defaults to the
        incident's. A service and a window may be among its words (`render xr-engine 2h`). `between` are two times to
        compare.
        """
        what, service, window = self._sort(what, service, window)
        prometheus = self._deps.prometheus
        if prometheus is None:
            raise NotConfigured("prometheus_off")
        if window is not None and not SHORTEST <= window <= LONGEST:
            raise BadInput("bad_window", window=f"{window.total_seconds():g}s")
        now = self._deps.clock.now()
        before, at = await self._parse_between(between, incident, by, now) if between else (None, now)
        request = snapshot_request(
            self._deps, incident, at=at, what=what, service=service, window=window, before=before, by=by
        )
        request = await with_baseline(self._deps, incident, request)
        await validate_board(prometheus, self._deps.team, board(self._deps.team, what, request["service"]), at)
        return request

    def _sort(
        self, what: str | None, service: str | None, window: timedelta | None
    ) -> tuple[str | None, str | None, timedelta | None]:
        """Return the three as they were meant: a service and a window need no name."""
        team, words = self._deps.team, (what or "").split()
        known = [word for word in words if word in team.boards or word in team.queries]
        others = [word for word in words if word not in known]
        services = [word for word in others if word in team.services and service is None]
        lengths = [
            length
            for word in others
            if isinstance(length := parse_duration(word), timedelta) and word not in services and window is None
        ]
        is_understood = len(services) + len(lengths) == len(others)
        if not is_understood or max(len(known), len(services), len(lengths)) > 1:
            return what, service, window
        return next(iter(known), None), next(iter(services), service), next(iter(lengths), window)

    async def zone_of(self, person: Person) -> tzinfo:
        """Return the time zone in which a person types times: their own, or the team's."""
        own = parse_zone(await self._deps.slack.time_zone(person.id)) if person.in_slack else None
        return own or self._deps.team.zone

    async def understood(self, request: SnapshotRequest, by: Person) -> str:
        """Return which times were understood: `20:40 → 20:50 CET (19:40 → 19:50 UTC)`; empty without any."""
        if not request.get("before"):
            return ""
        zone = await self.zone_of(by)
        times = [datetime.fromisoformat(str(request[name])) for name in ("before", "at")]
        return format_span(times[0], times[1], zone)

    async def into_channel(self, incident: Incident, request: SnapshotRequest, *, idempotency_key: str) -> None:
        """Take it durably and post it to the incident's channel; once per idempotency key."""
        name = f"asked-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:10]}"
        id = f"{incident.id}/snapshot/{name}"
        await self._deps.store.outbox.enqueue_once(id, "snapshot", [incident.id, name, request])

    async def take(self, request: SnapshotRequest) -> Taken:
        """Take it now."""
        return Taken(request, *await take_now(self._deps, request))

    def message(self, taken: Taken, words: Translations) -> Message:
        return message(self._deps, words, taken.request, taken.after, taken.before)

    async def send_charts(self, taken: Taken, to: Person, words: Translations, *, idempotency_key: str) -> str:
        """Send table and charts to the person's direct messages. Returns a sentence about the outcome."""
        if not taken.after.figures:
            return ""
        try:
            table = self.message(taken, words)
            sent = await upsert_message(self._deps, f"{idempotency_key}/snapshot"[:160], Place(to.id), table)
            titles = chart_titles(words, taken.request, taken.after, taken.before)
            pictures = await charts(self._deps, words, taken.request, taken.after, None, list(titles))
            files = [
                (chart_name(taken.request["occasion"], query).rpartition("/")[2], title, pictures[query])
                for query, title in titles.items()
            ]
            comment = charts_comment(self._deps, words, taken.request, taken.after)
            await upload_once(
                self._deps,
                f"{idempotency_key}/snapshot/charts"[:160],
                Place(sent["channel"], sent["ts"]),
                files,
                comment,
            )
        except BotError as problem:
            return words.render_block("snapshot", "charts_not_sent", why=words.error(problem))
        return words.render_block("snapshot", "charts_sent")

    async def _parse_between(
        self, between: tuple[str, str], incident: Incident | None, by: Person, now: datetime
    ) -> tuple[datetime, datetime]:
        words = self._deps.words_for(by.locale)
        named: dict[str, datetime] = {}
        for milestone, at in incident.milestones.items() if incident else ():
            named |= {milestone.value: at, words.label(f"milestones.{milestone}").lower(): at}
        zone = await self.zone_of(by)
        earlier, later = sorted(parse_time(text, now, named, zone) for text in between)
        return earlier, later
