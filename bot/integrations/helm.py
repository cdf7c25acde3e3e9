"""Helm releases by Helm's command line: 4.x, or 3.14 and newer.

After SIGTERM a revision is `failed`, and the next upgrade repairs it; after SIGKILL it is `pending-…`, and Helm refuses
everything until a rollback. A command past its timeout is therefore terminated first, and killed only if it does not
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.integrations.effects import effect
from bot.integrations.manifests import as_running, immutable_changes, manifest_diff

SERVICE = "Helm"
GRACE_SECONDS = 15.0
DEPLOYED_STATUSES = ("deployed", "superseded")
SECOND_ON, SECOND_TAG, SECOND_LIVE = (f"secondColor.{name}" for name in ("enabled", "tag", "live"))  # of our charts
OLDEST = (3, 14)  # --reset-then-reuse-values, --dry-run=server
WAIT = ("--wait", "--wait-for-jobs")  # a migration that a chart runs as a job belongs to its upgrade
WAIT_SECONDS = 300.0
UNINSTALLED = "uninstalled"  # with its history kept
READS = ("version", "history", "get", "list", "show")
WORDS_LIMIT = 2_000
_PART = re.compile(r"\[(\d+)\]|((?:\\.|[^.\[\\])+)")  # of a value's path
_UNREACHABLE = re.compile(r"(?:[A-Z ]+: )?kubernetes cluster unreachable", re.IGNORECASE)
_NO_ACCESS = re.compile(r"getting credentials: |asked for the client to provide credentials|Unauthorized|x509: ")
_NETWORK = re.compile(r'"https?://[^"]*": (?:dial|EOF|read |net/http|context deadline)')


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
        self._kubeconfig = _absolute(kubeconfig) if kubeconfig else None
        self._binary = shutil.which(binary or "helm") or binary or "helm"
        self._folder = folder
        self._timeout = timeout
        self._version: tuple[int, int] | None = None

    async def version(self) -> str:
        return (await self._run("version", "--short", timeout=self._timeout)).strip()

    async def check(self) -> str:
        """Return the version. Raises Refused for one that is too old."""
        await self._is_helm_3()
        return await self.version()

    async def show_chart(self, chart: str) -> str:
        """Return a chart's own description, from a path, a repository or a registry. Raises Refused without it."""
        local = (self._folder or Path()) / chart / "Chart.yaml"
        if await asyncio.to_thread(local.is_file):
            return await asyncio.to_thread(local.read_text, "utf-8")
        return await self._run("show", "chart", chart, timeout=self._timeout)

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

    @effect("helm.upgrade", hidden=("running",))
    async def upgrade(
        self,
        release: str,
        namespace: str,
        chart: str,
        values: Mapping[str, Any],
        description: str,
        taken_back: Sequence[str] | None = None,
        wait: float = 300.0,
        running: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        dry_run: bool = False,
    ) -> str:
        """Run `upgrade --install` with these values over those of the release; waits for it, and rolls back on failure.

        `values` maps paths such as `image.tag` to JSON: text stays text, also `1.10` and `0123`, whatever is upgraded
        later. In a dry run the server renders the chart; the result is a diff against what runs (`running`, the live
        workloads).

        Helm 4 applies on the server: a field that something else changed is a conflict, on which the upgrade and its
        rollback fail half-way. The release's own values therefore win; `taken_back` describes what that overwrites.
        """
        set_flags = [part for name, value in values.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
        command = ["upgrade", "--install", release, chart, "-n", namespace, "--reset-then-reuse-values", *set_flags]
        is_old = await self._is_helm_3()
        if dry_run:
            output = await self._run(*command, "--dry-run=server", "-o", "json", timeout=self._timeout)
            new = str(_json(output, "upgrade").get("manifest", ""))
            current = await self._manifest_or_nothing(release, namespace)
            _require_mutable(release, current, new, running or {})
            return manifest_diff(as_running(current, running or {}), new)
        flags = ["--atomic"] if is_old else ["--rollback-on-failure", "--force-conflicts"]
        flags += [*WAIT, "--timeout", f"{round(wait)}s", "--description", description]
        await self._run(*command, *flags, timeout=wait + self._timeout)
        return ""

    @effect("helm.rollback", hidden=("running",))
    async def rollback(
        self,
        release: str,
        namespace: str,
        revision: int,
        drift: Sequence[str] | None = None,
        running: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        dry_run: bool = False,
    ) -> str:
        """Roll back to a revision and wait until it is deployed. The dry run is a diff against what runs (`running`).

        Helm 4 applies on the server: a field that something else (this bot, by scaling) changed is a conflict, on which
        the rollback fails half-way. Rolling back means that revision's values, so they win; `drift` describes how what
        runs differs from what Helm installed last.
        """
        if dry_run:
            current, target = await asyncio.gather(
                self.manifest(release, namespace), self.manifest(release, namespace, revision)
            )
            _require_mutable(release, current, target, running or {})
            return manifest_diff(as_running(current, running or {}), target)
        await self._roll_back(release, namespace, revision)
        return ""

    @effect("helm.reinstall")
    async def reinstall(self, release: str, namespace: str, revision: int, *, dry_run: bool = False) -> str:
        """Roll a release that was uninstalled with its history back to a revision: all of it is created anew."""
        if dry_run:
            return manifest_diff("", await self.manifest(release, namespace, revision))
        await self._roll_back(release, namespace, revision)
        return ""

    async def _roll_back(self, release: str, namespace: str, revision: int) -> None:
        flags = [] if await self._is_helm_3() else ["--force-conflicts"]
        flags += [*WAIT, "--timeout", f"{round(WAIT_SECONDS)}s"]
        await self._run(
            "rollback", release, str(revision), "-n", namespace, *flags, timeout=WAIT_SECONDS + self._timeout
        )

    @effect("helm.uninstall")
    async def uninstall(
        self, release: str, namespace: str, wait: float = 300.0, keep_history: bool = False, *, dry_run: bool = False
    ) -> str:
        """Remove a release and all of its objects. Does nothing if it is not installed."""
        if dry_run:
            return manifest_diff(await self._manifest_or_nothing(release, namespace), "")
        flags = ["--keep-history"] if keep_history else []
        flags += ["--ignore-not-found", "--wait", "--timeout", f"{round(wait)}s"]
        await self._run("uninstall", release, "-n", namespace, *flags, timeout=wait + self._timeout)
        return ""

    async def _is_helm_3(self) -> bool:
        """Return True for Helm 3. Raises Refused (`helm_too_old`) for one that lacks what the bot needs."""
        if self._version is None:
            numbers = re.match(r"v?(\d+)\.(\d+)", text := await self.version())
            self._version = (int(numbers[1]), int(numbers[2])) if numbers else OLDEST
            if self._version < OLDEST:
                too_old, self._version = text, None
                raise Refused("helm_too_old", version=too_old, oldest=".".join(map(str, OLDEST)))
        return self._version[0] == 3

    async def _manifest_or_nothing(self, release: str, namespace: str) -> str:
        try:
            return await self.manifest(release, namespace)
        except NotFound:
            return ""

    async def _run(self, *arguments: str, timeout: float) -> str:
        if self._kubeconfig and not _is_there(self._kubeconfig):
            raise Refused("kubeconfig_wrong", path=self._kubeconfig, fault="missing", why=os.strerror(errno.ENOENT))
        env = os.environ | ({"KUBECONFIG": self._kubeconfig} if self._kubeconfig else {})
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                *arguments,
                env=env,
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
            if _only_reads(arguments):
                raise Unavailable("timed_out", service=SERVICE, what=arguments[0], seconds=timeout) from slow
            why = f"it did not end within {timeout:g} s"  # trying again would make one more revision
            raise Refused("helm_refused", what=" ".join(arguments[:2]), why=why) from slow
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

    A revision that was rolled back once is not a candidate, whatever Helm calls it. The one that was uninstalled is the
    first: it ran until then.
    """
    if not history:
        return []
    origins = [origin(revision, history) for revision in history]
    rolled_back = {before for before, after in pairwise(origins) if after < before}
    excluded = {*rolled_back, origins[-1]}
    return [
        *([history[-1]] if history[-1].status == UNINSTALLED else []),
        *(
            revision
            for revision, first in reversed(list(zip(history, origins, strict=True))[:-1])
            if revision.was_deployed and first not in excluded
        ),
    ]


def value_at(values: Any, path: str) -> Any:
    """Return the value at a path as `--set` writes it (`hosts[0].name`, `labels.app\\.kubernetes\\.io/name`); None if
    there is none.
    """
    for index, name in _PART.findall(path):
        if index:
            values = values[int(index)] if isinstance(values, list) and int(index) < len(values) else None
        else:
            values = values.get(re.sub(r"\\(.)", r"\1", name)) if isinstance(values, Mapping) else None
    return values


def deployed_tag(values: Mapping[str, Any]) -> str | None:
    """Return the newest image tag that a release's values set: that of a second colour while there is one."""
    second = value_at(values, SECOND_TAG) if value_at(values, SECOND_ON) else None
    return str(second) if second else image_tag(values)


def image_tag(values: Mapping[str, Any]) -> str | None:
    """Return the image tag that a release's values set, in `image.tag` or at the end of a text `image`."""
    image = values.get("image")
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2] if isinstance(image, str) else None
    return str(tag or value_at(values, "image.tag") or "") or None


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
    """Return the error with Helm's own words, whole.

    It is an outage only if Helm itself could not reach the cluster, or failed to while reading. Whatever the cluster or
    the chart answered is final, also if it mentions a refused connection: an admission webhook that is down, a chart.
    """
    why = _own_words(stderr)
    if "release: not found" in why:
        return NotFound("release_not_found", what=" ".join(arguments[:2]), why=why)
    if "another operation" in why:
        return Refused("release_pending", what=arguments[1], why=why)
    if _NO_ACCESS.search(why):
        return Refused("helm_no_access", what=arguments[0], why=why)
    if _UNREACHABLE.match(why) or (_only_reads(arguments) and _NETWORK.search(why)):
        return Unavailable("unreachable", service=SERVICE, what=arguments[0], why=why)
    return Refused("helm_refused", what=" ".join(arguments[:2]), why=why)


def _require_mutable(release: str, before: str, after: str, running: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise Refused for what the cluster would refuse half-way: a field that never changes in a workload."""
    if fields := immutable_changes(before, after, running):
        raise Refused("immutable_fields", release=release, fields=fields)


def _only_reads(arguments: Sequence[str]) -> bool:
    return arguments[0] in READS or "--dry-run=server" in arguments


def _absolute(kubeconfig: str) -> str:
    """Return the same file or files as kubectl joins them, from wherever Helm is run."""
    return os.pathsep.join(str(Path(part).expanduser().absolute()) for part in kubeconfig.split(os.pathsep) if part)


def _is_there(kubeconfig: str) -> bool:
    """Return whether a file is there: without one, Helm would try the cluster of this machine."""
    return any(Path(path).is_file() for path in kubeconfig.split(os.pathsep))


def _own_words(stderr: str) -> str:
    """Return what Helm said from its first `Error:` on, without its hint about `--debug`."""
    lines = [line.rstrip() for line in stderr.strip().splitlines() if line.strip() and "--debug flag" not in line]
    first = next((number for number, line in enumerate(lines) if line.startswith("Error:")), 0)
    return "\n".join(lines[first:]).removeprefix("Error: ")[:WORDS_LIMIT]
