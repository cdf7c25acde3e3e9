"""batch/v1: Jobs, whose pods run to completion, and CronJobs, which create Jobs on a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import (
    AGE,
    NONE,
    Cause,
    Column,
    Kind,
    computed_column,
    container_columns,
    duration_since,
    human_duration,
    path_column,
    selector_column,
)
from sandbox.kubernetes.objects import (
    Key,
    Object,
    controller_named,
    is_terminating,
    is_true,
    key_of,
    name_of,
    name_suffix,
    namespace_of,
    owner_reference,
    parse_time,
    status_of,
    timestamp,
    uid_of,
)
from sandbox.kubernetes.resources.pods import (
    POD,
    default_pod_template,
    immutable_rules,
    is_finished,
    pod_spec_rules,
)
from sandbox.kubernetes.state import Change

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
FIRST_BACKOFF, MAX_BACKOFF = 10.0, 360.0  # s between a failed pod and the next


# --- Jobs


def _default_job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    spec.setdefault("completions", 1)
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    default_pod_template(spec)
    uid = job["metadata"].get("uid")
    if uid and "selector" not in spec:  # the uid tells a job from earlier ones of its name
        spec["selector"] = {"matchLabels": {CONTROLLER_UID: uid}}
        labels = spec["template"]["metadata"].setdefault("labels", {})
        name = job["metadata"]["name"]
        labels |= {CONTROLLER_UID: uid, "controller-uid": uid, JOB_NAME: name, "job-name": name}
        if not job["metadata"].get("labels"):
            job["metadata"]["labels"] = dict(labels)


def _job_rules(job: Object, before: Object | None) -> Iterator[Cause]:
    pod_spec = job["spec"]["template"]["spec"]
    yield from pod_spec_rules(pod_spec, "spec.template.spec")
    yield from _restart_policy_rules(pod_spec, "spec.template.spec")
    yield from immutable_rules(job, before, "spec.selector", "spec.template")


def _restart_policy_rules(pod_spec: Object, path: str) -> Iterator[Cause]:
    if pod_spec.get("restartPolicy") not in ("OnFailure", "Never"):
        yield f"{path}.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'


def _status_cell(job: Object) -> str:
    return next((type for type in ("Complete", "Failed", "Suspended") if is_true(job, type)), "Running")


def _completions_cell(job: Object) -> str:
    return f"{status_of(job).get('succeeded', 0)}/{job['spec'].get('completions', 1)}"


def _duration_cell(job: Object, now: datetime) -> str:
    started, completed = status_of(job).get("startTime"), status_of(job).get("completionTime")
    if not started:
        return ""
    return human_duration(((parse_time(completed) if completed else now) - parse_time(started)).total_seconds())


JOB = Kind(
    "batch",
    "v1",
    "jobs",
    "Job",
    subresources=("status",),
    categories=("all",),
    columns=(
        computed_column("Status", _status_cell),
        computed_column("Completions", _completions_cell),
        Column("Duration", _duration_cell),
        AGE,
        *container_columns("spec.template.spec"),
        selector_column(),
    ),
    default=_default_job,
    validate=_job_rules,
    selectable_fields=("status.successful",),
    orphans_dependents=True,
)


def _is_done(job: Object) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


class Jobs:
    """Runs pods until enough have succeeded, and tries again while the job allows it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is JOB:
            yield key_of(change.object)
        elif kind is POD and (owner := controller_named(change.object, "Job")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        job = self._cluster.store.get(JOB, namespace, name)
        if job is None or is_terminating(job):
            return
        if _is_done(job):
            self._delete_expired(job)
            return
        pods = self._cluster.controlled_by(job, POD)
        active = [pod for pod in pods if not is_finished(pod)]
        failed = [pod for pod in pods if status_of(pod).get("phase") == "Failed"]
        succeeded = len(pods) - len(active) - len(failed)
        spec = job["spec"]
        if succeeded >= spec["completions"]:
            message = "Reached expected number of succeeded pods"
            self._finish(job, "Complete", "CompletionsReached", message, succeeded, len(failed))
        elif len(failed) > spec["backoffLimit"]:
            self._delete_pods(active)
            message = "Job has reached the specified backoff limit"
            self._finish(job, "Failed", "BackoffLimitExceeded", message, succeeded, len(failed))
        elif self._is_overdue(job):
            self._delete_pods(active)
            message = "Job was active longer than specified deadline"
            self._finish(job, "Failed", "DeadlineExceeded", message, succeeded, len(failed))
        elif spec["suspend"]:
            self._delete_pods(active)
            suspended = self._condition("Suspended", "JobSuspended", "Job suspended")
            self._set_status(job, [], succeeded, len(failed), [suspended])
        else:
            self._run(job, active, succeeded, failed)

    def _run(self, job: Object, active: list[Object], succeeded: int, failed: Sequence[Object]) -> None:
        backoff = self._backoff(failed)
        missing = min(job["spec"]["parallelism"], job["spec"]["completions"] - succeeded) - len(active)
        if missing > 0 and backoff > 0:
            self._cluster.enqueue(self, key_of(job), backoff)
        for index in range(missing if backoff <= 0 else 0):
            active.append(self._create_pod(job, f"{len(failed)}/{succeeded}/{index}"))
        self._set_status(job, active, succeeded, len(failed), [])

    def _backoff(self, failed: Sequence[Object]) -> float:
        """Return the seconds until the next try."""
        if not failed:
            return 0.0
        states = [pod["status"]["containerStatuses"][0]["state"] for pod in failed]
        ended = max(parse_time(state["terminated"]["finishedAt"]) for state in states)
        pause: float = min(FIRST_BACKOFF * 2 ** (len(failed) - 1), MAX_BACKOFF)
        return pause - (self._cluster.now() - ended).total_seconds()

    def _create_pod(self, job: Object, number: str) -> Object:
        template = job["spec"]["template"]
        name = f"{name_of(job)}-{name_suffix(f'{uid_of(job)}/{number}', 5)}"
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": namespace_of(job),
            "ownerReferences": [owner_reference(job)],
        }
        self._cluster.record_event(job, "SuccessfulCreate", f"Created pod: {name}", source="job-controller")
        return self._cluster.writer.create(POD, {"metadata": metadata, "spec": template["spec"]})

    def _delete_pods(self, pods: Sequence[Object]) -> None:
        for pod in pods:
            self._cluster.writer.delete(POD, pod)

    def _is_overdue(self, job: Object) -> bool:
        """Return True after `activeDeadlineSeconds`; before that, reconcile the job again then."""
        deadline = job["spec"].get("activeDeadlineSeconds")
        started = status_of(job).get("startTime")
        if deadline is None or started is None:
            return False
        left: float = deadline - (self._cluster.now() - parse_time(started)).total_seconds()
        if left > 0:
            self._cluster.enqueue(self, key_of(job), left)
        return left <= 0

    def _delete_expired(self, job: Object) -> None:
        """Delete a finished job after `ttlSecondsAfterFinished`."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        ended = max(parse_time(condition["lastTransitionTime"]) for condition in status_of(job)["conditions"])
        left = ttl - (self._cluster.now() - ended).total_seconds()
        if left > 0:
            self._cluster.enqueue(self, key_of(job), left)
        else:
            self._cluster.writer.delete(JOB, job)

    def _finish(self, job: Object, type: str, reason: str, message: str, succeeded: int, failed: int) -> None:
        criteria = "SuccessCriteriaMet" if type == "Complete" else "FailureTarget"
        conditions = [self._condition(criteria, reason, message), self._condition(type, reason, message)]
        self._set_status(job, [], succeeded, failed, conditions)
        event = "Completed" if type == "Complete" else reason
        self._cluster.record_event(job, event, message, source="job-controller", warning=type == "Failed")

    def _condition(self, type: str, reason: str, message: str) -> Object:
        now = timestamp(self._cluster.now())
        return {
            "type": type,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastProbeTime": now,
            "lastTransitionTime": now,
        }

    def _set_status(
        self, job: Object, active: Sequence[Object], succeeded: int, failed: int, conditions: Sequence[Object]
    ) -> None:
        now = timestamp(self._cluster.now())
        counts = {"active": len(active), "succeeded": succeeded, "failed": failed}
        status: Object = {
            **{name: count for name, count in counts.items() if count},
            "ready": sum(is_true(pod, "Ready") for pod in active),
            "terminating": 0,
            "startTime": status_of(job).get("startTime", now),
        }
        if conditions:
            status["conditions"] = list(conditions)
            if conditions[-1]["type"] == "Complete":
                status["completionTime"] = now
        self._cluster.writer.set_status(JOB, job, status)


# --- CronJobs


def _default_cron_job(cron_job: Object) -> None:
    spec = cron_job.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    default_pod_template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _cron_job_rules(cron_job: Object, _before: Object | None) -> Iterator[Cause]:
    path = "spec.jobTemplate.spec.template.spec"
    pod_spec = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    yield from _restart_policy_rules(pod_spec, path)
    yield from pod_spec_rules(pod_spec, path)
    schedule, zone = cron_job["spec"].get("schedule", ""), cron_job["spec"].get("timeZone")
    try:
        Schedule(schedule)
    except ValueError as error:
        yield "spec.schedule", f'Invalid value: "{schedule}": {error}'
    if zone is not None and _zone(zone) is None:
        yield "spec.timeZone", f'Invalid value: "{zone}": unknown time zone {zone}'


def _zone(name: str) -> tzinfo | None:
    """Return a time zone by its name; None for one that nobody knows."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None


