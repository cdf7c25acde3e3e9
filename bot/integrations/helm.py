"""Helm releases by Helm's command line (4.x).

After SIGTERM a revision is `failed`, and the next upgrade repairs it; after SIGKILL it is `pending-…`, and Helm refuses
everything until a rollback. A command past its timeout is therefore terminated first, and killed only if it does not
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.integrations.effects import effect
from bot.yaml_text import LOADER

SERVICE = "Helm"
GRACE_SECONDS = 15.0
DEPLOYED_STATUSES = ("deployed", "superseded")


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as in `helm history`."""

    number: int
    status: str
    chart: str
    app_version: str
    description: str
    updated: datetime | None

    @property
    def pending(self) -> bool:
        """True if a command was interrupted: Helm refuses everything until the release is repaired."""
        return self.status.startswith("pending-")

    @property
    def rolled_back_to(self) -> int | None:
        """The revision that a rollback restored; Helm gives it a new number."""
        _, sign, number = self.description.partition("Rollback to ")
        return int(number) if sign and number.isdecimal() else None

    @property
    def was_deployed(self) -> bool:
        """True if it was deployed successfully.

        Helm also calls a failed revision superseded once its rollback failed.
        """
        return self.status in DEPLOYED_STATUSES and " failed: " not in self.description


class Helm:
    """Releases of one cluster. `binary` is the path of the CLI; by default the one on PATH.

    Paths of charts are relative to `folder`.

    Methods raise NotFound, Refused (with Helm's own message) and Unavailable.
    """

    def __init__(
        self, kubeconfig: str | None, binary: str | None = None, timeout: float = 20.0, folder: Path | None = None
    ) -> None:
        self._kubeconfig = str(Path(kubeconfig).absolute()) if kubeconfig else None
        self._binary = shutil.which(binary or "helm") or binary or "helm"
        self._folder = folder
        self._timeout = timeout

    async def version(self) -> str:
        return (await self._run("version", "--short", timeout=self._timeout)).strip()

    async def history(self, release: str, namespace: str) -> list[Revision]:
        """Return the revisions, oldest first."""
        output = await self._run("history", release, "-n", namespace, "-o", "json", timeout=self._timeout)
        return [_revision(raw) for raw in _json(output, "history")]

    async def manifest(self, release: str, namespace: str, revision: int | None = None) -> str:
        flags = ["--revision", str(revision)] if revision is not None else []
        return await self._run("get", "manifest", release, "-n", namespace, *flags, timeout=self._timeout)

    async def values(self, release: str, namespace: str, revision: int | None = None) -> dict[str, Any]:
        """Return the values set for the release; for a revision, merged with the chart's defaults."""
        flags = ["--revision", str(revision), "--all"] if revision is not None else []
        command = ["get", "values", release, "-n", namespace, *flags, "-o", "json"]
        return dict(_json(await self._run(*command, timeout=self._timeout), "values") or {})

    @effect("helm.upgrade")
    async def upgrade(
        self,
        release: str,
        namespace: str,
        chart: str,
        values: Mapping[str, str],
        description: str,
        taken_back: Sequence[str] | None = None,
        wait: float = 300.0,
        *,
        dry_run: bool = False,
    ) -> str:
        """Run `upgrade --install` with these values over those of the release; waits for it, and rolls back on failure.

        `values` maps paths such as `image.tag` to text. In a dry run the server renders the chart, and the diff of the
        manifests is returned.

        Helm 4 applies on the server: a field that something else changed is a conflict, on which the upgrade and its
        rollback fail half-way. The release's own values therefore win; `taken_back` describes what that overwrites.
        """
        set_flags = [part for name, value in values.items() for part in ("--set", f"{name}={_escaped(value)}")]
        command = ["upgrade", "--install", release, chart, "-n", namespace, "--reset-then-reuse-values", *set_flags]
        if dry_run:
            output = await self._run(*command, "--dry-run=server", "-o", "json", timeout=self._timeout)
            new = str(_json(output, "upgrade").get("manifest", ""))
            return _diff(await self._manifest_or_nothing(release, namespace), new)
        wait_flags = ["--wait", "--timeout", f"{round(wait)}s", "--rollback-on-failure", "--description", description]
        await self._run(*command, "--force-conflicts", *wait_flags, timeout=wait + self._timeout)
        return ""

    @effect("helm.rollback")
    async def rollback(
        self, release: str, namespace: str, revision: int, wait: float = 300.0, *, dry_run: bool = False
    ) -> str:
        """Roll back to a revision and wait until it is deployed.

        Helm 4 applies on the server: a field that something else (this bot, by scaling) changed is a conflict, on which
        the rollback fails half-way. Rolling back means that revision's values, so they win.
        """
        if dry_run:
            current, target = await asyncio.gather(
                self.manifest(release, namespace), self.manifest(release, namespace, revision)
            )
            return _diff(current, target)
        wait_flags = ["--force-conflicts", "--wait", "--timeout", f"{round(wait)}s"]
        await self._run("rollback", release, str(revision), "-n", namespace, *wait_flags, timeout=wait + self._timeout)
        return ""

    async def _manifest_or_nothing(self, release: str, namespace: str) -> str:
        try:
            return await self.manifest(release, namespace)
        except NotFound:
            return ""

    async def _run(self, *arguments: str, timeout: float) -> str:
        kubeconfig = ["--kubeconfig", self._kubeconfig] if self._kubeconfig else []
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                *arguments,
                *kubeconfig,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as problem:
            raise Refused("helm_missing", path=self._binary, why=problem.strerror or "") from problem
        try:
            async with asyncio.timeout(timeout):
                out, stderr = await process.communicate()
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=SERVICE, what=arguments[0], seconds=timeout) from slow
        finally:
            await _end(process)
        if process.returncode != 0:
            raise _to_bot_error(arguments, stderr.decode(errors="replace"))
        return out.decode()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Terminate the process, so that the release stays repairable; kill it only if it does not end."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def origin(revision: Revision, history: Sequence[Revision]) -> int:
    """Return the revision that first had this content: a rollback repeats an earlier one under a new number."""
    by_number = {r.number: r for r in history}
    while revision.rolled_back_to in by_number:
        revision = by_number[revision.rolled_back_to]
    return revision.number


