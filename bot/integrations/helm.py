"""Helm by its own command line (4.x): what nobody should write again.

SIGTERM leaves a revision `failed`, which the next upgrade mends; SIGKILL leaves `pending-…`, after which Helm refuses
everything until a rollback. So a command that takes too long is asked to end, and killed only when it does not.
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
from typing import Any

import yaml

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.integrations.effects import effect
from bot.yaml_text import LOADER

SERVICE = "Helm"
GRACE_SECONDS = 15.0
GOOD = ("deployed", "superseded")


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as `helm history` tells it."""

    number: int
    status: str
    chart: str
    app_version: str
    description: str
    updated: datetime | None

    @property
    def pending(self) -> bool:
        """A command was cut off in the middle: Helm refuses everything until this is mended."""
        return self.status.startswith("pending-")

    @property
    def rolled_back_to(self) -> int | None:
        """The revision that a rollback went back to: Helm numbers it anew."""
        _, sign, number = self.description.partition("Rollback to ")
        return int(number) if sign and number.isdecimal() else None

    @property
    def was_deployed(self) -> bool:
        """It was deployed once. A failed one is called superseded too, when going back from it has failed as well."""
        return self.status in GOOD and " failed: " not in self.description


class Helm:
    """Releases of one cluster. `binary` is the path of the CLI, found on PATH when not given.

    Raises NotFound, Refused (Helm's own words) and Unavailable.
    """

    def __init__(self, kubeconfig: str | None, binary: str | None = None, timeout: float = 20.0) -> None:
        self._kubeconfig = kubeconfig
        self._binary = binary or shutil.which("helm") or "helm"
        self._timeout = timeout

    async def version(self) -> str:
        return (await self._run("version", "--short", timeout=self._timeout)).strip()

    async def history(self, release: str, namespace: str) -> list[Revision]:
        """Oldest first."""
        output = await self._run("history", release, "-n", namespace, "-o", "json", timeout=self._timeout)
        return [_revision(raw) for raw in _json(output, "history")]

    async def manifest(self, release: str, namespace: str, revision: int | None = None) -> str:
        which = ["--revision", str(revision)] if revision is not None else []
        return await self._run("get", "manifest", release, "-n", namespace, *which, timeout=self._timeout)

    async def values(self, release: str, namespace: str, revision: int | None = None) -> dict[str, Any]:
        """The values that were given, without the chart's own; those of a revision with them."""
        which = ["--revision", str(revision), "--all"] if revision is not None else []
        command = ["get", "values", release, "-n", namespace, *which, "-o", "json"]
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
        """`upgrade --install` with these values over those of the release; waits until it is there, or rolls it back.

        `values` are `--set-string`-free paths such as `image.tag`. In a rehearsal the server renders it, and the diff
        of the manifests is given.

        Helm 4 applies on the server, where a field that somebody else has changed is a conflict: the upgrade fails
        half-way, and so does its way back. The release's own values win; `taken_back` says in words what that undoes.
        """
        given = [part for name, value in values.items() for part in ("--set", f"{name}={_escaped(value)}")]
        command = ["upgrade", "--install", release, chart, "-n", namespace, "--reset-then-reuse-values", *given]
        if dry_run:
            output = await self._run(*command, "--dry-run=server", "-o", "json", timeout=self._timeout)
            new = str(_json(output, "upgrade").get("manifest", ""))
            return _diff(await self._manifest_or_nothing(release, namespace), new)
        waiting = ["--wait", "--timeout", f"{round(wait)}s", "--rollback-on-failure", "--description", description]
        await self._run(*command, "--force-conflicts", *waiting, timeout=wait + self._timeout)
        return ""

    @effect("helm.rollback")
    async def rollback(
        self, release: str, namespace: str, revision: int, wait: float = 300.0, *, dry_run: bool = False
    ) -> str:
        """Go to a revision, and wait until it is there.

        Helm 4 applies on the server: a field that somebody (this bot, by scaling) has changed since is a conflict,
        and the rollback fails half-way. Going back means that revision's own values, so they are taken.
        """
        if dry_run:
            now, then = await asyncio.gather(
                self.manifest(release, namespace), self.manifest(release, namespace, revision)
            )
            return _diff(now, then)
        waiting = ["--force-conflicts", "--wait", "--timeout", f"{round(wait)}s"]
        await self._run("rollback", release, str(revision), "-n", namespace, *waiting, timeout=wait + self._timeout)
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
    """Ask it to end, so that the release is left mendable; kill it only when it does not."""
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
    """The revision in which this one's content came first: a rollback is the same thing again."""
    by_number = {r.number: r for r in history}
    while revision.rolled_back_to in by_number:
        revision = by_number[revision.rolled_back_to]
    return revision.number


def rollback_candidates(history: Sequence[Revision]) -> list[Revision]:
    """What one may go back to from the present revision, the newest first: what was good and is something else.

    What somebody has gone back from was not good, whatever Helm calls it.
    """
    if not history:
        return []
    origins = [origin(revision, history) for revision in history]
    left = {before for before, after in pairwise(origins) if after < before}
    away = {*left, origins[-1]}
    return [
        revision
        for revision, from_ in reversed(list(zip(history, origins, strict=True))[:-1])
        if revision.was_deployed and from_ not in away
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
    """A value for `--set`, in which a comma begins the next one."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return "\n".join(list(lines)[2:])


@dataclass(frozen=True, slots=True)
class Installed:
    """A deployment as Helm wants it: None replicas when the chart leaves them to an autoscaler.

    `env` is that of the first container; None for a variable that comes from elsewhere (a secret, a field).
    """

    replicas: int | None
    env: Mapping[str, str | None]
    node_selector: Mapping[str, str]


def deployment_in(manifest: str, name: str) -> Installed | None:
    """The Deployment `name` of a manifest, if there is one. Unavailable when it is no manifest."""
    try:
        manifest_object = next(
            (document for document in yaml.load_all(manifest, LOADER) if _is_deployment(document, name)), None
        )
        return _installed(manifest_object["spec"]) if manifest_object else None
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
