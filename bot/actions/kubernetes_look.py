"""`kubernetes.exec` and `kubernetes.curl`: look into a pod, with what the team's file allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from bot.actions.context import Context
from bot.actions.kubernetes import pods_of, ready_pod
from bot.actions.registry import action
from bot.domain.errors import BadInput, NotFound
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.integrations.kubernetes.pods import Pod, plain_text
from bot.names import Name

PROGRAM_SECONDS = 30.0  # that a program may take
OUTPUT_LIMIT = 16 * 1024  # bytes
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Output:
    """What a program wrote; `cut` if it was more."""

    pod: str
    namespace: str
    command: list[str]
    lines: list[str]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A pod's HTTP answer. `status` is None if it could not be reached, and `why` says so; `cut` if it was longer."""

    pod: str
    namespace: str
    asked: str
    status: int | None
    lines: list[str]
    why: str = ""
    cut: bool = False


@action("kubernetes.exec", risk=Risk.READ, example="/ops exec tamv-core disk")
async def exec(
    ctx: Context, service: str, program: str, pod: Name | None = None, container: Name | None = None,
    namespace: Name | None = None,
) -> Output:  # fmt: skip
    """Run one of the programs that the team's file allows in a pod of a service, and show what it writes.

    Without `pod` in one that is ready. Secrets are removed; a program may take half a minute.
    """
    command = _allowed(ctx.service(service).programs, service, program, "unknown_program")
    ns = ctx.namespace(service, namespace)
    chosen = await _pod(ctx, service, ns, pod)
    if ctx.dry_run:
        return Output(chosen.name, ns, command, [])
    content, cut = await ctx.kubernetes.programs.output(
        chosen.name, ns, command, container or chosen.default_container, limit=OUTPUT_LIMIT, within=PROGRAM_SECONDS
    )
    return Output(chosen.name, ns, command, _shown(ctx, plain_text(content)), cut)


@action("kubernetes.curl", risk=Risk.READ, example="/ops curl tamv-core health")
async def curl(
    ctx: Context, service: str, request: str, pod: Name | None = None, namespace: Name | None = None
) -> Response:
    """Send one of the requests that the team's file allows (GET) to a port of a pod, and show its answer.

    It goes through the cluster's API server, as with `kubectl port-forward`. Without `pod` to one that is ready.
    """
    allowed = _allowed(ctx.service(service).requests, service, request, "unknown_request")
    ns = ctx.namespace(service, namespace)
    chosen = await _pod(ctx, service, ns, pod)
    asked = f"{allowed.scheme}://{chosen.name}:{allowed.port}{allowed.path}"
    if ctx.dry_run:
        return Response(chosen.name, ns, asked, None, [])
    answer = await ctx.kubernetes.pods.get(chosen.name, ns, allowed.port, allowed.path, allowed.scheme)
    if answer.status is None:
        return Response(chosen.name, ns, asked, None, [], ctx.deps.redaction.text(answer.text))
    return Response(chosen.name, ns, asked, answer.status, _shown(ctx, answer.text), cut=answer.cut)


def _allowed(known: Mapping[str, T], service: str, name: str, key: str) -> T:
    if name not in known:
        raise BadInput(key, service=service, name=name, nearest=nearest(name, known), known=sorted(known))
    return known[name]


async def _pod(ctx: Context, service: str, namespace: str, name: str | None) -> Pod:
    """Return the service's pod of that name, or a ready one. Raises NotFound and WrongState."""
    if name is None:
        return await ready_pod(ctx, service, namespace)
    pods = {pod.name: pod for pod in await pods_of(ctx, service, namespace)}
    if name not in pods:
        raise NotFound("no_such_pod", pod=name, service=service, nearest=nearest(name, pods), known=sorted(pods)[:10])
    return pods[name]


def _shown(ctx: Context, text: str) -> list[str]:
    return ctx.deps.redaction.lines(text.splitlines())