def rollback_candidates(history: Sequence[Revision]) -> list[Revision]:
    """Return the revisions to which the current one can be rolled back, the newest first: deployed, and different from
    it.

    A revision that was rolled back once is not a candidate, whatever Helm calls it.
    """
    if not history:
        return []
    origins = [origin(revision, history) for revision in history]
    rolled_back = {before for before, after in pairwise(origins) if after < before}
    excluded = {*rolled_back, origins[-1]}
    return [
        revision
        for revision, first in reversed(list(zip(history, origins, strict=True))[:-1])
        if revision.was_deployed and first not in excluded
    ]


def _revision(raw: dict[str, Any]) -> Revision:
    updated = raw.get("updated")
    return Revision(
        int(raw["revision"]),
        str(raw["status"]),
        str(raw.get("chart", "")),
        str(raw.get("app_version", "")),
        str(raw.get("description", "")),
        datetime.fromisoformat(updated) if updated else None,
    )


def _json(output: str, what: str) -> Any:
    try:
        return json.loads(output)
    except ValueError as problem:
        raise Unavailable("nonsense", service=SERVICE, what=what) from problem


def _to_bot_error(arguments: Sequence[str], stderr: str) -> NotFound | Refused | Unavailable:
    why = next((line for line in reversed(stderr.strip().splitlines()) if line.startswith("Error")), stderr.strip())[
        :300
    ]
    if "release: not found" in why or "not found" in why:
        return NotFound("release_not_found", what=" ".join(arguments[:2]), why=why)
    if "another operation" in why:
        return Refused("release_pending", what=arguments[1], why=why)
    if any(sign in why for sign in ("connection refused", "i/o timeout", "no such host", "EOF")):
        return Unavailable("unreachable", service=SERVICE, what=arguments[0], why=why)
    return Refused("refused", service=SERVICE, what=arguments[0], status="helm", why=why)


def _escaped(value: str) -> str:
    """Escape a value for `--set`, where a comma separates values."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return "\n".join(list(lines)[2:])


@dataclass(frozen=True, slots=True)
class Installed:
    """A Deployment as in Helm's manifest. `replicas` is None if the chart leaves it to an autoscaler.

    `env` is that of the first container; None for a variable whose value comes from elsewhere (a secret, a field).
    """

    replicas: int | None
    env: Mapping[str, str | None]
    node_selector: Mapping[str, str]


def deployment_in(manifest: str, name: str) -> Installed | None:
    """Return the Deployment `name` of a manifest, or None. Raises Unavailable if it is not a valid manifest."""
    try:
        deployment = next(
            (document for document in yaml.load_all(manifest, LOADER) if _is_deployment(document, name)), None
        )
        return _installed(deployment["spec"]) if deployment else None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, IndexError) as problem:
        raise Unavailable("nonsense", service="Helm", what="manifest") from problem


def _is_deployment(document: Any, name: str) -> bool:
    return isinstance(document, dict) and document.get("kind") == "Deployment" and document["metadata"]["name"] == name


def _installed(spec: dict[str, Any]) -> Installed:
    pod = spec["template"]["spec"]
    replicas = spec.get("replicas")
    return Installed(
        int(replicas) if replicas is not None else None,
        {variable["name"]: variable.get("value") for variable in pod["containers"][0].get("env") or ()},
        {key: str(value) for key, value in (pod.get("nodeSelector") or {}).items()},
    )
