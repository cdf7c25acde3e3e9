"""`helm.*`: releases, canaries and rollbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.domain.policy import Risk
from bot.integrations.helm import Revision, deployment_in, origin, rollback_candidates
from bot.team import PRODUCTION

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
RELEASE = "release/{environment}/{namespace}/{release}"
CANARY_ON, CANARY_WEIGHT = "canary.enabled", "canary.weight"
RECENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Releases:
    """Revisions of a release, oldest first, and the last good one with its image tag.

    `recent`: the current revision is at most RECENT old.
    """

    release: str
    namespace: str
    revisions: list[dict[str, Any]]
    last_good: int | None
    last_good_tag: str | None
    recent: bool


@dataclass(frozen=True, slots=True)
class Upgraded:
    """`before` is the previous revision, 0 for a new release; `values` are the ones that were set."""

    release: str
    namespace: str
    before: int
    after: int
    values: dict[str, str]


@action("helm.history", risk=Risk.READ, example="/ops history xr-engine")
async def history(ctx: Context, release: Name, namespace: str | None = None) -> Releases:
    """List the revisions of a release, with chart, app version and status."""
    ns = ctx.namespace(release, namespace)
    revisions = await ctx.helm.history(release, ns)
    return _release_facts(ctx, release, ns, revisions, await _last_good(ctx, release, ns, revisions))


@action("helm.status", risk=Risk.READ, example="/ops helm.status xr-engine")
async def status(ctx: Context, release: Name, namespace: str | None = None) -> Releases:
    """Show the current revision of a release."""
    ns = ctx.namespace(release, namespace)
    revisions = await ctx.helm.history(release, ns)
    return _release_facts(ctx, release, ns, revisions[-1:], await _last_good(ctx, release, ns, revisions))


@action("helm.upgrade", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops deploy xr-engine tag=v4.2.0")
async def upgrade(
    ctx: Context, release: Name, tag: Tag, namespace: str | None = None, values: dict[str, str] | None = None
) -> Upgraded:
    """Install or upgrade with an image tag, keeping the release's values; waits, and rolls back if it does not
    start.
    """
    return await _upgrade(ctx, release, namespace, {"image.tag": tag, **(values or {})})


@action("helm.canary", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops canary xr-engine tag=v4.2.0 weight=10")
async def canary(
    ctx: Context, release: Name, tag: Tag, weight: Literal[10, 50, 100] = 10, namespace: str | None = None
) -> Upgraded:
    """Send a share of the traffic to a new version."""
    return await _upgrade(ctx, release, namespace, {"image.tag": tag, CANARY_ON: "true", CANARY_WEIGHT: str(weight)})


@action("helm.promote", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops promote xr-engine weight=50")
async def promote(
    ctx: Context, release: Name, weight: Literal[50, 100] = 100, namespace: str | None = None
) -> Upgraded:
    """Send more traffic to the canary. Requires a canary, which must have been watched in production."""
    ns = ctx.namespace(release, namespace)
    revisions = await ctx.helm.history(release, ns)
    if not revisions or revisions[-1].description != ctx.key:  # else it was done before a crash
        await _require_promotable(ctx, release, ns, weight, revisions[-1].updated if revisions else None)
    return await _upgrade(ctx, release, namespace, {CANARY_WEIGHT: str(weight)})


@action("helm.rollback", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops rollback xr-engine")
async def rollback(
    ctx: Context, release: Name, revision: Annotated[int, Field(ge=1)] | None = None, namespace: str | None = None
) -> Upgraded:
    """Roll back to the last good revision (never a failed one) and wait for it; also repairs an interrupted command."""
    ns = ctx.namespace(release, namespace)
    revisions = await ctx.helm.history(release, ns)
    good = await _last_good(ctx, release, ns, revisions) if revision is None else None
    to = good[0] if good else revision
    if to is None or to not in {r.number for r in revisions}:
        raise WrongState("nothing_to_go_back_to", release=release, known=[r.number for r in revisions])
    await ctx.helm.rollback(release, ns, to)
    after = (await ctx.helm.history(release, ns))[-1].number
    return Upgraded(release, ns, revisions[-1].number, after, {})


@undo(upgrade)
@undo(canary)
@undo(promote)
@undo(rollback)
async def restore_release(ctx: Context, done: Upgraded) -> Upgraded:
    """Roll back to the previous revision, unless the release was changed since."""
    revisions = await ctx.helm.history(done.release, done.namespace)
    current = revisions[-1]
    content = origin(current, revisions)
    if done.before == 0 or content == _origin(done.before, revisions):
        return Upgraded(done.release, done.namespace, current.number, current.number, {})
    if done.after != done.before and content != _origin(done.after, revisions) and not current.pending:
        raise WrongState("changed_since", name=done.release)
    await ctx.helm.rollback(done.release, done.namespace, done.before)
    return Upgraded(done.release, done.namespace, current.number, current.number + 1, {})


async def _require_promotable(ctx: Context, release: str, namespace: str, weight: int, since: datetime | None) -> None:
    """Raise WrongState without a canary of lower weight; in production also if it was not watched `since` its
    upgrade.
    """
    canary = (await ctx.helm.values(release, namespace)).get("canary") or {}
    current_weight = int(canary.get("weight") or 0)
    if not canary.get("enabled") or current_weight >= weight:
        raise WrongState("no_canary", release=release, weight=current_weight)
    if ctx.environment == PRODUCTION and since and not await ctx.deps.store.runs.was_watched(release, since):
        raise WrongState("canary_not_watched", release=release, service=release, weight=current_weight)


async def _upgrade(ctx: Context, release: str, namespace: str | None, values: dict[str, str]) -> Upgraded:
    ns = ctx.namespace(release, namespace)
    chart = ctx.service(release).chart
    if chart is None:
        raise BadInput("no_chart", service=release)
    revisions = await ctx.helm.history(release, ns)
    before = revisions[-1] if revisions else None
    if before and before.description == ctx.key:
        return Upgraded(release, ns, before.number - 1, before.number, values)  # done before a crash
    if before and before.pending:
        await _repair_pending(ctx, release, ns, revisions)
    kept_values, taken_back = await _manual_changes(ctx, release, ns) if before else ({}, [])
    all_values = kept_values | values
    await ctx.helm.upgrade(release, ns, chart, all_values, ctx.key, taken_back)
    after = (await ctx.helm.history(release, ns))[-1].number
    return Upgraded(release, ns, before.number if before else 0, after, all_values)


async def _manual_changes(ctx: Context, release: str, namespace: str) -> tuple[dict[str, str], list[str]]:
    """Return the manual changes since the release was installed: values that keep them, and what will be overwritten.

    The number of replicas is kept: it was scaled for the current load, which the new version meets too.
    """
    service = ctx.service(release)
    name = service.deployment or release
    installed = deployment_in(await ctx.helm.manifest(release, namespace), name)
    if installed is None:
        return {}, []
    try:
        live = ctx.kubernetes.workloads
        replicas, (_, env), selector = await asyncio.gather(
            live.replicas(name, namespace), live.env(name, namespace), live.node_selector(name, namespace)
        )
    except NotFound:
        return {}, []
    scaled = installed.replicas is not None and installed.replicas != replicas
    kept = {service.replicas_value: str(replicas)} if scaled else {}
    return kept, _differences(env, installed.env) + _differences(selector, installed.node_selector)


def _differences(live: Mapping[str, str | None], installed: Mapping[str, str | None]) -> list[str]:
    """Return `name=value` for each value that differs from the installed one."""
    return [f"{name}={live.get(name)}" for name, value in sorted(installed.items()) if live.get(name) != value]


async def _repair_pending(ctx: Context, release: str, namespace: str, revisions: list[Revision]) -> None:
    good = await _last_good(ctx, release, namespace, revisions)
    if good is None:
        raise WrongState("nothing_to_go_back_to", release=release, known=[revision.number for revision in revisions])
    await ctx.helm.rollback(release, namespace, good[0])


async def _last_good(
    ctx: Context, release: str, namespace: str, revisions: list[Revision]
) -> tuple[int, str | None] | None:
    """Return the last good revision that had all of the traffic, with its image tag."""
    for revision in rollback_candidates(revisions):
        values = await ctx.helm.values(release, namespace, revision.number)
        canary, image = values.get("canary") or {}, values.get("image") or {}
        if not canary.get("enabled") or int(canary.get("weight") or 0) == 100:
            return revision.number, str(image["tag"]) if image.get("tag") else None
    return None


def _origin(number: int, revisions: list[Revision]) -> int:
    return next((origin(revision, revisions) for revision in revisions if revision.number == number), number)


def _release_facts(
    ctx: Context, release: str, namespace: str, revisions: list[Revision], good: tuple[int, str | None] | None
) -> Releases:
    rows = [
        {
            "revision": revision.number,
            "status": revision.status,
            "chart": revision.chart,
            "app_version": revision.app_version,
            "description": revision.description,
            "updated": revision.updated.isoformat() if revision.updated else None,
        }
        for revision in revisions
    ]
    updated = revisions[-1].updated if revisions else None
    recent = updated is not None and ctx.clock.now() - updated < RECENT
    number, tag = good or (None, None)
    return Releases(release, namespace, rows, number, tag, recent)
