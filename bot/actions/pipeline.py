"""`pipeline.*`: whether a version has been in staging and its commit's checks are green; what was measured there.

What the team's file demands of a version holds on every way into production: whatever brings one asks `hold_gate`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import BadInput, BotError, NotAllowed, NotConfigured, WrongState
from bot.domain.pipeline import (
    COMPARE,
    MEASURED_WORSE,
    Checks,
    Demand,
    Measure,
    NoMeasures,
    Staged,
    Trial,
    checked,
    compare_measures,
    doubts,
    read_measures,
    staged,
)
from bot.domain.policy import ANYWHERE, Risk
from bot.domain.run import StepState
from bot.integrations.github.code import GREEN
from bot.names import Name, ReleaseName, Tag
from bot.team import PRODUCTION, policy_of

DEPLOYMENTS_READ = 50
GITHUB = "GitHub"
GATE = "pipeline.gate"
LINE_SHOWN = 200
TOLERANCE = 10.0  # percent by which a measure may grow from one version to the next
WENT_WELL = {"success": True, "inactive": True, "failure": False, "error": False}  # inactive: it was replaced later
_OF_COMMIT = re.compile(r"(?:^|-)([0-9a-f]{7,40})$")  # `hotfix-20260102-1a2b3c4`

Reason = Annotated[str, Field(max_length=500)]


@dataclass(frozen=True, slots=True)
class Gate:
    """What is known of a version. `doubts` are `staging` and `checks`, as far as the team wants to know of them.

    `staged_by` and `staged_at` say which trial counts; `names` are the checks that stand in the way. `despite` is why
    it was let pass all the same, though the team demands it.
    """

    service: str
    tag: str
    staging: Staged
    checks: Checks
    doubts: list[str]
    staged_by: str = ""
    staged_at: datetime | None = None
    commit: str = ""
    names: list[str] = field(default_factory=list)
    despite: str = ""


_GATE = TypeAdapter(Gate)


@action(GATE, risk=Risk.READ, example="/ops pipeline.gate xr-engine tag=v4.2.0")
async def gate(ctx: Context, service: ReleaseName, tag: Tag, despite: Reason | None = None) -> Gate:
    """Say whether a version has been in staging, well and smoke-tested, and whether its commit's checks are green.

    Where the team's file demands it, it stops there; in an emergency `despite` says why it goes on all the same.
    """
    pipeline = ctx.team.pipeline
    demands: Mapping[str, Demand] = {"staging": pipeline.staging, "checks": pipeline.checks}
    ctx.service(service)
    (staging, trial), (checks, names, commit) = await asyncio.gather(_staged(ctx, service, tag), _checked(ctx, tag))
    found, forbidding = doubts(staging, checks, demands)
    why = (despite or "").strip() if forbidding else ""
    facts = Gate(
        service, tag, staging, checks, found,
        trial.by if trial else "", trial.at if trial else None, commit, names, why,
    )  # fmt: skip
    if forbidding and not facts.despite:
        raise WrongState(
            "gate_closed", service=service, tag=tag, environment=pipeline.environment, forbidding=forbidding,
            staging=staging.value, checks=checks.value, names=names,
        )  # fmt: skip
    if facts.despite:
        await _require_emergency(ctx)
    return facts


@dataclass(frozen=True, slots=True)
class Compared:
    """What a suite measured of a version, beside the version `since` that passed here before; empty if none did.

    `despite` is why it was let pass although something is worse. In a dry run there are no measures.
    """

    service: str
    tag: str
    suite: str
    measures: list[Measure]
    since: str = ""
    despite: str = ""


@action(
    COMPARE,
    risk=Risk.READ,
    example="""/ops pipeline.compare xr-engine tag=v4.2.0 suite=performance lines='{"measures":{"p95_ms":412.5}}'""",
)
async def compare(
    ctx: Context,
    service: ReleaseName,
    tag: Tag,
    suite: Name,
    lines: list[str],
    despite: Reason | None = None,
) -> Compared:
    """Compare what a job has measured of a version with the version before; stops if something is worse.

    The last of the `lines` of its log that is like `{"measures": {"p95_ms": 412.5}}` counts; of each value less is
    better, and a tenth more is borne. `despite` says why it goes on all the same.
    """
    ctx.service(service)
    if ctx.dry_run and not lines:
        return Compared(service, tag, suite, [])
    try:
        now = read_measures(lines)
    except NoMeasures as problem:
        raise BadInput("no_measures", suite=suite, line=problem.line[:LINE_SHOWN]) from None
    earlier = [
        result
        for result in await ctx.deps.store.runs.results_of(COMPARE, ctx.environment)
        if (result["service"], result["suite"]) == (service, suite) and result["tag"] != tag
    ]
    since, kept = (earlier[0]["tag"], earlier[0]["measures"]) if earlier else ("", [])
    before = {one["name"]: one["value"] for one in kept if one["value"] is not None}
    measures = compare_measures(now, before, TOLERANCE)
    worse = [_told(one) for one in measures if one.worse]
    why = (despite or "").strip() if worse else ""
    if worse and not why:
        raise WrongState(MEASURED_WORSE, service=service, tag=tag, suite=suite, since=since, worse=worse)
    return Compared(service, tag, suite, measures, since, why)


def _told(one: Measure) -> str:
    return f"{one.name} {one.before:g} → {'?' if one.value is None else format(one.value, 'g')}"


async def hold_gate(ctx: Context, service: str, tag: str) -> Gate | None:
    """Let a version into production only if the team's file does, or this run has passed its gate with a reason.

    Asked once, while it is planned. Returns what speaks against the version; None if nothing does, the run has passed
    the gate of this version, it goes elsewhere, or the team wants to know of nothing. Raises WrongState as
    `pipeline.gate` does.
    """
    if ctx.planned:
        kept = ctx.planned.get("gate")
        return _GATE.validate_python(kept) if kept else None
    pipeline = ctx.team.pipeline
    in_production = {PRODUCTION, ANYWHERE} & {ctx.environment, *ctx.rules}
    if not in_production or pipeline.staging == pipeline.checks == "off":
        return None
    run = await ctx.deps.store.runs.get(ctx.key.partition("/")[0])
    passed = [step.result or {} for step in run.steps if step.uses == GATE and step.state is StepState.DONE]
    if any((one.get("service"), one.get("tag")) == (service, tag) for one in passed):
        return None
    facts = await gate(ctx, service, tag)
    return facts if facts.doubts else None


async def _staged(ctx: Context, service: str, tag: str) -> tuple[Staged, Trial | None]:
    environment = ctx.team.pipeline.environment
    trials = await ctx.deps.store.runs.trials(service, tag, environment)
    try:
        deployments = await ctx.github.recent_deployments(service, environment, DEPLOYMENTS_READ)
    except NotConfigured:
        deployments = []
    except BotError:
        state, trial = staged(trials)
        return (Staged.UNKNOWN if state is Staged.NEVER else state), trial
    sha = _sha_of(tag)
    trials += [
        Trial(one.at, WENT_WELL.get(one.state or ""), smoke_tested=True, by=GITHUB)
        for one in deployments
        if one.ref.removeprefix("refs/tags/") == tag or (sha and one.sha.startswith(sha))
    ]
    return staged(trials)


async def _checked(ctx: Context, tag: str) -> tuple[Checks, list[str], str]:
    """Return the state of the checks of a tag's commit, the names that stand in the way, and the commit."""
    try:
        commit = await ctx.github.code.commit(tag)
        if commit is None and (sha := _sha_of(tag)):
            commit = await ctx.github.code.commit(sha)
        if commit is None:
            return Checks.NO_COMMIT, [], ""
        conclusions = await ctx.github.code.checks(commit)
    except BotError:
        return Checks.UNKNOWN, [], ""
    return *checked(conclusions, ctx.team.pipeline.needed_checks, GREEN), commit


def _sha_of(tag: str) -> str:
    match = _OF_COMMIT.search(tag)
    return match[1] if match else ""


async def _require_emergency(ctx: Context) -> None:
    """Raise NotAllowed unless the run belongs to an incident whose severity allows what the rules forbid."""
    allowed = policy_of(ctx.team).break_glass
    incident = await ctx.deps.store.incidents.get(ctx.incident_id) if ctx.incident_id else None
    if incident is None or incident.severity not in allowed:
        raise NotAllowed("no_break_glass", severities=sorted(level.value for level in allowed))
