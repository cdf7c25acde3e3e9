"""`kubernetes.apply`, `delete`: objects from manifests of the repository; `refresh_external_secret`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import Unavailable, WrongState
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.integrations.kubernetes.objects import PLURALS, Manifest, read
from bot.names import Name

if TYPE_CHECKING:
    from bot.integrations.kubernetes.objects import Objects

ManifestPath = Annotated[str, Field(min_length=1, max_length=250)]
MANIFEST = "manifest/{environment}/{namespace}/{manifest}"

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """The content of an object before and after; None where it does not exist."""

    kind: str
    name: str
    before: Content | None
    after: Content | None


@dataclass(frozen=True, slots=True)
class Applied:
    manifest: str
    namespace: str
    objects: list[Changed]


@action(
    "kubernetes.apply",
    risk=Risk.DISRUPTIVE,
    target=MANIFEST,
    example="/ops kubernetes.apply drills/block-s3.yaml service=tamv-core",
)
async def apply(
    ctx: Context, manifest: ManifestPath, service: str | None = None, namespace: str | None = None
) -> Applied:
    """Apply a manifest of the repository in the namespace of a service."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    changed = []
    for manifest_object in manifests(ctx, manifest, PLURALS):
        objects = ctx.kubernetes.objects
        current = await objects.content(manifest_object.kind, manifest_object.name, ns)
        after = await objects.applied(manifest_object.kind, manifest_object.name, ns, manifest_object.body)
        _require_as_planned(ctx, manifest_object, "after", after)
        if current != after:
            taken = await objects.contested(manifest_object.kind, manifest_object.name, ns, manifest_object.body)
            await objects.apply(manifest_object.kind, manifest_object.name, ns, manifest_object.body, taken)
        changed.append(
            Changed(manifest_object.kind, manifest_object.name, _before(ctx, manifest_object, current, after), after)
        )
    return Applied(manifest, ns, changed)


@action(
    "kubernetes.delete",
    risk=Risk.DISRUPTIVE,
    target=MANIFEST,
    example="/ops kubernetes.delete drills/block-s3.yaml service=tamv-core",
)
async def delete(
    ctx: Context, manifest: ManifestPath, service: str | None = None, namespace: str | None = None
) -> Applied:
    """Delete the objects of a manifest of the repository in the namespace of a service."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    changed = []
    for manifest_object in reversed(manifests(ctx, manifest, PLURALS)):
        current = await ctx.kubernetes.objects.content(manifest_object.kind, manifest_object.name, ns)
        if current is not None:
            _require_as_planned(ctx, manifest_object, "before", current)
            await ctx.kubernetes.objects.delete(manifest_object.kind, manifest_object.name, ns)
        changed.append(
            Changed(manifest_object.kind, manifest_object.name, _before(ctx, manifest_object, current, None), None)
        )
    return Applied(manifest, ns, changed)


@undo(apply)
@undo(delete)
async def restore_objects(ctx: Context, done: Applied) -> Applied:
    """Restore the objects as they were, unless they were changed since."""
    objects = ctx.kubernetes.objects
    for changed in done.objects:
        if await objects.content(changed.kind, changed.name, done.namespace) not in (changed.before, changed.after):
            raise WrongState("changed_since", name=changed.name)
    for changed in reversed(done.objects):
        await _restore_object(objects, changed, done.namespace)
    restored = [Changed(changed.kind, changed.name, changed.after, changed.before) for changed in done.objects]
    return Applied(done.manifest, done.namespace, restored)


def manifests(ctx: Context, path: str, kinds: Collection[str]) -> list[Manifest]:
    """Return the objects of a file in the team's manifests folder. Raises BadInput."""
    return read(ctx.team.path(ctx.team.manifests), path, kinds)


async def _restore_object(objects: Objects, changed: Changed, namespace: str) -> None:
    if changed.before is None:
        await objects.delete(changed.kind, changed.name, namespace)
    elif await objects.content(changed.kind, changed.name, namespace) != changed.before:
        await objects.restore(changed.kind, changed.name, namespace, changed.before)


def _require_as_planned(ctx: Context, manifest: Manifest, when: Literal["before", "after"], content: Content) -> None:
    """Raise WrongState if the content differs from the plan: only the plan was approved."""
    if (planned := _planned_object(ctx, manifest)) and planned[when] != ctx.deps.redaction.of(content):
        raise WrongState("changed_since", name=manifest.name)


def _before(ctx: Context, manifest: Manifest, now: Content | None, after: Content | None) -> Content | None:
    """Return the content before the first attempt: the current one, or the planned one if an earlier attempt changed
    it.
    """
    planned = _planned_object(ctx, manifest)
    return planned["before"] if now == after and planned else now


def _planned_object(ctx: Context, manifest: Manifest) -> dict[str, Any] | None:
    """Return this object's entry of the step's dry run."""
    objects: list[dict[str, Any]] = ctx.planned.get("objects", [])
    return next((entry for entry in objects if (entry["kind"], entry["name"]) == (manifest.kind, manifest.name)), None)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`before` and `after` are the synced versions; `at` is the time of the synchronisation."""

    secret: str
    namespace: str
    before: str
    after: str
    at: str


@action(
    "kubernetes.refresh_external_secret",
    risk=Risk.CHANGE,
    target="secret/{environment}/{namespace}/{secret}",
    example="/ops kubernetes.refresh_external_secret tamv-core-secrets service=tamv-core",
)
async def refresh_external_secret(
    ctx: Context,
    secret: Name,
    service: Name | None = None,
    wait: Duration = timedelta(minutes=2),
    namespace: str | None = None,
) -> Refreshed:
    """Make External Secrets read a secret from Vault again, and wait until it is synced."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    secrets = ctx.kubernetes.external_secrets
    current = await secrets.sync_status(secret, ns)
    before = str(ctx.planned.get("before") or current.version)
    await secrets.refresh(secret, ns, ctx.key.replace("/", "."))
    if ctx.dry_run:
        return Refreshed(secret, ns, before, before, current.at)
    try:
        async with asyncio.timeout(wait.total_seconds()):
            after = await secrets.wait_until_refreshed(secret, ns, before)
    except TimeoutError as slow:
        what = f"external secret {ns}/{secret}"
        raise Unavailable("timed_out", service="Kubernetes", what=what, seconds=wait.total_seconds()) from slow
    return Refreshed(secret, ns, before, after.version, after.at)
