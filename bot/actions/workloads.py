"""Which workload an action means: a service of the team's file, or a workload by its name or `kind/name`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace

from bot.actions.context import Context
from bot.domain.errors import BadInput, NotFound, WrongState
from bot.integrations.kubernetes.applications import Application
from bot.integrations.kubernetes.flux import Applied
from bot.integrations.kubernetes.workloads import Owner, split_reference


@dataclass(frozen=True, slots=True)
class Target:
    """A workload that is there: its reference (`xr-engine`, `statefulset/ledger`) and its namespace."""

    reference: str
    namespace: str


async def find(ctx: Context, name: str, namespace: str | None = None) -> Target:
    """Return the workload that `name` means. Raises BadInput and NotFound with those that could be meant."""
    ns = namespace_of(ctx, name, namespace)
    candidates = _declared(ctx, name) or [name]
    if len(candidates) > 1:
        raise BadInput("several_workloads", service=name, workloads=candidates)
    return Target(await ctx.kubernetes.workloads.find(candidates[0], ns), ns)


async def find_to_change(ctx: Context, name: str, namespace: str | None = None) -> Target:
    """Return the workload that `name` means. Raises BadInput also if the team's file protects it."""
    protected = ctx.team.policy.limits.protected
    for candidate in (name, *_declared(ctx, name)):
        if split_reference(candidate)[1] in protected:
            raise BadInput("protected_name", name=candidate)
    return await find(ctx, name, namespace)


async def workloads_of(ctx: Context, name: str, namespace: str) -> list[str]:
    """Return the workloads of a service that are there, those of its release too, or one workload by its name.

    Raises NotFound if none is.
    """
    workloads = ctx.kubernetes.workloads
    candidates = _declared(ctx, name) or [name]
    looked_for = await asyncio.gather(
        *(workloads.find(candidate, namespace) for candidate in candidates), return_exceptions=True
    )
    found = dict.fromkeys(one for one in looked_for if isinstance(one, str))
    problems = [one for one in looked_for if isinstance(one, BaseException)]
    if unexpected := [one for one in problems if not isinstance(one, NotFound)]:
        raise unexpected[0]
    if name in ctx.team.services and ctx.team.services[name].chart:  # and what else its release has: a canary, a worker
        found |= dict.fromkeys(await workloads.of_release(ctx.release(name), namespace))
    if not found:
        raise problems[0]
    return list(found)


async def selectors(ctx: Context, name: str, namespace: str) -> list[str]:
    """Return the pod selectors of the workloads of a service, or of one workload. Raises NotFound if none is there."""
    found = await workloads_of(ctx, name, namespace)
    workloads = ctx.kubernetes.workloads
    return list(await asyncio.gather(*(workloads.selector(reference, namespace) for reference in found)))


def names(ctx: Context, name: str) -> list[str]:
    """Return the names of a service's workloads, for what mentions them; nothing is asked."""
    return sorted({split_reference(candidate)[1] for candidate in (_declared(ctx, name) or [name])})


async def other_names(ctx: Context, own: Collection[str], namespace: str) -> list[str]:
    """Return the names of the namespace's other workloads."""
    every = {split_reference(reference)[1] for reference in await ctx.kubernetes.workloads.names(namespace)}
    return sorted(every - set(own))


def namespace_of(ctx: Context, name: str, given: str | None = None) -> str:
    """Return the namespace of a service, or of the service that has the workload `name`. Raises BadInput."""
    if name in ctx.team.services:
        return ctx.namespace(name, given)
    bare = split_reference(name)[1]
    for service in ctx.team.services:
        if bare == service or any(bare == split_reference(workload)[1] for workload in _declared(ctx, service)):
            return ctx.namespace(service, given)
    if given is not None:
        return ctx.namespace(next(iter(ctx.team.services)), given)  # checked against the team's file
    return ctx.namespace(name, given)


async def owners(ctx: Context, target: Target) -> list[Owner]:
    """Return what will change the workload again, besides the bot.

    Helm is one only where the bot does not deploy the service itself: then a pipeline does.
    """
    deployed = {service.release or name for name, service in ctx.team.services.items() if service.chart}
    found = await ctx.kubernetes.workloads.owners(target.reference, target.namespace)
    others = [owner for owner in found if owner.kind != "helm" or owner.name not in deployed]
    return [await _with_sync(ctx, owner) for owner in others]


async def _with_sync(ctx: Context, owner: Owner) -> Owner:
    """Return Argo CD or Flux as an owner with whether it puts changes back by itself; another one as it is."""
    found = await applied_by(ctx, owner)
    return replace(owner, heals=found.heals) if found else owner


async def applied_by(ctx: Context, owner: Owner) -> Application | Applied | None:
    """Return what says how an owner applies the workload from Git; None if nothing does, or the bot may not read it."""
    if owner.kind == "argocd":
        return await ctx.kubernetes.applications.find(owner.name, ctx.team.argocd_namespace)
    if owner.group and owner.namespace:
        return await ctx.kubernetes.flux.find(owner.group, owner.name, owner.namespace)
    return None


async def require_running(ctx: Context, target: Target) -> None:
    """Raise WrongState if the workload is paused or replaces no pod by itself: a change of its template would start
    nothing.
    """
    rollout = await ctx.kubernetes.workloads.rollout(target.reference, target.namespace)
    if rollout.paused:
        raise WrongState("workload_paused", deployment=target.reference, namespace=target.namespace)
    if rollout.held:
        raise WrongState(
            "workload_held", deployment=target.reference, namespace=target.namespace, strategy=rollout.held
        )


async def require_creatable(ctx: Context, target: Target) -> None:
    """Raise WrongState if the cluster refuses the workload's pods now: more of them would be refused as well."""
    obstacles = await ctx.kubernetes.workloads.obstacles(target.reference, target.namespace)
    refused = [str(obstacle) for obstacle in obstacles if obstacle.reason == "FailedCreate" and obstacle.permanent]
    if refused:
        raise WrongState(
            "pods_refused", deployment=target.reference, namespace=target.namespace, why="; ".join(refused[:2])
        )


async def require_room(ctx: Context, target: Target, replicas: int, current: int) -> None:
    """Raise WrongState if a quota leaves no room for so many replicas: only as many pods as fit would come."""
    room = await ctx.kubernetes.quotas.room(target.reference, target.namespace)
    if room and room.pods < replicas - current:
        facts = {"quota": room.quota, "resource": room.resource, "room": room.pods, "fits": current + room.pods}
        raise WrongState(
            "quota_too_small", deployment=target.reference, namespace=target.namespace, replicas=replicas, **facts
        )


def _declared(ctx: Context, name: str) -> list[str]:
    """Return the workloads of a service in the team's file; empty for what is no service."""
    service = ctx.team.services.get(name)
    if service is None:
        return []
    return service.runs_as or [name]
