"""Check in the cluster, read-only, that the targets of runbooks exist."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bot.deps import Deps
from bot.domain.errors import NotConfigured, NotFound
from bot.domain.runbook import Runbook, Step
from bot.runbooks import Mistake
from bot.team import PRODUCTION
from bot.yaml_text import compose, line_and_column

if TYPE_CHECKING:  # takes a second to import, which other commands do not need
    from bot.integrations.kubernetes.kubernetes import Kubernetes

_NAMES = ("deployment", "service", "release")
_FIELDS = ("workloads", "workload", "deployment")  # of a service, in the order in which they count


async def missing_targets(deps: Deps, team: Path, runbooks: Mapping[Path, Runbook]) -> list[Mistake]:
    """Return missing workloads of the team's services, and missing targets that runbooks name.

    Raises NotConfigured without a cluster, and Unavailable if it does not answer.
    """
    if deps.kubernetes is None:
        raise NotConfigured("kubernetes_off")
    missing = []
    for name, service in deps.team.services.items():
        for environment, namespace in service.namespaces.items():
            for workload in service.runs_as:
                if not await _deployed(deps.kubernetes, workload, namespace):
                    what = f"no workload `{workload}` in {namespace} ({environment})"
                    field = next(field for field in _FIELDS if getattr(service, field))
                    missing.append(Mistake(team.name, *line_and_column(_root(team), ("services", name, field)), what))
    for path, runbook in runbooks.items():
        for number, step in enumerate(runbook.steps):
            async for field, what in _missing_of_step(deps, deps.kubernetes, step):
                missing.append(
                    Mistake(path.name, *line_and_column(_root(path), ("steps", number, "with", field)), what)
                )
    return missing


async def _missing_of_step(deps: Deps, kubernetes: Kubernetes, step: Step) -> AsyncIterator[tuple[str, str]]:
    if not step.uses.startswith(("kubernetes.", "helm.")):
        return
    literal = {name: value for name, value in step.with_.items() if isinstance(value, str) and "{" not in value}
    subject = next((literal[name] for name in _NAMES if name in literal), deps.team.default_service or "")
    service = deps.team.services.get(subject)
    namespace = literal.get("namespace") or (service.namespaces.get(PRODUCTION) if service else None)
    if namespace is None:
        return
    declared = service.runs_as if service else []
    names = [*declared, literal["deployment"]] if "deployment" in literal and not declared else declared
    if "deployment" in literal and not all([await _deployed(kubernetes, name, namespace) for name in names]):
        yield "deployment", f"no workload `{literal['deployment']}` in {namespace}"
    if "cron_job" in literal:
        try:
            await kubernetes.jobs.of_cron_job(literal["cron_job"], namespace, "check")
        except NotFound:
            yield "cron_job", f"no cron job `{literal['cron_job']}` in {namespace}"


async def _deployed(kubernetes: Kubernetes, name: str, namespace: str) -> bool:
    try:
        await kubernetes.workloads.find(name, namespace)
    except NotFound:
        return False
    return True


def _root(path: Path) -> yaml.Node | None:
    return compose(path.read_text(encoding="utf-8"))
