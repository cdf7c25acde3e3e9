"""`kubernetes.apply`, `delete`: objects whose manifests stand in the repository, reviewed like code."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import Unavailable, WrongState
from bot.domain.policy import Risk
from bot.integrations.kubernetes.objects import PLURALS, Manifest, read
from bot.team import Duration

if TYPE_CHECKING:
    from bot.integrations.kubernetes.objects import Objects

ManifestPath = Annotated[str, Field(min_length=1, max_length=250)]
MANIFEST = "manifest/{environment}/{namespace}/{manifest}"

Content = dict[str, Any]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


@dataclass(frozen=True, slots=True)
class Changed:
    """What an object said before and says after; None where it is not there."""

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
    """Let what a manifest of the repository says become so, in the namespace of a service."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    changed = []
    for wanted in manifests(ctx, manifest, PLURALS):
        objects = ctx.kubernetes.objects
        now = await objects.content(wanted.kind, wanted.name, ns)
        after = await objects.applied(wanted.kind, wanted.name, ns, wanted.body)
        _as_shown(ctx, wanted, "after", after)
        if now != after:
            await objects.apply(wanted.kind, wanted.name, ns, wanted.body)
        changed.append(Changed(wanted.kind, wanted.name, _before(ctx, wanted, now, after), after))
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
    """Delete the objects that a manifest of the repository names, in the namespace of a service."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    changed = []
    for named in reversed(manifests(ctx, manifest, PLURALS)):
        now = await ctx.kubernetes.objects.content(named.kind, named.name, ns)
        if now is not None:
            _as_shown(ctx, named, "before", now)
            await ctx.kubernetes.objects.delete(named.kind, named.name, ns)
        changed.append(Changed(named.kind, named.name, _before(ctx, named, now, None), None))
    return Applied(manifest, ns, changed)


@undo(apply)
@undo(delete)
async def restore_objects(ctx: Context, done: Applied) -> Applied:
    """Put back what was there, or delete what was not, unless somebody has changed it since."""
    objects = ctx.kubernetes.objects
    for changed in done.objects:
        if await objects.content(changed.kind, changed.name, done.namespace) not in (changed.before, changed.after):
            raise WrongState("changed_since", name=changed.name)
    for changed in reversed(done.objects):
        await _restore_object(objects, changed, done.namespace)
    back = [Changed(changed.kind, changed.name, changed.after, changed.before) for changed in done.objects]
    return Applied(done.manifest, done.namespace, back)


def manifests(ctx: Context, path: str, kinds: Collection[str]) -> list[Manifest]:
    """The objects of a file in the team's folder of manifests. Raises BadInput."""
    return read(Path(ctx.team.manifests), path, kinds)


async def _restore_object(objects: Objects, changed: Changed, namespace: str) -> None:
    if changed.before is None:
        await objects.delete(changed.kind, changed.name, namespace)
    elif await objects.content(changed.kind, changed.name, namespace) != changed.before:
        await objects.restore(changed.kind, changed.name, namespace, changed.before)


def _as_shown(ctx: Context, wanted: Manifest, when: Literal["before", "after"], content: Content) -> None:
    """Raises WrongState when it is other than what was rehearsed: nobody has agreed to that."""
    if (planned := _seen(ctx, wanted)) and planned[when] != content:
        raise WrongState("changed_since", name=wanted.name)


def _before(ctx: Context, wanted: Manifest, now: Content | None, after: Content | None) -> Content | None:
    """How it was before the first try: as it is now, or as the rehearsal saw it when an earlier try has changed it."""
    planned = _seen(ctx, wanted)
    return planned["before"] if now == after and planned else now


def _seen(ctx: Context, wanted: Manifest) -> dict[str, Any] | None:
    """What the rehearsal of this step told of the object."""
    objects: list[dict[str, Any]] = ctx.planned.get("objects", [])
    return next((entry for entry in objects if (entry["kind"], entry["name"]) == (wanted.kind, wanted.name)), None)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`before` and `after` are the states that were synced; `at` is when."""

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
    """Let External Secrets read a secret from Vault again, and wait until it says that it has."""
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    secrets = ctx.kubernetes.external_secrets
    now = await secrets.sync_status(secret, ns)
    before = str(ctx.planned.get("before") or now.version)
    await secrets.refresh(secret, ns, ctx.key.replace("/", "."))
    if ctx.dry_run:
        return Refreshed(secret, ns, before, before, now.at)
    try:
        async with asyncio.timeout(wait.total_seconds()):
            after = await secrets.wait_until_refreshed(secret, ns, before)
    except TimeoutError as slow:
        what = f"external secret {ns}/{secret}"
        raise Unavailable("timed_out", service="Kubernetes", what=what, seconds=wait.total_seconds()) from slow
    return Refreshed(secret, ns, before, after.version, after.at)
