"""`kubernetes.run_job` and `exec_dump`: run a job of a CronJob or manifest to its end; dump a database to its
backups.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from bot.actions.aws import backups_of
from bot.actions.boards import board, query_board
from bot.actions.context import Context
from bot.actions.kubernetes import ready_pod, refuse_secrets, shown_lines
from bot.actions.kubernetes_objects import ManifestPath, manifests
from bot.actions.registry import action, undo
from bot.domain.errors import BadInput, BotError, NotFound, Refused, Unavailable, WrongState
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.snapshot import Verdict
from bot.domain.times import Duration
from bot.integrations.effects import effect
from bot.integrations.kubernetes.jobs import JobState
from bot.integrations.kubernetes.objects import JOB
from bot.integrations.kubernetes.status import Obstacle
from bot.integrations.kubernetes.workloads import main_container
from bot.names import JobName, Name, Tag

LONGEST_NAME = 52  # of a job, without the suffix that its key adds
LONGEST_BATCH = timedelta(hours=2)
LOAD_SECONDS = 30.0  # of the bot's clock, between two looks at the load while a batch waits for it
PROGRESS_LINES = 50  # of the end of a log, in which the progress is looked for
_PROGRESS = re.compile(r"\bprogress (\d{1,15})/(\d{1,15})\b")


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that has ended, and the end of its log; `cut` if the log was longer.

    `source` is the digest of the job's specification.
    """

    job: str
    namespace: str
    seconds: float
    lines: list[str]
    cut: bool = False
    source: str = ""


@action(
    "kubernetes.run_job",
    risk=Risk.CHANGE,
    target="job/{environment}/{namespace}/{cron_job}/{manifest}",
    example="/ops kubernetes.run_job db-maintenance",
)
async def run_job(
    ctx: Context,
    cron_job: JobName | None = None,
    manifest: ManifestPath | None = None,
    variables: dict[str, str] | None = None,
    tag: Tag | None = None,
    service: str | None = None,
    wait: Duration = timedelta(minutes=15),
    log: Annotated[int, Field(ge=1, le=5000)] = 200,
    namespace: str | None = None,
) -> Ran:
    """Run a job once, from a CronJob or from a manifest of the repository; waits for its end and reads its log.

    `variables` and the image `tag` override those of its main container. Cancelling the run deletes the job.
    """
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    refuse_secrets(variables or {})
    name, body = await _body(ctx, cron_job, manifest, ns)
    _override(name, body, variables or {}, tag)
    job = f"{name[:LONGEST_NAME].rstrip('-.')}-{hashlib.sha256(ctx.key.encode()).hexdigest()[:8]}"
    source = _source(body)
    if ctx.planned.get("source", source) != source:
        raise WrongState("changed_since", name=manifest or name)
    cautions, by_itself = await _cautions_and_schedule(ctx, cron_job, body, ns)
    await ctx.kubernetes.jobs.start(job, ns, body, cautions, by_itself)
    if ctx.dry_run:
        return Ran(job, ns, 0.0, [], source=source)
    ended = await _wait_until_ended(ctx, job, ns, wait)
    lines = await _log(ctx, job, ns, log + 1)
    if not ended.ended:
        raise Refused("job_failed", job=job, namespace=ns, why=ended.why, line=next(reversed(lines), ""))
    seconds = (ctx.clock.now() - ctx.began).total_seconds()
    return Ran(job, ns, seconds, lines[-log:], len(lines) > log, source)


@undo(run_job)
async def remove_job(ctx: Context, done: Ran) -> Ran:
    """Delete the job and its pods, even while it runs."""
    await ctx.kubernetes.jobs.delete(done.job, done.namespace)
    return Ran(done.job, done.namespace, 0.0, [])


async def _body(ctx: Context, cron_job: str | None, manifest: str | None, namespace: str) -> tuple[str, dict[str, Any]]:
    """Return the job's name and manifest. Raises BadInput unless exactly one of the two sources is given."""
    if manifest is None and cron_job is not None:
        return cron_job, await ctx.kubernetes.jobs.of_cron_job(cron_job, namespace, cron_job)
    if manifest is None or cron_job is not None:
        raise BadInput("one_of_these", names=["cron_job", "manifest"])
    first, *more = manifests(ctx, manifest, [JOB])
    if more:
        raise BadInput("manifest_wrong", path=manifest, why=more[0].name)
    return first.name, first.body


