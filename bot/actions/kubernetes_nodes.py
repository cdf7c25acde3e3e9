"""`kubernetes.cordon`, `drain`, `uncordon`: take nodes out of service within disruption budgets, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.integrations.kubernetes.cluster import FIELD_MANAGER
from bot.names import Name

NODE = "node/{node}"


@dataclass(frozen=True, slots=True)
class Cordoned:
    """`before` and `after`: whether the node was schedulable; `pods` are those that were evicted (`namespace/name`)."""

    node: str
    before: bool
    after: bool
    pods: list[str]


@action("kubernetes.cordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.cordon gpu-node-2")
async def cordon(ctx: Context, node: Name) -> Cordoned:
    """Stop scheduling pods on a node; running pods stay."""
    before = await _before(ctx, node)
    await ctx.kubernetes.nodes.cordon(node)
    return Cordoned(node, before, False, [])


@action("kubernetes.uncordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.uncordon gpu-node-2")
async def uncordon(ctx: Context, node: Name) -> Cordoned:
    """Schedule pods on a node again."""
    before, state = await _before(ctx, node), await ctx.kubernetes.nodes.state(node)
    cautions = [{"kind": "tainted", "taints": state.taints}] if state.taints else []
    await ctx.kubernetes.nodes.uncordon(node, cautions)
    return Cordoned(node, before, True, [])


@action("kubernetes.drain", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.drain gpu-node-2")
async def drain(
    ctx: Context,
    node: Name,
    delete_emptydir: bool = False,
    force: bool = False,
    wait: Duration = timedelta(minutes=5),
) -> Cordoned:
    """Cordon a node and evict its pods within disruption budgets; pods of daemon sets stay.

    Pods with data in an emptyDir would lose it: they are evicted only with `delete_emptydir`. A pod without a
    controller never comes back: it is evicted only with `force`.
    """
    before, state = await _before(ctx, node), await ctx.kubernetes.nodes.state(node)
    cautions = [] if state.ready else [{"kind": "not_ready", "node": node}]
    evictable = [pod for pod in await ctx.kubernetes.nodes.pods(node) if pod.skip_reason is None]
    if bare := [pod.qualified_name for pod in evictable if pod.bare and not force]:
        raise WrongState("drain_would_end", node=node, pods=bare)
    if would_lose := [pod.qualified_name for pod in evictable if pod.has_emptydir and not delete_emptydir]:
        raise WrongState("drain_would_lose", node=node, pods=would_lose)
    pods, uids = [pod.qualified_name for pod in evictable], {pod.qualified_name: pod.uid for pod in evictable}

    async def tell(waiting: Mapping[str, str]) -> None:
        why = [f"{pod}: {reason}" for pod, reason in waiting.items() if reason]
        await ctx.tell(name=node, available=len(pods) - len(waiting), wanted=len(pods), why=why[:3])

    await ctx.kubernetes.nodes.cordon(node, cautions)
    await ctx.kubernetes.nodes.drain(node, pods, wait.total_seconds(), uids, tell)
    return Cordoned(node, before, False, pods)


@undo(cordon)
@undo(uncordon)
@undo(drain)
async def restore_node(ctx: Context, done: Cordoned) -> Cordoned:
    """Cordon or uncordon the node as it was, unless somebody else has cordoned it since; evicted pods stay where they
    are.
    """
    nodes = ctx.kubernetes.nodes
    state = await nodes.state(done.node)
    if done.before == done.after or state.schedulable == done.before:
        return Cordoned(done.node, state.schedulable, state.schedulable, [])
    if state.cordoned_by not in (None, FIELD_MANAGER):
        raise WrongState("changed_since", name=done.node)
    await (nodes.uncordon(done.node) if done.before else nodes.cordon(done.node))
    return Cordoned(done.node, state.schedulable, done.before, [])


async def _before(ctx: Context, node: str) -> bool:
    """Return whether the node was schedulable before the first attempt."""
    planned = ctx.planned.get("before")
    return await ctx.kubernetes.nodes.is_schedulable(node) if planned is None else bool(planned)
