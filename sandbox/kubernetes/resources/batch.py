"""batch/v1: jobs, and what starts them at times."""

from __future__ import annotations

from datetime import datetime

from sandbox.kubernetes.kinds import Column, Kind
from sandbox.kubernetes.objects import Object, annotations_of, is_true, moment, status_of
from sandbox.kubernetes.resources.apps import default_template
from sandbox.kubernetes.resources.cells import AGE, NONE, containers, duration, field, made, selector, since

UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
MANUAL = "cronjob.kubernetes.io/instantiate"


def _default_spec(spec: Object) -> None:
    spec.setdefault("completions", 1)
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    default_template(spec)


def _default_job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    _default_spec(spec)
    uid = job["metadata"].get("uid")
    if uid and "selector" not in spec:  # told apart by the job's uid, which is new with each job
        spec["selector"] = {"matchLabels": {UID: uid}}
        labels = spec["template"]["metadata"].setdefault("labels", {})
        own = {UID: uid, "controller-uid": uid}
        labels |= {**own, JOB_NAME: job["metadata"]["name"], "job-name": job["metadata"]["name"]}
        if not job["metadata"].get("labels"):
            job["metadata"]["labels"] = dict(labels)


def _default_cron_job(cron_job: Object) -> None:
    spec = cron_job.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    inner = template.setdefault("spec", {})
    default_template(inner)


def _state(job: Object) -> str:
    for kind, name in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if is_true(job, kind):
            return name
    return "Running"


def _completions(job: Object) -> str:
    return f"{status_of(job).get('succeeded', 0)}/{job['spec'].get('completions', 1)}"


def _duration(job: Object, now: datetime) -> str:
    began = status_of(job).get("startTime")
    if not began:
        return ""
    ended = status_of(job).get("completionTime")
    return duration(((moment(ended) if ended else now) - moment(began)).total_seconds())


def _last_schedule(cron_job: Object, now: datetime) -> str:
    last = status_of(cron_job).get("lastScheduleTime")
    return since(last, now) if last else NONE


def is_manual(job: Object) -> bool:
    return annotations_of(job).get(MANUAL) == "manual"


JOB = Kind(
    "batch",
    "v1",
    "jobs",
    "Job",
    subresources=("status",),
    categories=("all",),
    columns=(
        made("Status", _state),
        made("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        *containers("spec.template.spec"),
        selector(),
    ),
    default=_default_job,
    fields=("status.successful",),
)
CRON_JOB = Kind(
    "batch",
    "v1",
    "cronjobs",
    "CronJob",
    ("cj",),
    subresources=("status",),
    categories=("all",),
    columns=(
        field("Schedule", "spec.schedule"),
        field("Timezone", "spec.timeZone"),
        field("Suspend", "spec.suspend", type="boolean"),
        made("Active", lambda cron_job: len(status_of(cron_job).get("active") or ()), type="integer"),
        Column("Last Schedule", _last_schedule),
        AGE,
        *containers("spec.jobTemplate.spec.template.spec"),
    ),
    default=_default_cron_job,
)

KINDS = (JOB, CRON_JOB)