async def _cautions_and_schedule(
    ctx: Context, cron_job: str | None, body: Mapping[str, Any], namespace: str
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return at plan time what somebody should know before the job is started, and when its CronJob runs one anyway."""
    if not ctx.dry_run:
        return [], None
    found: list[dict[str, Any]] = [{"kind": "suspended"}] if body["spec"].get("suspend") else []
    if cron_job is None:
        return found, None
    at = await ctx.kubernetes.jobs.timetable(cron_job, namespace)
    running = [{"kind": "already_running", "jobs": at.running}] if at.running else []
    return [*running, *found], {"schedule": at.schedule, "zone": at.zone, "suspended": at.suspended}


def _source(body: Mapping[str, Any]) -> str:
    """Return the digest of a job's specification."""
    return hashlib.sha256(json.dumps(body["spec"], sort_keys=True).encode()).hexdigest()[:16]


def _override(name: str, body: Mapping[str, Any], variables: Mapping[str, str], tag: str | None) -> None:
    try:
        body["spec"]["template"]["spec"]["containers"][0]["name"]
        container = main_container(name, dict(body))
        if tag is not None:
            container["image"] = f"{_repository(container['image'])}:{tag}"
        others = [entry for entry in container.get("env") or () if entry["name"] not in variables]
        if variables:
            container["env"] = [*others, *({"name": name, "value": value} for name, value in variables.items())]
    except (KeyError, IndexError, TypeError):
        raise BadInput("manifest_wrong", path="spec", why="spec.template.spec.containers[0]") from None


def _repository(image: str) -> str:
    """Return `registry:5000/tamv-core` for `registry:5000/tamv-core:v1`; removes a digest too."""
    path, _, name = image.partition("@")[0].rpartition("/")
    return "/".join(part for part in (path, name.partition(":")[0]) if part)


async def _wait_until_ended(ctx: Context, job: str, namespace: str, wait: timedelta) -> JobState:
    async def tell(obstacles: Sequence[Obstacle]) -> None:
        await ctx.tell(name=job, available=None, wanted=None, why=[str(obstacle) for obstacle in obstacles[:3]])

    try:
        async with asyncio.timeout(wait.total_seconds()):
            return await ctx.kubernetes.jobs.wait_until_ended(job, namespace, tell)
    except TimeoutError as slow:
        what, seconds = f"job {job}", wait.total_seconds()
        raise Unavailable("timed_out", service="Kubernetes", what=what, seconds=seconds) from slow
    except asyncio.CancelledError:
        # After a restart the bot continues to wait for this job; delete it only if the run was cancelled.
        with suppress(BotError):
            if await ctx.deps.store.runs.cancelled(ctx.key.partition("/")[0]):
                await ctx.kubernetes.jobs.delete(job, namespace)
        raise


async def _log(ctx: Context, job: str, namespace: str, most: int) -> list[str]:
    """Return the job's log; empty if it cannot be read: a job that has succeeded has done so all the same."""
    try:
        return await _read_log(ctx, job, namespace, most)
    except BotError:
        return []


async def _read_log(ctx: Context, job: str, namespace: str, most: int) -> list[str]:
    """Return the log of the job's newest pod, with secrets removed and without timestamps; empty if it has none.

    The main container's lines are last: those of a proxy beside it say nothing about how the job ended.
    """
    pods = sorted(await ctx.kubernetes.pods.list(namespace, f"job-name={job}"), key=lambda pod: -pod.age)[-1:]
    logs = (await ctx.kubernetes.pods.logs(pods, namespace, tail=most)).texts
    main = {f"{pod.name}/{pod.default_container}" for pod in pods}
    texts = [logs[name] for name in sorted(logs, key=lambda name: name in main)]
    lines = [line.partition(" ")[2] for text in texts for line in text.splitlines()]
    return shown_lines(ctx, lines)


@dataclass(frozen=True, slots=True)
class Batched:
    """Jobs that ran one after the other until nothing was left: how many, and rows done of all; None: not said.

    `paused` are the seconds in which they waited for the load; `source` is the digest of their specification.
    """

    manifest: str
    namespace: str
    jobs: int
    done: int | None
    total: int | None
    paused: float
    source: str
    step: str


@action(
    "kubernetes.run_batches",
    risk=Risk.CHANGE,
    target="job/{environment}/{namespace}/-/{manifest}",
    example="/ops kubernetes.run_batches jobs/backfill.yaml tag=v2.6.0",
)
async def run_batches(
    ctx: Context,
    manifest: ManifestPath,
    tag: Tag | None = None,
    service: str | None = None,
    namespace: str | None = None,
    load: str | None = None,
) -> Batched:
    """Run a job of a manifest again and again until its log says `progress 900/900`; pauses while `load`, a query of
    the team's file, is out of bounds.

    A job that says nothing of its progress runs once.
    """
    ns = ctx.namespace(service or ctx.team.default_service or "", namespace)
    if load is not None and load not in ctx.team.queries:
        raise BadInput(
            "unknown_query", query=load, nearest=nearest(load, ctx.team.queries), known=list(ctx.team.queries)
        )
    name, body = await _body(ctx, None, manifest, ns)
    _override(name, body, {}, tag)
    source = _source(body)
    if ctx.planned.get("source", source) != source:
        raise WrongState("changed_since", name=manifest)
    if ctx.dry_run:
        await ctx.kubernetes.jobs.start(_batch_job(ctx.key, 0), ns, body)
        return Batched(manifest, ns, 0, None, None, 0.0, source, ctx.key)
    paused, done, total = 0.0, None, None
    for number in itertools.count():
        paused += await _wait_for_load(ctx, load, done, total)
        job = _batch_job(ctx.key, number)
        await ctx.kubernetes.jobs.start(job, ns, body)
        ended = await _wait_until_ended(ctx, job, ns, LONGEST_BATCH)
        lines = await _read_log(ctx, job, ns, PROGRESS_LINES)
        if not ended.ended:
            raise Refused("job_failed", job=job, namespace=ns, why=ended.why, line=next(reversed(lines), ""))
        said = next(filter(None, map(_PROGRESS.search, reversed(lines))), None)
        if said is None:
            break
        if done is not None and int(said[1]) <= done < int(said[2]):
            raise WrongState("batches_stuck", job=job, done=done, total=total)
        done, total = int(said[1]), int(said[2])
        await ctx.tell(name=manifest, rows=done, of=total)
        if done >= total:
            break
    return Batched(manifest, ns, number + 1, done, total, paused, source, ctx.key)


@undo(run_batches)
async def remove_batches(ctx: Context, done: Batched) -> Batched:
    """Delete the jobs, even one that runs; the rows that are filled in stay."""
    for number in itertools.count():
        job = _batch_job(done.step, number)
        try:
            await ctx.kubernetes.jobs.state(job, done.namespace)
        except NotFound:
            return done
        await ctx.kubernetes.jobs.delete(job, done.namespace)
    return done


def _batch_job(key: str, number: int) -> str:
    return f"batch-{hashlib.sha256(key.encode()).hexdigest()[:8]}-{number}"


async def _wait_for_load(ctx: Context, load: str | None, done: int | None, total: int | None) -> float:
    """Wait until the query is within its threshold; returns for how many seconds. What is not known is out of bounds:
    nobody loads a database that cannot be seen.
    """
    if load is None:
        return 0.0
    began, query = ctx.clock.now(), ctx.team.queries[load]
    while True:
        now = ctx.clock.now()
        result = await query_board(ctx.prometheus, board(ctx.team, load), now)
        if any(metric.verdict in (Verdict.OK, Verdict.NO_THRESHOLD) for metric in result.figures):
            return (now - began).total_seconds()
        value = result.figures[0].value if result.figures else None
        shown = {"title": dict(query.title), "value": value, "unit": query.unit, "limit": query.threshold}
        await ctx.tell(name=load, rows=done, of=total, paused=shown)
        await ctx.clock.sleep(LOAD_SECONDS)


@dataclass(frozen=True, slots=True)
class Dumped:
    """Where the dump is stored, its length in bytes and its SHA-256; empty in a dry run. `step` wrote it."""

    backups: str
    bucket: str
    name: str
    size: int
    sha256: str
    at: datetime
    step: str


@action(
    "kubernetes.exec_dump",
    risk=Risk.CHANGE,
    target="backups/{backups}",
    example="/ops kubernetes.exec_dump database service=tamv-core",
)
async def exec_dump(ctx: Context, backups: str, service: Name | None = None) -> Dumped:
    """Dump the database of a service into its backups: streamed from a pod, checked, and read back."""
    target = backups_of(ctx, backups)
    if target.environment != ctx.environment:
        raise BadInput("no_such_environment", environment=ctx.environment, known=[target.environment])
    ns = ctx.namespace(service or ctx.team.default_service or "")
    chosen = await ready_pod(ctx, service or ctx.team.default_service or "", ns)
    at = datetime.fromisoformat(ctx.planned["at"]) if "at" in ctx.planned else ctx.clock.now()
    name = f"{target.prefix}backup_{at:%Y%m%d_%H%M%S}.dump"

    @effect("kubernetes.exec_dump")
    async def dump(pod: str, namespace: str, bucket: str, name: str) -> Dumped:
        objects, key = ctx.aws.objects, ctx.key
        creator = await objects.made_by(bucket, name)
        if creator not in (None, key):
            raise WrongState("changed_since", name=name)
        if creator == key:  # done by an earlier attempt
            stored = await objects.read(bucket, name)
        else:
            dumped = ctx.kubernetes.dumps.of_database(pod, namespace, chosen.default_container)
            stored = await objects.write(bucket, name, dumped, key)
        return Dumped(backups, bucket, name, stored.size, stored.sha256, at, key)

    return await dump(chosen.name, ns, target.bucket, name) or Dumped(backups, target.bucket, name, 0, "", at, ctx.key)


@undo(exec_dump, risk=Risk.DESTRUCTIVE)
async def delete_dump(ctx: Context, done: Dumped) -> Dumped:
    """Delete the dump, if this step wrote it."""

    @effect("kubernetes.delete_dump")
    async def delete(bucket: str, name: str) -> None:
        await ctx.aws.objects.delete(bucket, name)

    creator = await ctx.aws.objects.made_by(done.bucket, done.name)
    if creator not in (None, done.step):
        raise WrongState("changed_since", name=done.name)
    if creator is not None:
        await delete(done.bucket, done.name)
    return done
