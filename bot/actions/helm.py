"""`helm.*`: releases, canaries and rollbacks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from bot.actions.context import Context
from bot.actions.pipeline import Gate, hold_gate
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, NotFound, Refused, WrongState
from bot.domain.policy import ANYWHERE, Risk
from bot.integrations.helm import SECOND_ON, UNINSTALLED, Revision, image_tag, origin, rollback_candidates, value_at
from bot.integrations.kubernetes.workloads import is_meant
from bot.integrations.manifests import differences, workloads_in
from bot.names import ReleaseName, Tag
from bot.team import PRODUCTION

RELEASE = "release/{environment}/{namespace}/{release}"
CANARY_ON, CANARY_WEIGHT = "canary.enabled", "canary.weight"
RECENT = timedelta(hours=1)
NEVER_INSTALLED = ("pending-install", "uninstalling")
_INTEGER = re.compile(r"-?[1-9][0-9]{0,18}|0", re.ASCII)
_NUMBER = re.compile(rf"(?:{_INTEGER.pattern})(?:\.[0-9]{{1,17}})?", re.ASCII)


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
    """`before` is the previous revision, 0 for a new release; `values` are the ones that were set; `to` is the revision
    that a rollback went back to. `gate` is what speaks against a new version in production.
    """

    release: str
    namespace: str
    before: int
    after: int
    values: dict[str, Any]
    to: int | None = None
    gate: Gate | None = None


@action("helm.history", risk=Risk.READ, example="/ops history xr-engine")
async def history(ctx: Context, release: ReleaseName, namespace: str | None = None) -> Releases:
    """List the revisions of a release, with chart, app version and status."""
    ns = ctx.namespace(release, namespace)
    release = ctx.release(release)
    revisions = await ctx.helm.history(release, ns)
    return _release_facts(ctx, release, ns, revisions, await _last_good(ctx, release, ns, revisions))


@action("helm.status", risk=Risk.READ, example="/ops helm.status xr-engine")
async def status(ctx: Context, release: ReleaseName, namespace: str | None = None) -> Releases:
    """Show the current revision of a release."""
    ns = ctx.namespace(release, namespace)
    release = ctx.release(release)
    revisions = await ctx.helm.history(release, ns)
    return _release_facts(ctx, release, ns, revisions[-1:], await _last_good(ctx, release, ns, revisions))


@action("helm.upgrade", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops deploy xr-engine tag=v4.2.0")
async def upgrade(
    ctx: Context, release: ReleaseName, tag: Tag, namespace: str | None = None, values: dict[str, str] | None = None
) -> Upgraded:
    """Install or upgrade with an image tag, keeping the release's values; waits, and rolls back if it does not
    start.
    """
    ns = ctx.namespace(release, namespace)
    gate = await hold_gate(ctx, release, tag)
    given = await _typed(ctx, release, ns, values) if values else {}
    return replace(await upgrade_release(ctx, release, namespace, {"image.tag": tag, **given}), gate=gate)


@action("helm.canary", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops canary xr-engine tag=v4.2.0 weight=10")
async def canary(
    ctx: Context, release: ReleaseName, tag: Tag, weight: Literal[10, 50, 100] = 10, namespace: str | None = None
) -> Upgraded:
    """Send a share of the traffic to a new version."""
    gate = await hold_gate(ctx, release, tag)
    values = {"image.tag": tag, CANARY_ON: True, CANARY_WEIGHT: int(weight)}
    return replace(await upgrade_release(ctx, release, namespace, values), gate=gate)


@action("helm.promote", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops promote xr-engine weight=50")
async def promote(
    ctx: Context, release: ReleaseName, weight: Literal[50, 100] = 100, namespace: str | None = None
) -> Upgraded:
    """Send more traffic to the canary. Requires a canary, which must have been watched in production."""
    ns = ctx.namespace(release, namespace)
    revisions = await history_of(ctx, ctx.release(release), ns)
    if not revisions or revisions[-1].description != ctx.key:  # else it was done before a crash
        await _require_promotable(ctx, release, ns, weight, revisions[-1].updated if revisions else None)
    return await upgrade_release(ctx, release, namespace, {CANARY_WEIGHT: int(weight)})


@action("helm.rollback", risk=Risk.DISRUPTIVE, target=RELEASE, example="/ops rollback xr-engine")
async def rollback(
    ctx: Context,
    release: ReleaseName,
    revision: Annotated[int, Field(ge=1)] | None = None,
    namespace: str | None = None,
) -> Upgraded:
    """Roll back to the last good revision (never a failed one) and wait for it; also repairs an interrupted command.

    What was uninstalled with its history is installed again as it was.
    """
    ns, name = ctx.namespace(release, namespace), ctx.release(release)
    revisions = await ctx.helm.history(name, ns)
    to = revision or ctx.planned.get("to")
    if to is None:  # once it is planned, it stays: an earlier attempt has changed what the last good one is
        good = await _last_good(ctx, name, ns, revisions)
        to = good[0] if good else None
    current = revisions[-1]
    before = int(ctx.planned.get("before", 0 if current.status == UNINSTALLED else current.number))
    if current.number > before and current.rolled_back_to == to and current.was_deployed:
        return Upgraded(name, ns, before, current.number, {}, to)  # done before a crash
    _require_installed(name, ns, revisions)
    if to is None or to not in {r.number for r in revisions}:
        raise WrongState("nothing_to_go_back_to", release=name, known=[r.number for r in revisions])
    live = await _live(ctx, release, ns)
    if current.status == UNINSTALLED:
        await ctx.helm.reinstall(name, ns, to)
    else:
        await ctx.helm.rollback(name, ns, to, drift=live.drift, running=live.workloads)
    after = (await ctx.helm.history(name, ns))[-1].number
    return Upgraded(name, ns, before, after, {}, to)


@undo(upgrade)
@undo(canary)
@undo(promote)
@undo(rollback)
async def restore_release(ctx: Context, done: Upgraded) -> Upgraded:
    """Roll back to the previous revision, unless the release was changed since."""
    revisions = await history_of(ctx, done.release, done.namespace)
    if done.before == 0:
        return await _remove(ctx, done, revisions)
    current = revisions[-1]
    content = origin(current, revisions)
    if content == _origin(done.before, revisions):
        return Upgraded(done.release, done.namespace, current.number, current.number, {})
    if done.after != done.before and content != _origin(done.after, revisions) and not current.pending:
        raise WrongState("changed_since", name=done.release)
    await ctx.helm.rollback(done.release, done.namespace, done.before)
    return Upgraded(done.release, done.namespace, current.number, current.number + 1, {})


async def _remove(ctx: Context, done: Upgraded, revisions: list[Revision]) -> Upgraded:
    """Remove a release that the step installed, unless it was changed since."""
    if revisions and revisions[-1].number != done.after:
        raise WrongState("changed_since", name=done.release)
    await ctx.helm.uninstall(done.release, done.namespace, keep_history=len(revisions) > 1)
    return Upgraded(done.release, done.namespace, revisions[-1].number if revisions else 0, 0, {})


async def _require_promotable(ctx: Context, release: str, namespace: str, weight: int, since: datetime | None) -> None:
    """Raise WrongState without a canary of lower weight; in production also if it was not watched `since` its
    upgrade.
    """
    values = await ctx.helm.values(ctx.release(release), namespace)
    enabled, current_weight = canary_of(values)
    if not enabled or current_weight >= weight:
        raise WrongState("no_canary", release=release, weight=current_weight)
    in_production = {PRODUCTION, ANYWHERE} & {ctx.environment, *ctx.rules}
    if in_production and since and not await ctx.deps.store.runs.was_watched(release, since):
        tag = image_tag(values)
        raise WrongState("canary_not_watched", release=release, service=release, weight=current_weight, tag=tag)


async def upgrade_release(
    ctx: Context, service: str, namespace: str | None, values: dict[str, Any], mark: str | None = None
) -> Upgraded:
    """Upgrade a service's release with these values over its own.

    `mark` describes the revision: one that is there was done.
    """
    mark = mark or ctx.key
    ns, release = ctx.namespace(service, namespace), ctx.release(service)
    chart = ctx.service(service).chart
    if chart is None:
        raise BadInput("no_chart", service=service)
    revisions = await history_of(ctx, release, ns)
    before = revisions[-1] if revisions else None
    if before and before.description == mark and before.was_deployed:
        return Upgraded(release, ns, before.number - 1, before.number, values)  # done before a crash
    _require_installed(release, ns, revisions)
    if before and before.pending:
        await _repair_pending(ctx, release, ns, revisions)
    live = await _live(ctx, service, ns) if before else Live({}, [], {})
    all_values = live.kept_values | values
    await ctx.helm.upgrade(release, ns, chart, all_values, mark, live.drift, running=live.workloads)
    after = (await history_of(ctx, release, ns))[-1:]
    was_there = before is not None and before.status != UNINSTALLED
    return Upgraded(
        release, ns, before.number if before and was_there else 0, after[0].number if after else 1, all_values
    )


@dataclass(frozen=True, slots=True)
class Live:
    """What runs of a release: its workloads by reference, and how they differ from Helm's manifest (`drift`).

    `kept_values` keep what was changed on purpose.
    """

    workloads: dict[str, dict[str, Any]]
    drift: list[str]
    kept_values: dict[str, Any]


async def _live(ctx: Context, service: str, namespace: str) -> Live:
    """Return what runs of a service's release, and what a new revision would overwrite.

    The number of replicas is kept: it was scaled for the current load, which the new version meets too.
    """
    declared, release = ctx.service(service), ctx.release(service)
    installed = workloads_in(await ctx.helm.manifest(release, namespace))
    live: dict[str, dict[str, Any]] = {}
    for reference in installed:
        with suppress(NotFound, Refused):
            live[reference] = await ctx.kubernetes.workloads.read(reference, namespace)
    drift = [one for reference in live for one in differences(live[reference], installed[reference])]
    names = [*declared.runs_as, release]
    name = next((reference for wanted in names for reference in live if is_meant(wanted, reference)), None)
    replicas = installed[name]["spec"].get("replicas") if name else None
    current = live[name]["spec"].get("replicas") if name else None
    kept = {declared.replicas_value: current} if replicas is not None and current != replicas else {}
    return Live(live, list(dict.fromkeys(drift)), kept)


async def _typed(ctx: Context, service: str, namespace: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return typed values: of the type that the release's value has now, else as Helm's own `--set` reads them."""
    release = ctx.release(service)
    revisions = await history_of(ctx, release, namespace)
    current = await ctx.helm.values(release, namespace, revisions[-1].number) if revisions else {}
    return {path: _as(path, text, value_at(current, path)) for path, text in given.items()}


