"""CronJobs: a job at each time of the schedule."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.deletion import delete
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    is_terminating,
    is_true,
    moment,
    name_of,
    namespace_of,
    owned_by,
    owner_named,
    status_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.resources.batch import CRON_JOB, JOB
from sandbox.kubernetes.schedule import Schedule
from sandbox.kubernetes.store import Change, Key


class CronJobs:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is CRON_JOB:
            yield namespace_of(change.object), name_of(change.object)
        elif kind is JOB and (owner := owner_named(change.object, "CronJob")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        cron_job = self._cluster.store.get(CRON_JOB, namespace, name)
        if cron_job is None or is_terminating(cron_job):
            return
        jobs = self._cluster.made_by(cron_job, JOB)
        self._forget_old(cron_job, jobs)
        status = dict(status_of(cron_job))
        running = [job for job in jobs if not (is_true(job, "Complete") or is_true(job, "Failed"))]
        if not cron_job["spec"]["suspend"] and (due := self._due(cron_job)):
            forbidden = running and cron_job["spec"]["concurrencyPolicy"] == "Forbid"
            if not forbidden:
                running.append(self._start(cron_job, due))
            status["lastScheduleTime"] = due
        status["active"] = [
            {"apiVersion": "batch/v1", "kind": "Job", "namespace": namespace, "name": name_of(job), "uid": uid_of(job)}
            for job in running
        ]
        if not running:
            status.pop("active")
        if done := [job["status"]["completionTime"] for job in jobs if is_true(job, "Complete")]:
            status["lastSuccessfulTime"] = max(done)
        self._cluster.writer.set_status(CRON_JOB, cron_job, status)

    def _due(self, cron_job: Object) -> str | None:
        """The time of the schedule that has come, if one has; when it has not, this asks to be called then."""
        last = status_of(cron_job).get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
        schedule, now = Schedule(cron_job["spec"]["schedule"]), self._cluster.now()
        due = schedule.after(moment(last))
        if due > now:
            self._cluster.look_again(self, (namespace_of(cron_job), name_of(cron_job)), (due - now).total_seconds())
            return None
        while (following := schedule.after(due)) <= now:
            due = following
        return timestamp(due)

    def _start(self, cron_job: Object, due: str) -> Object:
        template = cron_job["spec"]["jobTemplate"]
        number = int(moment(due).timestamp()) // 60
        metadata = {
            **(template.get("metadata") or {}),
            "name": f"{name_of(cron_job)}-{number}",
            "namespace": namespace_of(cron_job),
            "ownerReferences": [owned_by(cron_job)],
        }
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            "batch.kubernetes.io/cronjob-scheduled-timestamp": due,
        }
        existing = self._cluster.store.get(JOB, namespace_of(cron_job), str(metadata["name"]))
        if existing is not None:
            return existing
        told = f"Created job {metadata['name']}"
        self._cluster.event(cron_job, "SuccessfulCreate", told, source="cronjob-controller")
        return self._cluster.writer.create(JOB, {"metadata": metadata, "spec": template["spec"]})

    def _forget_old(self, cron_job: Object, jobs: list[Object]) -> None:
        for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            done = sorted(
                (job for job in jobs if is_true(job, kind)), key=lambda job: str(job["metadata"]["creationTimestamp"])
            )
            for job in done[: max(len(done) - cron_job["spec"][limit], 0)]:
                delete(self._cluster.writer, JOB, job)