def _last_schedule_cell(cron_job: Object, now: datetime) -> str:
    last = status_of(cron_job).get("lastScheduleTime")
    return duration_since(last, now) if last else NONE


CRON_JOB = Kind(
    "batch",
    "v1",
    "cronjobs",
    "CronJob",
    ("cj",),
    subresources=("status",),
    categories=("all",),
    columns=(
        path_column("Schedule", "spec.schedule"),
        path_column("Timezone", "spec.timeZone"),
        path_column("Suspend", "spec.suspend", type="boolean"),
        computed_column("Active", lambda cron_job: len(status_of(cron_job).get("active") or ()), type="integer"),
        Column("Last Schedule", _last_schedule_cell),
        AGE,
        *container_columns("spec.jobTemplate.spec.template.spec"),
    ),
    default=_default_cron_job,
    validate=_cron_job_rules,
)

KINDS = (JOB, CRON_JOB)


class CronJobs:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def affected(self, kind: Kind, change: Change) -> Iterable[Key]:
        if kind is CRON_JOB:
            yield key_of(change.object)
        elif kind is JOB and (owner := controller_named(change.object, "CronJob")):
            yield namespace_of(change.object), owner

    def reconcile(self, namespace: str, name: str) -> None:
        cron_job = self._cluster.store.get(CRON_JOB, namespace, name)
        if cron_job is None or is_terminating(cron_job):
            return
        jobs = self._cluster.controlled_by(cron_job, JOB)
        self._prune_history(cron_job, jobs)
        status = dict(status_of(cron_job))
        running = [job for job in jobs if not _is_done(job)]
        if not cron_job["spec"]["suspend"] and (due := self._due(cron_job)):
            is_forbidden = running and cron_job["spec"]["concurrencyPolicy"] == "Forbid"
            if not is_forbidden:
                running.append(self._create_job(cron_job, due))
            status["lastScheduleTime"] = due
        status["active"] = [
            {"apiVersion": "batch/v1", "kind": "Job", "namespace": namespace, "name": name_of(job), "uid": uid_of(job)}
            for job in running
        ]
        if not running:
            status.pop("active")
        if completed := [job["status"]["completionTime"] for job in jobs if is_true(job, "Complete")]:
            status["lastSuccessfulTime"] = max(completed)
        self._cluster.writer.set_status(CRON_JOB, cron_job, status)

    def _due(self, cron_job: Object) -> str | None:
        """Return the latest scheduled time that has come; None, and reconcile again then, if the next is to come."""
        last = status_of(cron_job).get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
        schedule, now = Schedule(cron_job["spec"]["schedule"]), self._cluster.now()
        zone = _zone(cron_job["spec"].get("timeZone") or "UTC") or UTC
        due = schedule.next_after(parse_time(last).astimezone(zone))
        if due > now:
            self._cluster.enqueue(self, key_of(cron_job), (due - now).total_seconds())
            return None
        while (following := schedule.next_after(due)) <= now:
            due = following
        return timestamp(due.astimezone(UTC))

    def _create_job(self, cron_job: Object, due: str) -> Object:
        template = cron_job["spec"]["jobTemplate"]
        name = f"{name_of(cron_job)}-{int(parse_time(due).timestamp()) // 60}"
        existing = self._cluster.store.get(JOB, namespace_of(cron_job), name)
        if existing is not None:
            return existing
        metadata = template.get("metadata") or {}
        metadata = {
            **metadata,
            "name": name,
            "namespace": namespace_of(cron_job),
            "ownerReferences": [owner_reference(cron_job)],
            "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_AT: due},
        }
        self._cluster.record_event(cron_job, "SuccessfulCreate", f"Created job {name}", source="cronjob-controller")
        return self._cluster.writer.create(JOB, {"metadata": metadata, "spec": template["spec"]})

    def _prune_history(self, cron_job: Object, jobs: Sequence[Object]) -> None:
        for type, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            done = [job for job in jobs if is_true(job, type)]
            done.sort(key=lambda job: str(job["metadata"]["creationTimestamp"]))
            for job in done[: max(len(done) - cron_job["spec"][limit], 0)]:
                self._cluster.writer.delete(JOB, job)


