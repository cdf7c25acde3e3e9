"""`kubernetes.exec_dump`: a database's dump goes from a pod that knows the database straight to its backups in S3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from bot.actions.aws import backups_of
from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, WrongState
from bot.domain.policy import Risk
from bot.integrations.effects import effect

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


@dataclass(frozen=True, slots=True)
class Dumped:
    """Where the dump lies, how long it is in bytes, and its SHA-256; empty in a rehearsal. `step` wrote it."""

    backups: str
    bucket: str
    name: str
    size: int
    sha256: str
    at: datetime
    step: str


@action(
    "kubernetes.exec_dump",
    risk=Risk.CHANGE,
    target="backups/{backups}",
    example="/ops kubernetes.exec_dump database service=tamv-core",
)
async def exec_dump(ctx: Context, backups: str, service: Name | None = None) -> Dumped:
    """Dump the database that a service uses into its backups: streamed from a pod, checked, and read back.

    es: Vuelca la base que usa un servicio en sus copias: en flujo desde un pod, comprobado y leído de vuelta.
    """
    target = backups_of(ctx, backups)
    if target.environment != ctx.environment:
        raise BadInput("no_such_environment", environment=ctx.environment, known=[target.environment])
    ns = ctx.namespace(service or ctx.team.default_service or "")
    pod = await _pod(ctx, service or ctx.team.default_service or "", ns)
    at = datetime.fromisoformat(ctx.planned["at"]) if "at" in ctx.planned else ctx.clock.now()
    name = f"{target.prefix}backup_{at:%Y%m%d_%H%M%S}.dump"

    @effect("kubernetes.exec_dump")
    async def dump(pod: str, namespace: str, bucket: str, name: str) -> Dumped:
        objects, key = ctx.aws.objects, ctx.key
        maker = await objects.made_by(bucket, name)
        if maker not in (None, key):
            raise WrongState("changed_since", name=name)
        if maker == key:  # it was done, and only the record of that was lost
            written = await objects.read(bucket, name)
        else:
            written = await objects.write(bucket, name, ctx.kubernetes.dumps.of_database(pod, namespace), key)
        return Dumped(backups, bucket, name, written.size, written.sha256, at, key)

    return await dump(pod, ns, target.bucket, name) or Dumped(backups, target.bucket, name, 0, "", at, ctx.key)


@undo(exec_dump)
async def delete_dump(ctx: Context, done: Dumped) -> Dumped:
    """Delete the dump, if it is the one that this step wrote."""

    @effect("kubernetes.delete_dump")
    async def delete(bucket: str, name: str) -> None:
        await ctx.aws.objects.delete(bucket, name)

    maker = await ctx.aws.objects.made_by(done.bucket, done.name)
    if maker not in (None, done.step):
        raise WrongState("changed_since", name=done.name)
    if maker is not None:
        await delete(done.bucket, done.name)
    return done


async def _pod(ctx: Context, service: str, namespace: str) -> str:
    """A pod of the service that is ready. Raises WrongState."""
    for pod in await ctx.kubernetes.pods.list(namespace, f"app={service}"):
        ready, _, wanted = pod.ready.partition("/")
        if pod.phase == "Running" and ready == wanted:
            return pod.name
    raise WrongState("no_ready_pod", service=service, namespace=namespace)
