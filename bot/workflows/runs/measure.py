"""Measure whether a change helped: a service's metrics when its action began, and when they hold or the time is up.

Prometheus remembers the first, so both are queried at the end and no change waits for its figures. Both are kept with
the step as snapshots. Whatever could not be measured to its end has the verdict "not measured".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.actions.boards import board, query_board
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.run import UNCHANGED, Run, StepRun
from bot.domain.runbook import Step
from bot.domain.snapshot import Assessment, Change, Snapshot, Trend, Verdict, assess, compare
from bot.team import PRODUCTION
from bot.workflows.runs.step import NAMES_OF_SERVICES, step_environment

# When to compare metrics if the runbook has no `verify`: rates need a minute or two.
DEFAULT_VERIFY_WITHIN = timedelta(minutes=2)
VERIFY_SAMPLES = 10
TOLD_FIGURES = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of verifying, plain JSON in a durable step: whether it has ended, and since when the metrics hold.

    `cut_off`: it ended before they held and before its time was up.
    """

    ended: bool
    again: str
    holding_since: str | None
    cut_off: bool = False


class Measuring:
    """The measuring of one step."""

    def __init__(self, deps: Deps, run: Run, step: Step) -> None:
        self._deps = deps
        self._run = run
        self._step = step

    def applies(self, step_run: StepRun) -> bool:
        """Return True if the step is measured.

        Without `verify` in the runbook, a step that changes no service (a branch, an issue), or not in production, is
        not.
        """
        if self._deps.prometheus is None:
            return False
        elsewhere = step_environment(self._deps, self._run, self._step.id, step_run.parameters) != PRODUCTION
        return self._step.verify is not None or not (elsewhere or self._changed_service(step_run) is None)

    async def sample(self, step_run: StepRun, since: datetime, holding_since: datetime | None) -> Sample:
        """Return whether verifying has ended, and when to look again."""
        now, verify = self._deps.clock.now(), self._step.verify
        within = verify.within if verify else DEFAULT_VERIFY_WITHIN
        time_is_up = now - since >= within
        stopped = await self._deps.store.runs.cancelled(self._run.id)
        holds, long_enough = False, False
        if verify:
            holds = _within_thresholds(await self.query(step_run, now))
            holding_since = (holding_since or now) if holds else None
            long_enough = holding_since is not None and now - holding_since >= verify.for_
        if verify and (time_is_up or long_enough):
            verified = bool(holds and long_enough)
            await self._deps.store.runs.set_step(self._run.id, self._step.id, verified=verified)
        return Sample(
            ended=time_is_up or stopped or long_enough,
            again=(min(now + within / VERIFY_SAMPLES, since + within) if verify else since + within).isoformat(),
            holding_since=holding_since.isoformat() if holding_since else None,
            cut_off=stopped and not (time_is_up or long_enough),
        )

    async def record_verdict(self, step_run: StepRun, *, measured: bool) -> None:
        """Compare the metrics when the change began with those of now, and keep both.

        `measured` is False if the measuring was cut off.
        """
        if step_run.facts.get(UNCHANGED) or step_run.began_at is None:
            return
        before = await self.query(step_run, step_run.began_at)
        after = await self.query(step_run, self._deps.clock.now())
        await self._keep("before", before)
        await self._keep("after", after)
        changes = compare(before, after) if measured else ()
        verdict = assess(changes) if changes else Assessment.UNKNOWN
        await self._deps.store.runs.set_step(self._run.id, self._step.id, verdict=verdict)

    async def told(self) -> dict[str, Any] | None:
        """Return the metrics before and after as facts of the timeline; None if one of them is missing.

        `out` counts those that were out of bounds before and after, and those that are not known afterwards.
        """
        before, after = await self._kept("before"), await self._kept("after")
        if before is None or after is None:
            return None
        changes = sorted(compare(before, after), key=_importance)
        figures = [
            {
                "title": dict(change.after.title),
                "unit": change.after.unit,
                "before": change.before.value,
                "after": change.after.value,
                "threshold": change.after.threshold,
                "direction": change.after.direction.value,
            }
            for change in changes[:TOLD_FIGURES]
        ]
        verdicts = {
            "before": [change.before.verdict for change in changes],
            "after": [m.verdict for m in after.figures],
        }
        out: dict[str, int] = {when: seen.count(Verdict.BREACH) for when, seen in verdicts.items()}
        out["unknown"] = verdicts["after"].count(Verdict.UNKNOWN) + len(after.missing)
        return {"before": before.at.isoformat(), "after": after.at.isoformat(), "figures": figures, "out": out}

    async def query(self, step_run: StepRun, at: datetime) -> Snapshot:
        if self._deps.prometheus is None:
            raise BotError("prometheus_off")
        service = self._changed_service(step_run) or self._deps.team.default_service
        board_spec = board(self._deps.team, self._step.verify.board if self._step.verify else None, service)
        return await query_board(self._deps.prometheus, board_spec, at)

    def _changed_service(self, step_run: StepRun) -> str | None:
        """Return the service named in the step's parameters."""
        parameters: Mapping[str, Any] = step_run.parameters or {}
        named = (str(parameters[name]) for name in NAMES_OF_SERVICES if parameters.get(name))
        return next((name for name in named if name in self._deps.team.services), None)

    async def _keep(self, when: str, snapshot: Snapshot) -> None:
        await self._deps.store.snapshots.add(self._key(when), self._run.incident_id, snapshot.at, snapshot.to_json())

    async def _kept(self, when: str) -> Snapshot | None:
        content = await self._deps.store.snapshots.get(self._key(when))
        return Snapshot.from_json(content) if content else None

    def _key(self, when: str) -> str:
        return f"{self._run.id}/{self._step.id}/{when}"


def _within_thresholds(snapshot: Snapshot) -> bool:
    """Return True if every metric is available and within its threshold, if it has one."""
    acceptable = (Verdict.OK, Verdict.NO_THRESHOLD)
    return not snapshot.missing and all(metric.verdict in acceptable for metric in snapshot.figures)


def _importance(change: Change) -> int:
    """Order changes: first what is or was out of bounds, then what moved, last what is not known."""
    if Verdict.BREACH in (change.before.verdict, change.after.verdict):
        return 0
    return 2 if change.trend is Trend.UNKNOWN else 1