def _as(path: str, text: str, example: Any) -> Any:
    """Return the value that a text means at a place where `example` is now.

    Raises BadInput for what could not be meant: in a chart's condition, the text `False` would be true.
    """
    if isinstance(example, str):
        return text
    if text == "null":
        return None
    if isinstance(example, bool):
        if text.lower() not in ("true", "false"):
            raise BadInput("wrong_input", input=path, value=text, expected="true | false")
        return text.lower() == "true"
    if isinstance(example, list | Mapping):
        return _json_like(path, text, example)
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text) and abs(int(text)) < 2**63:
        return int(text)
    return float(text) if isinstance(example, int | float) and _NUMBER.fullmatch(text) else text


def _json_like(path: str, text: str, example: Any) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    kind, shown = (list, "[…]") if isinstance(example, list) else (dict, "{…}")
    if not isinstance(value, kind):
        raise BadInput("wrong_input", input=path, value=text, expected=f"JSON `{shown}`")
    return value


def canary_of(values: Mapping[str, Any]) -> tuple[bool, float]:
    """Return whether a release has a canary, and its share of the traffic in per cent."""
    weight = value_at(values, CANARY_WEIGHT)
    try:
        share = float(str(weight or 0).removesuffix("%"))
    except ValueError:
        share = 0.0
    return bool(value_at(values, CANARY_ON)), share


