"""Where a change of what Argo CD owns would be made in Git, if it is one that can be made there by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.actions.context import Context
from bot.deps import Deps
from bot.domain.errors import BotError
from bot.domain.manifest import builds_otherwise, edited, edited_values, fields_of
from bot.integrations.kubernetes.applications import Source
from bot.integrations.kubernetes.workloads import KINDS, split_reference

LOOK_SECONDS = 10.0  # of a rehearsal; who approves does not wait longer for a button
CHART, VALUES = "Chart.yaml", "values.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    """A file of the team's repository as it would have to be; `before` is its text on the branch `base`."""

    base: str
    path: str
    before: str
    after: str


async def find_edit(deps: Deps, source: Source, effect: str, facts: Mapping[str, Any]) -> Edit | None:
    """Return the one file that makes the same change; None if it is in another repository, pinned to a commit, built
    from a template, or not a value that stands there. Raises GitHub's errors.
    """
    fields = fields_of(effect, facts)
    if deps.github is None or fields is None:
        return None
    code = deps.github.code
    head = await code.head(None if source.revision == "HEAD" else source.revision)
    if head is None or not await code.is_at(source.repository):
        return None
    files = await code.manifests(source.path, head[0])
    names = {path.rpartition("/")[2]: text for path, text in files.items()}
    kind, name = split_reference(str(facts["deployment"]))
    if CHART in names:
        changed = {VALUES: _values_edited(deps, names.get(VALUES), effect, facts) if not source.chart else None}
        edits = [(path, text, changed[VALUES]) for path, text in files.items() if path.endswith(f"/{VALUES}")]
    elif builds_otherwise(names):
        return None
    else:
        title = (kind or KINDS["deployment"]).title
        edits = [
            (path, text, edited(text, title, name, str(facts["namespace"]), fields)) for path, text in files.items()
        ]
    found = [Edit(head[0], path, text, after) for path, text, after in edits if after is not None]
    return found[0] if len(found) == 1 else None


async def with_places(
    ctx: Context, owners: list[dict[str, Any]], effect: str, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what is said about owners, with the `place` of the change in Git for an Argo CD that takes it there."""
    if not ctx.dry_run or ctx.deps.github is None:
        return owners
    said = []
    for owner in owners:
        if owner["kind"] == "argocd":
            application = await ctx.kubernetes.applications.find(owner["name"], ctx.team.argocd_namespace)
            place = await place_of(ctx.deps, application.source if application else None, effect, facts)
            owner = owner | ({"place": place} if place else {})
        said.append(owner)
    return said


async def place_of(deps: Deps, source: Source | None, effect: str, facts: Mapping[str, Any]) -> dict[str, str] | None:
    """Return file and branch of the change, for a rehearsal; None also if GitHub does not say in time."""
    if source is None:
        return None
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            edit = await find_edit(deps, source, effect, facts)
    except (BotError, TimeoutError):
        return None
    if edit is None or edit.after == edit.before:
        return None
    return {"repository": source.repository, "folder": source.path, "revision": source.revision, "file": edit.path}


def _values_edited(deps: Deps, text: str | None, effect: str, facts: Mapping[str, Any]) -> str | None:
    """Return a chart's values with another number of replicas, by the name that the team's file has for them."""
    name = split_reference(str(facts["deployment"]))[1]
    key = next(
        (
            service.replicas_value
            for service_name, service in deps.team.services.items()
            if name in [split_reference(workload)[1] for workload in service.runs_as or [service_name]]
        ),
        None,
    )
    if text is None or effect != "kubernetes.scale" or key is None:
        return None
    return edited_values(text, key, int(facts["replicas"]))
