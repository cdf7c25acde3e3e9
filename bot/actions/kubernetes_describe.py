"""`kubernetes.describe`: how one object stands, and what happened to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.policy import Risk

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


@dataclass(frozen=True, slots=True)
class Described:
    """`rows` have `part` (field, container, condition, event), `name`, `state`, `why`; the newest event last."""

    kind: str
    name: str
    namespace: str
    rows: list[dict[str, str]]


@action(
    "kubernetes.describe", risk=Risk.READ, example="/ops kubernetes.describe deployment tamv-core service=tamv-core"
)
async def describe(
    ctx: Context,
    kind: Literal["pod", "deployment", "job", "node"],
    name: Name,
    service: str | None = None,
    namespace: str | None = None,
) -> Described:
    """How a pod, a deployment, a job or a node stands: its containers, its conditions, its events.

    es: Cómo está un pod, un deployment, un job o un nodo: sus contenedores, sus condiciones, sus eventos.
    """
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    rows = [asdict(describe_line) for describe_line in await ctx.kubernetes.descriptions.describe(kind, name, ns)]
    rows = [{part: ctx.parts.redaction.text(text) for part, text in row.items()} for row in rows]
    return Described(kind, name, "" if kind == "node" else ns, rows)
