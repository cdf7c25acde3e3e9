"""`vault.*`: secrets of the team's file are made anew. No value of one is ever among the facts."""

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
    """`before` and `after` are versions of the secret; `step` is whose work it is."""

    name: str
    path: str
    before: int
    after: int
    step: str


@dataclass(frozen=True, slots=True)
class VersionRestored:
    """Which version's content is the newest again."""

    name: str
    path: str
    version: int


@action(
    "vault.rotate", risk=Risk.DESTRUCTIVE, target="secret/{environment}/{name}", example="/ops vault.rotate jwt-secret"
)
async def rotate(ctx: Context, name: str) -> Rotated:
    """Make a secret anew; the version before is kept, and everything else in it stays."""
    secret, path = _secret(ctx, name)
    secret_version = await ctx.vault.stored(secret.mount, path, secret.key)
    before = int(ctx.planned.get("before", secret_version.version))
    made = Rotated(name, f"{secret.mount}/{path}", before, before + 1, ctx.key)
    if secret_version.version == before + 1 and secret_version.written_by == ctx.key:
        return made  # it was done, and only the record of that was lost
    if secret_version.version != before:
        raise WrongState("changed_since", name=name)
    if secret_version.kept < 2:
        raise WrongState("version_not_kept", path=f"{secret.mount}/{path}")
    await ctx.vault.rotate(secret.mount, path, secret.key, secret.form, before, ctx.key)
    return made


@undo(rotate)
async def restore_previous_version(ctx: Context, done: Rotated) -> Rotated:
    """Put the version before back, unless somebody has changed the secret since."""
    secret, path = _secret(ctx, done.name)
    secret_version = await ctx.vault.stored(secret.mount, path, secret.key)
    if secret_version.version == done.before:
        return done
    if secret_version.version > done.after and await ctx.vault.matches_version(secret.mount, path, done.before):
        return done  # it was put back before
    if secret_version.version != done.after or secret_version.written_by != done.step:
        raise WrongState("changed_since", name=done.name)
    await ctx.vault.restore(secret.mount, path, done.before, done.after)
    return done


@action("vault.restore", risk=Risk.CHANGE, target="secret/{environment}/{name}")
async def restore_version(
    ctx: Context, name: str, version: Annotated[int, Field(ge=1)], over: Annotated[int, Field(ge=1)]
) -> VersionRestored:
    """Let a secret hold again what an earlier version held, if nobody has changed it since the version `over`."""
    secret, path = _secret(ctx, name)
    secret_version = await ctx.vault.stored(secret.mount, path, secret.key)
    done = secret_version.version > over and await ctx.vault.matches_version(secret.mount, path, version)
    if not done and secret_version.version != over:
        raise WrongState("changed_since", name=name)
    if not done:
        await ctx.vault.restore(secret.mount, path, version, over)
    return VersionRestored(name, f"{secret.mount}/{path}", version)


def _secret(ctx: Context, name: str) -> tuple[VaultSecret, str]:
    """A secret of the team's file, and its path in this environment. Raises BadInput."""
    secrets = ctx.team.secrets
    if name not in secrets:
        raise BadInput("unknown_secret", name=name, nearest=nearest(name, secrets), known=sorted(secrets))
    paths = secrets[name].paths
    if ctx.environment not in paths:
        raise BadInput("no_such_environment", environment=ctx.environment, known=sorted(paths))
    return secrets[name], paths[ctx.environment]
