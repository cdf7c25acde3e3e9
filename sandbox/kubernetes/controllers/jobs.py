"""Jobs: pods that run to their end, tried again while the job allows it."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.deletion import delete, terminate
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
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.store import Change, Key
from sandbox.kubernetes.writes import suffix

FIRST_RETRY, LONGEST_RETRY = 10.0, 360.0  # s between a failed pod and the next


class Jobs:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def concerns(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is JOB:
            yield namespace_of(change.object), name_of(change.object)
        elif kind is POD and (owner := owner_named(change.object, "Job")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        job = self._cluster.store.get(JOB, namespace, name)
        if job is None or is_terminating(job):
            return
        if is_true(job, "Complete") or is_true(job, "Failed"):
            self._clean(job)
            return
        pods = self._cluster.made_by(job, POD)
        active = [pod for pod in pods if status_of(pod).get("phase") not in ("Succeeded", "Failed")]
        succeeded = sum(status_of(pod).get("phase") == "Succeeded" for pod in pods)
        failed = [pod for pod in pods if status_of(pod).get("phase") == "Failed"]
        spec = job["spec"]
        if succeeded >= spec["completions"]:
            self._finish(
                job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", succeeded, failed
            )
        elif len(failed) > spec["backoffLimit"]:
            self._stop(active)
            told = "Job has reached the specified backoff limit"
            self._finish(job, "Failed", "BackoffLimitExceeded", told, succeeded, failed)
        elif self._is_over(job):
            self._stop(active)
            told = "Job was active longer than specified deadline"
            self._finish(job, "Failed", "DeadlineExceeded", told, succeeded, failed)
        elif spec["suspend"]:
            self._stop(active)
            self._show(job, [], succeeded, failed, [self._condition("Suspended", "JobSuspended", "Job suspended")])
        else:
            self._run(job, active, succeeded, failed)

    def _run(self, job: Object, active: list[Object], succeeded: int, failed: list[Object]) -> None:
        wait = self._wait(failed)
        missing = min(job["spec"]["parallelism"], job["spec"]["completions"] - succeeded) - len(active)
        if missing > 0 and wait > 0:
            self._cluster.look_again(self, (namespace_of(job), name_of(job)), wait)
        for index in range(missing if wait <= 0 else 0):
            active.append(self._start(job, f"{len(failed)}/{succeeded}/{index}"))
        self._show(job, active, succeeded, failed, [])

    def _wait(self, failed: list[Object]) -> float:
        """Seconds until the next try."""
        if not failed:
            return 0.0
        ended = max(
            moment(pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]) for pod in failed
        )
        pause: float = min(FIRST_RETRY * 2 ** (len(failed) - 1), LONGEST_RETRY)
        return pause - (self._cluster.now() - ended).total_seconds()

    def _start(self, job: Object, number: str) -> Object:
        template = job["spec"]["template"]
        name = f"{name_of(job)}-{suffix(f'{uid_of(job)}/{number}', 5)}"
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": namespace_of(job),
            "ownerReferences": [owned_by(job)],
        }
        self._cluster.event(job, "SuccessfulCreate", f"Created pod: {name}", source="job-controller")
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": template["spec"]})

    def _stop(self, pods: list[Object]) -> None:
        for pod in pods:
            terminate(self._cluster.writer, pod)

    def _is_over(self, job: Object) -> bool:
        deadline = job["spec"].get("activeDeadlineSeconds")
        began = status_of(job).get("startTime")
        if deadline is None or began is None:
            return False
        left: float = deadline - (self._cluster.now() - moment(began)).total_seconds()
        if left > 0:
            self._cluster.look_again(self, (namespace_of(job), name_of(job)), left)
        return left <= 0

    def _clean(self, job: Object) -> None:
        """Delete a finished job after `ttlSecondsAfterFinished`."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        ended = max(moment(one["lastTransitionTime"]) for one in status_of(job)["conditions"])
        left = ttl - (self._cluster.now() - ended).total_seconds()
        if left > 0:
            self._cluster.look_again(self, (namespace_of(job), name_of(job)), left)
        else:
            delete(self._cluster.writer, JOB, job)

    # --- telling

    def _finish(self, job: Object, kind: str, reason: str, message: str, succeeded: int, failed: list[Object]) -> None:
        first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        conditions = [self._condition(first, reason, message), self._condition(kind, reason, message)]
        self._show(job, [], succeeded, failed, conditions)
        name = "Completed" if kind == "Complete" else reason
        self._cluster.event(job, name, message, source="job-controller", warning=kind == "Failed")

    def _condition(self, kind: str, reason: str, message: str) -> Object:
        now = timestamp(self._cluster.now())
        return {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastProbeTime": now,
            "lastTransitionTime": now,
        }

    def _show(
        self, job: Object, active: list[Object], succeeded: int, failed: list[Object], conditions: list[Object]
    ) -> None:
        now = timestamp(self._cluster.now())
        ready = sum(is_true(pod, "Ready") for pod in active)
        counts = {"active": len(active), "succeeded": succeeded, "failed": len(failed)}
        status: Object = {name: number for name, number in counts.items() if number}
        status |= {"ready": ready, "terminating": 0, "startTime": status_of(job).get("startTime", now)}
        if conditions:
            status["conditions"] = conditions
            if conditions[-1]["type"] == "Complete":
                status["completionTime"] = now
        self._cluster.writer.set_status(JOB, job, status)
