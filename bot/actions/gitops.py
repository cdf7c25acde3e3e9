"""Where a change of what Argo CD or Flux owns would be made in Git, if it can be made there by one edit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.actions.context import Context
from bot.actions.workloads import applied_by
from bot.deps import Deps
from bot.domain.errors import BotError, NotConfigured, WrongState
from bot.domain.manifest import Field, builds_otherwise, edited, edited_values, fields_of
from bot.integrations.kubernetes.applications import Application, Source
from bot.integrations.kubernetes.flux import Applied
from bot.integrations.kubernetes.workloads import KINDS, Owner, split_reference

LOOK_SECONDS = 10.0  # of a rehearsal; who approves does not wait longer for a button
CHART, VALUES = "Chart.yaml", "values.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    """A file of the team's repository as it would have to be; `before` is its text on the branch `base`."""

    base: str
    path: str
    before: str
    after: str


async def find_edit(deps: Deps, source: Source, effect: str, facts: Mapping[str, Any]) -> Edit:
    """Return the one file that makes the same change.

    Raises WrongState `not_in_git` with `why` (a label of `no_places`): it is in another repository (`elsewhere`),
    pinned to a commit or a tag (`pinned`), built from a template (`built`), no value (`no_value`), an earlier version
    (`rollback`), or not written out exactly once (`unwritten`). Raises GitHub's errors.
    """
    fields = fields_of(effect, facts)
    if deps.github is None:
        raise NotConfigured("github_off")
    if fields is None:
        raise _not_in_git("rollback" if effect == "kubernetes.rollout_undo" else "no_value")
    code = deps.github.code
    if not await code.is_at(source.repository):
        raise _not_in_git("elsewhere")
    head = await code.head(None if source.revision == "HEAD" else source.revision)
    if head is None:
        raise _not_in_git("pinned")
    files = await code.manifests(source.path, head[0])
    names = {path.rpartition("/")[2]: text for path, text in files.items()}
    kind, name = split_reference(str(facts["deployment"]))
    if source.release:
        namespace, _, release = source.release.partition("/")
        value = _release_field(deps, effect, facts)
        edits = [
            (path, text, edited(text, "HelmRelease", release, namespace, [value]) if value else None)
            for path, text in files.items()
        ]
    elif CHART in names:
        changed = {VALUES: _values_edited(deps, names.get(VALUES), effect, facts) if not source.chart else None}
        edits = [(path, text, changed[VALUES]) for path, text in files.items() if path.endswith(f"/{VALUES}")]
    elif builds_otherwise(names):
        raise _not_in_git("built")
    else:
        title = (kind or KINDS["deployment"]).title
        edits = [
            (path, text, edited(text, title, name, str(facts["namespace"]), fields)) for path, text in files.items()
        ]
    found = [Edit(head[0], path, text, after) for path, text, after in edits if after is not None]
    if len(found) != 1:
        raise _not_in_git("unwritten")
    return found[0]


async def with_places(
    ctx: Context, owners: list[dict[str, Any]], effect: str, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what is said about owners, with the `place` of the change in Git for an Argo CD or a Flux that takes it
    there, or with `no_place`, the label of the reason why it has none.
    """
    if not ctx.dry_run or ctx.deps.github is None:
        return owners
    said = []
    for owner in owners:
        if owner["kind"] in ("argocd", "flux"):
            mark = Owner(owner["kind"], owner["name"], group=owner.get("group"), namespace=owner.get("namespace"))
            applied = await applied_by(ctx, mark)
            owner = owner | await _place_of(ctx.deps, applied, effect, facts)
        said.append(owner)
    return said


async def _place_of(
    deps: Deps, applied: Application | Applied | None, effect: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `place`, the file and the branch of the change, or `no_place`, for a rehearsal."""
    if applied is None:
        return {"no_place": "unread"}
    source = applied.source
    if source is None:
        return {"no_place": "built"}
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            edit = await find_edit(deps, source, effect, facts)
    except WrongState as problem:
        return {"no_place": problem.facts.get("why", "unwritten")}
    except (BotError, TimeoutError):
        return {"no_place": "silent"}
    if edit.after == edit.before:
        return {}
    place = {"repository": source.repository, "folder": source.path, "revision": source.revision, "file": edit.path}
    return {"place": place | ({"release": source.release} if source.release else {})}


def _not_in_git(why: str) -> WrongState:
    return WrongState("not_in_git", why=why)


def _release_field(deps: Deps, effect: str, facts: Mapping[str, Any]) -> Field | None:
    """Return the value of a HelmRelease for another number of replicas; None for another change."""
    key = _replicas_key(deps, facts)
    if effect != "kubernetes.scale" or key is None:
        return None
    return Field(("spec", "values", *key.split(".")), int(facts["replicas"]))


def _values_edited(deps: Deps, text: str | None, effect: str, facts: Mapping[str, Any]) -> str | None:
    """Return a chart's values with another number of replicas, by the name that the team's file has for them."""
    key = _replicas_key(deps, facts)
    if text is None or effect != "kubernetes.scale" or key is None:
        return None
    return edited_values(text, key, int(facts["replicas"]))


def _replicas_key(deps: Deps, facts: Mapping[str, Any]) -> str | None:
    name = split_reference(str(facts["deployment"]))[1]
    return next(
        (
            service.replicas_value
            for service_name, service in deps.team.services.items()
            if name in [split_reference(workload)[1] for workload in service.runs_as or [service_name]]
        ),
        None,
    )
