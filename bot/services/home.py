"""The App Home's data: open incidents, approvals, follow-ups, the next drill, secrets to rotate, backups, forecasts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from bot.deps import Deps
from bot.domain.backup import Aspect, Check
from bot.domain.calendar import Due
from bot.domain.drill import PREFIX, NextDrill, due
from bot.domain.followup import FollowUp
from bot.domain.forecast import Score
from bot.domain.incident import Incident
from bot.domain.rotation import Rotations
from bot.domain.run import is_undo
from bot.messages.translations import Translations
from bot.workflows import calendar
from bot.workflows.calendar import maintenance_within
from bot.workflows.forecasts import metric_titles, scores_since
from bot.workflows.runs.approval_messages import PendingApproval, load_pending

SOON = timedelta(days=7)
SCORED = timedelta(days=30)  # the forecasts of so long are scored
AWS_WITHIN = 2.5  # seconds: Slack shows the last Home meanwhile


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits.

    `approvals` are those that the person may decide, with their runs; `mine` and `others` are follow-ups.
    """

    incidents: Sequence[Incident]
    approvals: Sequence[PendingApproval]
    mine: Sequence[FollowUp]
    others: Sequence[FollowUp]
    drill: NextDrill | None = None
    rotations: Rotations | None = None
    maintenance: Sequence[Due] = ()
    backups: Sequence[Check] = ()
    forecasts: Sequence[Score] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


class Home:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def for_user(self, user: str, words: Translations) -> Pending:
        """Return the data for a Slack user id, with the metrics' names in a language."""
        store = self._deps.store
        names = self._names(user)
        incidents, approvals, followups, drill, rotations, backups = await asyncio.gather(
            store.incidents.list_open(),
            self._approvals(user),
            store.followups.not_done(),
            self._drill(),
            self._rotations(),
            self._backups(),
        )
        return Pending(
            incidents,
            approvals,
            [followup for followup in followups if followup.owner in names],
            [followup for followup in followups if followup.owner not in names],
            drill,
            rotations,
            maintenance_within(self._deps, SOON),
            backups,
            await scores_since(self._deps, self._deps.clock.now() - SCORED),
            metric_titles(self._deps.team, words),
        )

    async def _backups(self) -> Sequence[Check]:
        """Return the checks of the backups; not known if AWS takes too long, which must not hold up the rest."""
        try:
            async with asyncio.timeout(AWS_WITHIN):
                return await calendar.backups(self._deps)
        except TimeoutError:
            return [Check("AWS", Aspect.DATABASE, None, {"problem": "unknown"})]

    async def _rotations(self) -> Rotations | None:
        """Return the rotations; None without Vault or secrets."""
        planned = await calendar.rotations(self._deps)
        return None if planned is None else Rotations.at(self._deps.clock.now(), planned)

    async def _drill(self) -> NextDrill | None:
        today, upcoming = self._deps.clock.now().date(), []
        for planned in self._deps.team.schedules.drills:
            last = await self._deps.store.runs.last_started([f"{PREFIX}{scenario}" for scenario in planned.scenarios])
            month = due(planned.months, today, last.date() if last else None)
            upcoming.append(NextDrill(planned.title, month, planned.scenarios))
        return min(upcoming, key=lambda drill: drill.month, default=None)

    async def _approvals(self, user: str) -> list[PendingApproval]:
        """Return the approvals and questions that wait for this person, oldest first."""
        waiting = []
        for approval in await self._deps.store.runs.waiting():
            pending = await load_pending(self._deps, approval.run_id, approval.step_id)
            goes_on = pending is not None and (not pending.run.state.ended or is_undo(approval.step_id))
            if pending and user in pending.people and goes_on:
                waiting.append(pending)
        return waiting

    def _names(self, user: str) -> set[str]:
        """Return every owner name that means this person: Slack id, GitHub login, teams."""
        team = self._deps.team
        owner = team.person(slack=user)
        login = owner.github if owner else None
        teams = {name for name, t in team.teams.items() if user in t.members or (login and login in t.github)}
        return {user, *teams, *([login] if login else [])}
