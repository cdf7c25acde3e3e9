"""`vault.*`: rotate and restore secrets of the team file. Facts never contain a secret's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, WrongState
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.team import VaultSecret


@dataclass(frozen=True, slots=True)
class Rotated:
    """`before` and `after` are versions of the secret; `step` is the key of the step that wrote `after`."""

    name: str
    path: str
    before: int
    after: int
    step: str


@dataclass(frozen=True, slots=True)
class VersionRestored:
    """The version whose content is the newest again."""

    name: str
    path: str
    version: int


@action(
    "vault.rotate", risk=Risk.DESTRUCTIVE, target="secret/{environment}/{name}", example="/ops vault.rotate jwt-secret"
)
async def rotate(ctx: Context, name: str) -> Rotated:
    """Rotate a secret; the previous version is kept, and its other entries stay unchanged."""
    secret, path = _secret(ctx, name)
    current = await ctx.vault.state(secret.mount, path, secret.key)
    before = int(ctx.planned.get("before", current.version))
    rotated = Rotated(name, f"{secret.mount}/{path}", before, before + 1, ctx.key)
    if current.version == before + 1 and current.written_by == ctx.key:
        return rotated  # done by an earlier attempt
    if current.version != before:
        raise WrongState("changed_since", name=name)
    if current.kept < 2:
        raise WrongState("version_not_kept", path=f"{secret.mount}/{path}")
    await ctx.vault.rotate(secret.mount, path, secret.key, secret.form, before, ctx.key)
    return rotated


@undo(rotate, risk=Risk.CHANGE)
async def restore_previous_version(ctx: Context, done: Rotated) -> Rotated:
    """Restore the previous version, unless the secret was changed since."""
    secret, path = _secret(ctx, done.name)
    current = await ctx.vault.state(secret.mount, path, secret.key)
    if current.version == done.before:
        return done
    if current.version > done.after and await ctx.vault.matches_version(secret.mount, path, done.before):
        return done  # restored by an earlier attempt
    if current.version != done.after or current.written_by != done.step:
        raise WrongState("changed_since", name=done.name)
    await ctx.vault.restore(secret.mount, path, done.before, done.after)
    return done


@action(
    "vault.restore",
    risk=Risk.CHANGE,
    target="secret/{environment}/{name}",
    example="/ops vault.restore jwt-secret version=1 over=2",
)
async def restore_version(
    ctx: Context, name: str, version: Annotated[int, Field(ge=1)], over: Annotated[int, Field(ge=1)]
) -> VersionRestored:
    """Restore the content of an earlier version of a secret, unless it was changed since the version `over`."""
    secret, path = _secret(ctx, name)
    current = await ctx.vault.state(secret.mount, path, secret.key)
    done = current.version > over and await ctx.vault.matches_version(secret.mount, path, version)
    if not done and current.version != over:
        raise WrongState("changed_since", name=name)
    if not done:
        await ctx.vault.restore(secret.mount, path, version, over)
    return VersionRestored(name, f"{secret.mount}/{path}", version)


def _secret(ctx: Context, name: str) -> tuple[VaultSecret, str]:
    """Return a secret of the team file, and its path in this environment. Raises BadInput."""
    secrets = ctx.team.secrets
    if name not in secrets:
        raise BadInput("unknown_secret", name=name, nearest=nearest(name, secrets), known=sorted(secrets))
    paths = secrets[name].paths
    if ctx.environment not in paths:
        raise BadInput("no_such_environment", environment=ctx.environment, known=sorted(paths))
    return secrets[name], paths[ctx.environment]
