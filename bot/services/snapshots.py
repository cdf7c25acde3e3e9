"""Snapshots that a person asks for: into the incident's channel, or to the person alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.actions.boards import LONGEST, SHORTEST, board, validate_board
from bot.deps import Deps
from bot.domain.errors import BadInput, BotError, NotConfigured
from bot.domain.incident import Incident
from bot.domain.people import Person
from bot.domain.snapshot import Snapshot
from bot.domain.times import parse_time
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.slack_messages import upload_once, upsert_message
from bot.workflows.incidents.snapshot import (
    SnapshotRequest,
    chart_name,
    chart_titles,
    charts,
    charts_comment,
    message,
    snapshot_request,
    take_now,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was asked for and what came of it; `before` is the moment with which it is compared, if one is."""

    asked: SnapshotRequest
    after: Snapshot
    before: Snapshot | None


class Snapshots:
    """Everything raises Off without Prometheus, and BadInput, NotFound or Refused for what cannot be asked."""

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
        """What a person wants, checked before anything is taken.

        `what` is a board, a query, a service or PromQL; without it, it is the board of the service, which without
        `service` is the incident's. `between` are two moments to compare.
        """
        prometheus = self._deps.prometheus
        if prometheus is None:
            raise NotConfigured("prometheus_off")
        if window is not None and not SHORTEST <= window <= LONGEST:
            raise BadInput("bad_window", window=f"{window.total_seconds():g}s")
        now = self._deps.clock.now()
        before, at = self._moments(between, incident, by, now) if between else (None, now)
        request = snapshot_request(
            self._deps, incident, at=at, what=what, service=service, window=window, before=before, by=by
        )
        await validate_board(prometheus, self._deps.team, board(self._deps.team, what, request["service"]), at)
        return request

    async def into_channel(self, incident: Incident, request: SnapshotRequest, *, idempotency_key: str) -> None:
        """Take it durably and post it where the incident is handled; the same cause again does nothing."""
        name = f"asked-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:10]}"
        id = f"{incident.id}/snapshot/{name}"
        await self._deps.store.outbox.enqueue_once(id, "snapshot", [incident.id, name, request])

    async def take(self, request: SnapshotRequest) -> Taken:
        """Take it now."""
        return Taken(request, *await take_now(self._deps, request))

    def message(self, taken: Taken, words: Translations) -> Message:
        return message(self._deps, words, taken.asked, taken.after, taken.before)

    async def send_charts(self, taken: Taken, to: Person, words: Translations, *, idempotency_key: str) -> str:
        """The charts, behind the table, in the person's direct messages; a sentence that says what became of it."""
        if not taken.after.figures:
            return ""
        try:
            table = self.message(taken, words)
            posted = await upsert_message(self._deps, f"{idempotency_key}/snapshot"[:160], to.id, table)
            titles = chart_titles(words, taken.asked, taken.after, taken.before)
            pictures = await charts(self._deps, words, taken.asked, taken.after, None, list(titles))
            files = [
                (chart_name(taken.asked["occasion"], query).rpartition("/")[2], title, pictures[query])
                for query, title in titles.items()
            ]
            comment = charts_comment(self._deps, words, taken.asked, taken.after)
            await upload_once(
                self._deps,
                f"{idempotency_key}/snapshot/charts"[:160],
                posted["channel"],
                files,
                comment,
                thread=posted["ts"],
            )
        except BotError as problem:
            return words.render_block("snapshot", "charts_not_sent", why=words.error(problem))
        return words.render_block("snapshot", "charts_sent")

    def _moments(
        self, between: tuple[str, str], incident: Incident | None, by: Person, now: datetime
    ) -> tuple[datetime, datetime]:
        words = self._deps.words_for(by.locale)
        named: dict[str, datetime] = {}
        for milestone, at in incident.milestones.items() if incident else ():
            named |= {milestone.value: at, words.label(f"milestones.{milestone}").lower(): at}
        earlier, later = sorted(parse_time(text, now, named) for text in between)
        return earlier, later
