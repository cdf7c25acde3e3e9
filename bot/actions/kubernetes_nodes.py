"""`kubernetes.cordon`, `drain`, `uncordon`: take nodes out of service within disruption budgets, and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.team import Duration

Node = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
NODE = "node/{node}"


@dataclass(frozen=True, slots=True)
class Cordoned:
    """`before` and `after`: whether the node was schedulable; `pods` are those that were evicted (`namespace/name`)."""

    node: str
    before: bool
    after: bool
    pods: list[str]


@action("kubernetes.cordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.cordon gpu-node-2")
async def cordon(ctx: Context, node: Node) -> Cordoned:
    """Stop scheduling pods on a node; running pods stay."""
    before = await _before(ctx, node)
    await ctx.kubernetes.nodes.cordon(node)
    return Cordoned(node, before, False, [])


@action("kubernetes.uncordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.uncordon gpu-node-2")
async def uncordon(ctx: Context, node: Node) -> Cordoned:
    """Schedule pods on a node again."""
    before = await _before(ctx, node)
    await ctx.kubernetes.nodes.uncordon(node)
    return Cordoned(node, before, True, [])


@action("kubernetes.drain", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.drain gpu-node-2")
async def drain(
    ctx: Context, node: Node, delete_emptydir: bool = False, wait: Duration = timedelta(minutes=5)
) -> Cordoned:
    """Cordon a node and evict its pods within disruption budgets; pods of daemon sets stay.

    Pods with data in an emptyDir would lose it: they are evicted only with `delete_emptydir`.
    """
    before = await _before(ctx, node)
    evictable = [pod for pod in await ctx.kubernetes.nodes.pods(node) if pod.skip_reason is None]
    if would_lose := [pod.qualified_name for pod in evictable if pod.has_emptydir and not delete_emptydir]:
        raise WrongState("drain_would_lose", node=node, pods=would_lose)
    pods = [pod.qualified_name for pod in evictable]
    await ctx.kubernetes.nodes.cordon(node)
    await ctx.kubernetes.nodes.drain(node, pods, wait.total_seconds())
    return Cordoned(node, before, False, pods)


@undo(cordon)
@undo(uncordon)
@undo(drain)
async def restore_node(ctx: Context, done: Cordoned) -> Cordoned:
    """Cordon or uncordon the node as it was; evicted pods stay where they are."""
    current = await ctx.kubernetes.nodes.is_schedulable(done.node)
    change = ctx.kubernetes.nodes.uncordon if done.before else ctx.kubernetes.nodes.cordon
    await change(done.node)
    return Cordoned(done.node, current, done.before, [])


async def _before(ctx: Context, node: str) -> bool:
    """Return whether the node was schedulable before the first attempt."""
    planned = ctx.planned.get("before")
    return await ctx.kubernetes.nodes.is_schedulable(node) if planned is None else bool(planned)
