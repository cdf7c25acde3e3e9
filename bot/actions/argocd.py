"""`argocd.*`: what Argo CD owns can only be changed by hand while its sync is paused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.actions.workloads import find_to_change
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.names import Name, WorkloadName


@dataclass(frozen=True, slots=True)
class SyncPaused:
    """`before` is the policy of syncing by itself that it had; None if it had none."""

    application: str
    namespace: str
    before: dict[str, Any] | None


@action(
    "argocd.pause_sync",
    risk=Risk.CHANGE,
    target="application/{environment}/{namespace}/{deployment}",
    example="/ops pause_sync xr-engine",
)
async def pause_sync(ctx: Context, deployment: WorkloadName, namespace: Name | None = None) -> SyncPaused:
    """Pause the automatic sync of the Argo CD Application that owns a workload, so that a change by hand stays.

    Undoing it resumes the sync: Argo CD then puts back whatever is not in Git.
    """
    target = await find_to_change(ctx, deployment, namespace)
    owners = await ctx.kubernetes.workloads.owners(target.reference, target.namespace)
    name = next((owner.name for owner in owners if owner.kind == "argocd"), None)
    if name is None:
        raise WrongState("not_in_argocd", deployment=target.reference, namespace=target.namespace)
    applications = ctx.kubernetes.applications
    found = await applications.get(name, ctx.team.argocd_namespace)
    automated = dict(found.automated) if found.automated is not None else None
    before = automated if automated is not None else ctx.planned.get("before")
    if automated is not None:
        await applications.pause_sync(found.name, found.namespace, found.parent)
    return SyncPaused(found.name, found.namespace, before)


@undo(pause_sync)
async def resume_sync(ctx: Context, done: SyncPaused) -> SyncPaused:
    """Resume the sync with the policy that it had, unless somebody has given it another one since."""
    found = await ctx.kubernetes.applications.get(done.application, done.namespace)
    if done.before is not None and found.automated != done.before:
        if found.automated is not None:
            raise WrongState("changed_since", name=done.application)
        await ctx.kubernetes.applications.resume_sync(done.application, done.namespace, done.before)
    return done
