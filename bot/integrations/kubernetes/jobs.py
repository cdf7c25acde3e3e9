"""Jobs: start one from a CronJob or a manifest, wait for its end, delete it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.errors import NotFound, Unavailable, WrongState
from bot.integrations.effects import effect
from bot.integrations.kubernetes.cluster import ALL, FIELD_MANAGER, Cluster, client, diff, with_warnings
from bot.integrations.kubernetes.status import PATIENCE_SECONDS, Obstacle, pod_obstacles
from bot.integrations.kubernetes.workloads import failed_creates

POLL_SECONDS = 1.0
KEPT_SECONDS = 3600  # a job that has ended stays so long, for its log and for who asks whether it ran
MANUAL = {"cronjob.kubernetes.io/instantiate": "manual"}

Tell = Callable[[Sequence[Obstacle]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's state. `ended` is None while it runs, then True if it succeeded; `why` is the reason of a failure."""

    active: int
    succeeded: int
    failed: int
    ended: bool | None
    why: str = ""
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a CronJob starts jobs by itself: in a time zone (None: that of the control plane), unless it is suspended.

    `running` are the jobs that it has started and that have not ended.
    """

    schedule: str
    zone: str | None
    suspended: bool
    running: list[str]


class Jobs:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self._cluster.api)

    async def of_cron_job(self, cron_job: str, namespace: str, name: str) -> dict[str, Any]:
        """Return the manifest of a job of that name from a CronJob, as `kubectl create job --from` creates it."""
        cron = await self._cluster.ask(
            f"cron job {namespace}/{cron_job}", self._batch.read_namespaced_cron_job, cron_job, namespace
        )
        template = self._cluster.plain(cron.spec.job_template)
        owner = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": cron_job,
            "uid": cron.metadata.uid,
            "controller": True,
        }
        template_metadata = template.get("metadata") or {}
        metadata = {
            "name": name,
            "labels": template_metadata.get("labels") or {},
            "annotations": {**(template_metadata.get("annotations") or {}), **MANUAL},
            "ownerReferences": [owner],
        }
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}

    async def timetable(self, cron_job: str, namespace: str) -> Timetable:
        """Return when the CronJob starts jobs by itself, and those that it has started and that have not ended."""
        cron = await self._cluster.ask(
            f"cron job {namespace}/{cron_job}", self._batch.read_namespaced_cron_job, cron_job, namespace
        )
        running = [str(job.name) for job in (cron.status.active if cron.status else None) or ()]
        return Timetable(str(cron.spec.schedule), cron.spec.time_zone, bool(cron.spec.suspend), running)

    @effect("kubernetes.run_job")
    async def start(
        self,
        job: str,
        namespace: str,
        body: Mapping[str, Any],
        cautions: Sequence[Mapping[str, Any]] = (),
        by_itself: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = False,
    ) -> str:
        """Create the job; does nothing if a job of that name exists.

        `by_itself` is when its CronJob runs one anyway: `schedule`, `zone`, `suspended`.
        """
        if await self._exists(job, namespace):
            return ""
        warnings: list[str] = []
        created = await self._cluster.ask(
            f"job {namespace}/{job}",
            self._batch.create_namespaced_job,
            namespace,
            _kept(job, body),
            dry_run=ALL if dry_run else None,
            field_manager=FIELD_MANAGER,
            warnings=warnings,
        )
        return with_warnings(diff({}, self._cluster.plain(created)), warnings) if dry_run else ""

    async def state(self, job: str, namespace: str) -> JobState:
        resource = await self._cluster.ask(f"job {namespace}/{job}", self._batch.read_namespaced_job, job, namespace)
        status = resource.status
        ended, why, suspended = None, "", False
        for condition in status.conditions or []:
            suspended = suspended or (condition.type == "Suspended" and condition.status == "True")
            if condition.status == "True" and condition.type in ("Complete", "Failed"):
                ended = condition.type == "Complete"
                why = "" if ended else str(condition.message or condition.reason or "")
        active, succeeded, failed = (int(count or 0) for count in (status.active, status.succeeded, status.failed))
        return JobState(active, succeeded, failed, ended, why, suspended)

    async def wait_until_ended(self, job: str, namespace: str, tell: Tell | None = None) -> JobState:
        """Wait until the job has succeeded or failed; the caller sets the deadline.

        `tell` hears what keeps its pods from running. Raises WrongState if that is permanent.
        """
        told: list[Obstacle] = []
        blocked_since: float | None = None
        while True:
            try:
                job_state = await self.state(job, namespace)
                obstacles = await self._obstacles(job, namespace, job_state) if job_state.ended is None else []
            except Unavailable as busy:
                await asyncio.sleep(max(POLL_SECONDS, busy.retry_after or 0.0))
                continue
            if job_state.ended is not None:
                return job_state
            if tell and obstacles != told:
                told = obstacles
                await tell(obstacles)
            why = [str(obstacle) for obstacle in obstacles if obstacle.permanent]
            blocked_since = (blocked_since or time.monotonic()) if why else None
            if blocked_since and time.monotonic() - blocked_since >= PATIENCE_SECONDS:
                raise WrongState("job_blocked", job=job, namespace=namespace, why="; ".join(why[:3]))
            await asyncio.sleep(POLL_SECONDS)

    async def _obstacles(self, job: str, namespace: str, state: JobState) -> list[Obstacle]:
        """Return what keeps the job's pods from running. A container that crashes is the job's own affair."""
        if state.suspended:
            return [Obstacle("Suspended", job)]
        pods = await self._pods(job, namespace)
        if not pods:
            return await failed_creates(self._cluster, job, namespace)
        found = [obstacle for pod in pods for obstacle in pod_obstacles(pod) if pod["status"].get("phase") == "Pending"]
        return [obstacle for obstacle in found if "CrashLoopBackOff" not in obstacle.reason]

    async def pods(self, job: str, namespace: str) -> list[str]:
        """Return the pods that the job has started, the newest last."""
        pods = sorted(await self._pods(job, namespace), key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
        return [str(pod["metadata"]["name"]) for pod in pods]

    async def _pods(self, job: str, namespace: str) -> list[dict[str, Any]]:
        return await self._cluster.list_all(
            f"pods of job {namespace}/{job}",
            client.CoreV1Api(self._cluster.api).list_namespaced_pod,
            namespace,
            label_selector=f"job-name={job}",
        )

    @effect("kubernetes.delete_job", stops=True)
    async def delete(self, job: str, namespace: str, *, dry_run: bool = False) -> str:
        """Delete the job and its pods. Does nothing if it does not exist."""
        try:
            await self._cluster.ask(
                f"job {namespace}/{job}",
                self._batch.delete_namespaced_job,
                job,
                namespace,
                propagation_policy="Background",
                dry_run=ALL if dry_run else None,
            )
        except NotFound:
            return ""
        return f"-  job/{job}"

    async def _exists(self, job: str, namespace: str) -> bool:
        try:
            await self.state(job, namespace)
        except NotFound:
            return False
        return True


def _kept(job: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest under the job's name. It never cleans itself up before its end could be seen."""
    spec = dict(body["spec"])
    if "ttlSecondsAfterFinished" in spec:
        spec["ttlSecondsAfterFinished"] = max(int(spec["ttlSecondsAfterFinished"]), KEPT_SECONDS)
    return {**body, "metadata": {**body.get("metadata", {}), "name": job}, "spec": spec}