async def history_of(ctx: Context, release: str, namespace: str) -> list[Revision]:
    """Return the revisions; none for a release that is not installed yet."""
    try:
        return await ctx.helm.history(release, namespace)
    except NotFound:
        return []


def _require_installed(release: str, namespace: str, revisions: list[Revision]) -> None:
    """Raise WrongState for a first install that was cut off: there is no revision to go back to."""
    if revisions and all(revision.status in NEVER_INSTALLED for revision in revisions):
        raise WrongState("install_cut_off", release=release, namespace=namespace, status=revisions[-1].status)


async def _repair_pending(ctx: Context, release: str, namespace: str, revisions: list[Revision]) -> None:
    good = await _last_good(ctx, release, namespace, revisions)
    if good is None:
        raise WrongState("nothing_to_go_back_to", release=release, known=[revision.number for revision in revisions])
    await ctx.helm.rollback(release, namespace, good[0])


async def _last_good(
    ctx: Context, release: str, namespace: str, revisions: list[Revision]
) -> tuple[int, str | None] | None:
    """Return the last good revision that had all of the traffic, with its image tag; none with two versions."""
    for revision in rollback_candidates(revisions):
        values = await ctx.helm.values(release, namespace, revision.number)
        enabled, weight = canary_of(values)
        if (not enabled or weight == 100) and not value_at(values, SECOND_ON):
            return revision.number, image_tag(values)
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