# --- cron schedules
# https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax

MACROS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
          "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}  # fmt: skip
BOUNDS: Sequence[tuple[int, int]] = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MAX_DAYS = 366 * 4  # 29 February comes every four years


class Schedule:
    """A cron schedule: minute, hour, day of month, month, day of week. Raises ValueError if it cannot be parsed."""

    def __init__(self, text: str) -> None:
        fields = MACROS.get(text.strip(), text).split()
        if len(fields) != len(BOUNDS):
            raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
        self._minutes, self._hours, self._days, self._months, weekdays = (
            _parse_field(field, *bounds) for field, bounds in zip(fields, BOUNDS, strict=True)
        )
        self._weekdays = {day % 7 for day in weekdays}
        self._any_day, self._any_weekday = fields[2].startswith("*"), fields[4].startswith("*")

    def next_after(self, moment: datetime) -> datetime:
        """Return the first minute after `moment` at which it is due. Raises ValueError if there is none."""
        at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for _ in range(MAX_DAYS):
            if self._includes_day(at):
                for hour in sorted(hour for hour in self._hours if hour >= at.hour):
                    first = at.minute if hour == at.hour else 0
                    if minutes := [minute for minute in self._minutes if minute >= first]:
                        return at.replace(hour=hour, minute=min(minutes))
            at = at.replace(hour=0, minute=0) + timedelta(days=1)
        raise ValueError("the schedule is never due")

    def _includes_day(self, at: datetime) -> bool:
        """Return whether it is due on that day. If both days are restricted, one of them is enough, as in cron."""
        day, weekday = at.day in self._days, (at.weekday() + 1) % 7 in self._weekdays
        matches = day and weekday if self._any_day or self._any_weekday else day or weekday
        return at.month in self._months and matches


def _parse_field(text: str, low: int, high: int) -> set[int]:
    """Parse `*/10`, `1-5`, `mon,wed` into the numbers that they mean."""
    numbers: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = _parse_number(first, low)
            end = _parse_number(last, low) if last else (high if step else begin)
        if not low <= begin <= end <= high:
            raise ValueError(f"{part} is not within {low}-{high}")
        numbers |= set(range(begin, end + 1, int(step or 1)))
    return numbers


def _parse_number(text: str, low: int) -> int:
    names = MONTHS if low == 1 else WEEKDAYS
    return names.index(text.lower()) + low if text.lower() in names else int(text)
