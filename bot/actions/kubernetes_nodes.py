"""`kubernetes.cordon`, `drain`, `uncordon`: a node is emptied as the disruption budgets allow, and opened again."""

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
    """`before` and `after` say whether new pods may come; `pods` are those that were evicted (`namespace/name`)."""

    node: str
    before: bool
    after: bool
    pods: list[str]


@action("kubernetes.cordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.cordon gpu-node-2")
async def cordon(ctx: Context, node: Node) -> Cordoned:
    """Let no new pod come to a node; those that stand there stay."""
    before = await _before(ctx, node)
    await ctx.kubernetes.nodes.cordon(node)
    return Cordoned(node, before, False, [])


@action("kubernetes.uncordon", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.uncordon gpu-node-2")
async def uncordon(ctx: Context, node: Node) -> Cordoned:
    """Let new pods come to a node again."""
    before = await _before(ctx, node)
    await ctx.kubernetes.nodes.uncordon(node)
    return Cordoned(node, before, True, [])


@action("kubernetes.drain", risk=Risk.DISRUPTIVE, target=NODE, example="/ops kubernetes.drain gpu-node-2")
async def drain(
    ctx: Context, node: Node, delete_emptydir: bool = False, wait: Duration = timedelta(minutes=5)
) -> Cordoned:
    """Close a node and evict its pods, as disruption budgets allow; pods of daemon sets stay.

    A pod with data in an emptyDir loses them: such pods are only evicted with `delete_emptydir`.
    """
    before = await _before(ctx, node)
    standing = [pod for pod in await ctx.kubernetes.nodes.pods(node) if pod.skip_reason is None]
    if losing := [pod.qualified_name for pod in standing if pod.has_emptydir and not delete_emptydir]:
        raise WrongState("drain_would_lose", node=node, pods=losing)
    pods = [pod.qualified_name for pod in standing]
    await ctx.kubernetes.nodes.cordon(node)
    await ctx.kubernetes.nodes.drain(node, pods, wait.total_seconds())
    return Cordoned(node, before, False, pods)


@undo(cordon)
@undo(uncordon)
@undo(drain)
async def restore_node(ctx: Context, done: Cordoned) -> Cordoned:
    """Open the node again, or close it, as it was; pods that have moved stay where they are."""
    now = await ctx.kubernetes.nodes.is_schedulable(done.node)
    change = ctx.kubernetes.nodes.uncordon if done.before else ctx.kubernetes.nodes.cordon
    await change(done.node)
    return Cordoned(done.node, now, done.before, [])


async def _before(ctx: Context, node: str) -> bool:
    """Whether it was open before anything was done, also when this step is tried again."""
    foreseen = ctx.planned.get("before")
    return await ctx.kubernetes.nodes.is_schedulable(node) if foreseen is None else bool(foreseen)
