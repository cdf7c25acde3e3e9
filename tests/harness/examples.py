"""The examples of docs/actions.md: what each needs, how it is played in Slack, and what the world shows afterwards.

The cluster is asked by its API, whichever it is; the other services are the sandbox's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import yaml
from kubernetes.aio import client, config

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.domain.policy import Risk
from bot.domain.run import Run, RunState, StepRun, WaitsFor
from bot.messages import results
from bot.messages.run import lines
from sandbox.alertmanager.state import Matcher
from sandbox.slack.state import Channel
from sandbox.world.scenario import GitOps
from tests.harness.play import LONG, Play, story
from tests.harness.scene import TEAM

XR, NAMESPACE, BRANCH = "xr-engine", "tamv-prod", "hotfix/lento"
Object = dict[str, Any]

# The order of a story: what one example leaves behind the next one needs.
ORDER = [
    "litmus.run",  # while the figures hold and no incident is open
    *("alertmanager.silence", "alertmanager.unsilence"),
    *(
        f"aws.{name}"
        for name in ("rds_status", "rds_snapshot", "rds_restore", "rds_failover", "rds_protect", "s3_prune")
    ),
    *(f"aws.{name}" for name in ("rds_restore_temporary", "rds_delete_temporary", "rds_proof", "backups")),
    *(f"flow.{name}" for name in ("wait", "check", "approve", "ask", "next_window", "window")),
    *(f"github.{name}" for name in ("create_issue", "create_branch", "open_pull_request", "request_review")),
    *(f"github.{name}" for name in ("wait_for_approval", "merge", "wait_for_build", "dispatch_workflow")),
    *("github.workflow_status", "pipeline.gate", "pipeline.compare", "http.check"),
    *("migration.gate", "migration.review"),
    *(f"kubernetes.{name}" for name in ("apply", "delete", "describe", "events", "logs", "exec", "curl", "pods")),
    *(f"kubernetes.{name}" for name in ("top_pods", "top_nodes", "rollout_status", "restart", "rollout_undo")),
    *(f"kubernetes.{name}" for name in ("cordon", "uncordon", "drain", "scale", "set_env", "set_node_selector")),
    *(f"kubernetes.{name}" for name in ("run_job", "run_batches", "exec_dump", "refresh_external_secret")),
    *(f"helm.{name}" for name in ("history", "status", "canary")),
    *(f"prometheus.{name}" for name in ("query", "snapshot", "forecasts", "wait_until", "watch")),
    *(f"helm.{name}" for name in ("promote", "rollback")),
    *(f"bluegreen.{name}" for name in ("start", "check", "switch", "finish")),
    "helm.upgrade",
    *(f"pagerduty.{name}" for name in ("oncall", "page", "note", "acknowledge", "resolve")),
    *("argocd.pause_sync", "slack.announce", "tempo.search", "vault.rotate", "vault.restore", "kubernetes.shut_down"),
]
IN_TERMINAL = [
    name
    for name in ORDER
    if ACTIONS.get(name).risk is not Risk.READ
    or ACTIONS.get(name).waits_for
    or name == "prometheus.watch"  # without it helm.promote refuses
]
OF_AN_INCIDENT = [name for name in IN_TERMINAL if name.startswith("pagerduty.")]


async def prepared(stage: Play, action: Action) -> str:
    """The action's example, once what it needs is there."""
    example = action.signature.example
    assert example.startswith("/ops ")
    return await PREPARED[action.name](stage, example) if action.name in PREPARED else example


async def played(stage: Play, line: str, *, in_incident: bool) -> Run:
    """The run of a line as it ended: approved and answered by others, while GitHub's people and pipelines work."""
    known = {run.id for run in await stage.bot.deps.store.runs.recent()}
    channel = (await incident_channel(stage)).name if in_incident else TEAM
    await stage.person("ana").run(line, channel)

    async def begun() -> Run | None:
        return next((run for run in await stage.bot.deps.store.runs.recent() if run.id not in known), None)

    run: Run = await stage.until(begun, LONG)
    uses = run.step("it").uses
    async with stage.approving(run, "bruno", "carla"), working(stage):
        if ACTIONS.get(uses).waits_for is WaitsFor.ANSWER:
            card = await stage.button(run, "answer")
            with stage.slowly():
                await stage.person("ana").press(card, "answer")
                await stage.see(lambda: stage.person("ana").view)
                await stage.person("ana").submit({"answer": XR})
        return await stage.ended(run)


async def came_about(stage: Play, line: str, run: Run) -> None:
    """The run succeeded, says in each language what it did, and the world shows it."""
    step = run.step("it")
    assert run.state is RunState.SUCCEEDED, (line, story(run), dict(step.facts))
    for words in stage.bot.deps.words_by_locale.values():
        (told,) = lines(run, words)
        assert " — " in told, f"nothing is said about {line}: {told}"
        assert ACTIONS.get(step.uses).risk is not Risk.READ or results.sentence(step, words), f"{line} has no answer"
    if step.uses in SHOWN:
        try:
            await stage.until(lambda: SHOWN[step.uses](stage, step))
        except TimeoutError:
            raise AssertionError(f"the world does not show {line}: {step.result}") from None


async def incident_channel(stage: Play) -> Channel:
    """The channel of the incident that is open, or of a new one."""
    opened = [one for one in stage.slack.channels.values() if one.name.startswith("inc-") and one.pins]
    if opened:
        return opened[0]
    with stage.slowly():  # or hours of reminders and snapshots are due before it is furnished
        return await stage.incident()


@contextlib.asynccontextmanager
async def working(stage: Play) -> AsyncIterator[None]:
    """Pipelines at GitHub that succeed."""

    async def complete() -> None:
        while True:
            for one in list(stage.sandbox.github.runs.values()):
                if one.status != "completed":
                    stage.sandbox.github.actions.complete(one)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(complete())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# What the examples need that nobody can know beforehand.


async def _own_silence(stage: Play, example: str) -> str:
    now = stage.sandbox.clock.now()
    made = stage.sandbox.alertmanager.silences.put(
        [Matcher("alertname", "HighLatency")], now, now + timedelta(days=300), "ana", "to be ended", now
    )
    return f"/ops alertmanager.unsilence {made.id}"


async def _taken_snapshot(stage: Play, example: str) -> str:
    aws = stage.bot.deps.aws
    assert aws
    await aws.make_snapshot("tamv-prod-postgres", "tamv-snapshot-20251231", "before")

    async def is_available() -> bool:
        snapshot = await aws.snapshot("tamv-snapshot-20251231")
        return snapshot is not None and snapshot.status == "available"

    await stage.until(is_available)
    return example


async def _window_now(stage: Play, example: str) -> str:
    now = stage.sandbox.clock.now()
    begins, ends = now + timedelta(minutes=5), now + timedelta(hours=3)
    return f"/ops flow.window {begins:%Y-%m-%dT%H:%M:%SZ} {ends:%Y-%m-%dT%H:%M:%SZ}"


async def _commit(stage: Play, example: str) -> str:
    code = stage.sandbox.github.code
    code.put_file("services/x.ts", "quality: low\n", "Lower it", "ana-torres", branch=BRANCH, replaces=None)
    return example


async def _pull(stage: Play, example: str) -> str:
    number, pull = next(iter(stage.sandbox.github.pulls.items()))
    if not pull.merged_at:
        stage.sandbox.github.code.check(BRANCH, "tests", "success")
        await stage.sandbox.github.person("carla").approve(pull)
    return example.replace("42", str(number))


async def _owned_by_argo_cd(stage: Play, example: str) -> str:
    stage.world.act([GitOps(do="gitops", service=XR)])
    return example


Prepare = Callable[[Play, str], Awaitable[str]]
PREPARED: dict[str, Prepare] = {
    "argocd.pause_sync": _owned_by_argo_cd,
    "alertmanager.unsilence": _own_silence,
    "aws.rds_restore": _taken_snapshot,
    "flow.window": _window_now,
    "github.open_pull_request": _commit,
    "github.request_review": _pull,
    "github.wait_for_approval": _pull,
    "github.merge": _pull,
    "github.wait_for_build": _pull,
}


# What the world shows once an example has done what it says.


async def read(stage: Play, path: str) -> Object:
    """What the cluster's API says at a path; empty for what is not there."""
    configuration = client.Configuration()
    content = await asyncio.to_thread((stage.database.parent / "kubeconfig").read_text)
    await config.load_kube_config_from_dict(yaml.safe_load(content), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with client.ApiClient(configuration) as api:
        asked: Any = api
        request = await asked.param_serialize(
            "GET", path, header_params={"Accept": "application/json"}, auth_settings=["BearerToken"]
        )
        answer = await asked.call_api(*request)
        body: Object = json.loads(await answer.read())
        assert answer.status in (200, 404), (path, body)
        return body if answer.status == 200 else {}


async def deployment(stage: Play, name: str = XR) -> Object:
    return await read(stage, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}")


async def service_selector(stage: Play, name: str = XR) -> Object:
    found = await read(stage, f"/api/v1/namespaces/{NAMESPACE}/services/{name}")
    return dict(found["spec"]["selector"])


async def pods(stage: Play, selector: str) -> list[Object]:
    """The pods that are not being deleted."""
    found = (await read(stage, f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}"))["items"]
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def image_tag(workload: Object) -> str:
    """The tag of a workload's only container; empty for what is not there."""
    if not workload:
        return ""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return str(container["image"]).rpartition(":")[2]


def is_up(workload: Object) -> bool:
    """Whether all of its pods are there, new and available."""
    wanted, status = workload["spec"]["replicas"], workload.get("status") or {}
    names = ("replicas", "updatedReplicas", "availableReplicas")
    seen = status.get("observedGeneration") == workload["metadata"]["generation"]
    return seen and all((status.get(name) or 0) == wanted for name in names)


async def _silenced(stage: Play, step: StepRun) -> bool:
    silence = stage.sandbox.alertmanager.silences.get(_result(step)["id"])
    assert silence
    matched = {one.name: one.value for one in silence.matchers}
    return matched == {"alertname": "HighLatency", "service": XR}


async def _unsilenced(stage: Play, step: StepRun) -> bool:
    silence = stage.sandbox.alertmanager.silences.get(_result(step)["id"])
    return silence is not None and silence.state(stage.sandbox.clock.now()) == "expired"


async def _sync_paused(stage: Play, step: StepRun) -> bool:
    found = await read(stage, f"/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{XR}")
    return bool(found) and not found["spec"]["syncPolicy"].get("automated")


def _database(stage: Play, name: str) -> Any:
    stage.sandbox.aws.settle()
    return stage.sandbox.aws.rds.databases.get(name)


async def _snapshotted(stage: Play, step: StepRun) -> bool:
    found = stage.sandbox.aws.rds.database_snapshots.get(_result(step)["snapshot"])
    return found is not None and found.status == "available"


async def _restored(stage: Play, step: StepRun) -> bool:
    result = _result(step)
    found = _database(stage, result.get("temporary") or result["database"])
    return found is not None and found.status == "available"


async def _temporary_is_gone(stage: Play, step: StepRun) -> bool:
    found = _database(stage, _result(step)["temporary"])
    return found is None or found.status == "deleting"


async def _protected(stage: Play, step: StepRun) -> bool:
    return bool(_database(stage, "tamv-prod-postgres").deletion_protection)


async def _failed_over(stage: Play, step: StepRun) -> bool:
    result = _result(step)
    return bool(_database(stage, "tamv-prod-postgres").availability_zone == result["zone"] != result["before"])


async def _pruned(stage: Play, step: StepRun) -> bool:
    result, left = _result(step), stage.sandbox.aws.objects
    names = [name for name in left if name.startswith("database/")]
    return result["deleted"] > 0 and len(names) >= result["kept"] and not await _older(stage, result["cutoff"])


async def _older(stage: Play, cutoff: str) -> list[str]:
    """The backups older than this that the bucket still has."""
    aws = stage.bot.deps.aws
    assert aws
    found = await aws.list_objects("tamv-backups-prod", "database/")
    return [one.name for one in found if one.modified < datetime.fromisoformat(cutoff)]


async def _second_color(stage: Play, step: StepRun) -> bool:
    second = await deployment(stage, f"{XR}-green")
    is_without_traffic = (await service_selector(stage)).get("track") == "stable"
    return image_tag(second) == "v4.2.0" and is_up(second) and is_without_traffic


async def _switched(stage: Play, step: StepRun) -> bool:
    return (await service_selector(stage)).get("track") == "green"


async def _one_color(stage: Play, step: StepRun) -> bool:
    first = await deployment(stage)
    is_alone = not await deployment(stage, f"{XR}-green") and await service_selector(stage) == {"app": XR}
    return is_alone and image_tag(first) == "v4.2.0" and is_up(first)


async def _branched(stage: Play, step: StepRun) -> bool:
    return BRANCH in stage.sandbox.github.branches


async def _issue_created(stage: Play, step: StepRun) -> bool:
    found = [one for one in stage.sandbox.github.issues.values() if one.title == "Alertar antes"]
    return len(found) == 1 and "monitoring" in found[0].labels


async def _dispatched(stage: Play, step: StepRun) -> bool:
    wanted = {"image_tag": "v4.2.0", "environment": "production"}
    return any(run.inputs.items() >= wanted.items() for run in stage.sandbox.github.runs.values())


async def _pull_opened(stage: Play, step: StepRun) -> bool:
    pulls = [(pull.head, pull.issue.title) for pull in stage.sandbox.github.pulls.values()]
    return pulls == [(BRANCH, "Bajar la calidad del render")]


async def _review_requested(stage: Play, step: StepRun) -> bool:
    result, (pull,) = _result(step), stage.sandbox.github.pulls.values()
    asked = {*pull.reviewers, *pull.team_reviewers} | {review.author for review in pull.reviews}
    wanted = {*result["reviewers"], *result["teams"]}
    return bool(wanted) and wanted <= asked


async def _merged(stage: Play, step: StepRun) -> bool:
    return all(pull.merged_at for pull in stage.sandbox.github.pulls.values())


async def _deployed_revision(stage: Play, step: StepRun) -> bool:
    """Helm's newest revision is the one that the run tells of, and it is out."""
    number = _result(step)["after"]
    record = await read(stage, f"/api/v1/namespaces/{NAMESPACE}/secrets/sh.helm.release.v1.{XR}.v{number}")
    return bool(record) and record["metadata"]["labels"]["status"] == "deployed" and is_up(await deployment(stage))


async def _canary(stage: Play, step: StepRun) -> bool:
    stable, canary = await deployment(stage), await deployment(stage, f"{XR}-canary")
    tags = (image_tag(stable), image_tag(canary))
    return tags == ("v4.1.0", "v4.2.0") and is_up(canary) and await _deployed_revision(stage, step)


async def _promoted(stage: Play, step: StepRun) -> bool:
    stable, canary = await deployment(stage), await deployment(stage, f"{XR}-canary")
    is_half = canary["spec"]["replicas"] == stable["spec"]["replicas"]
    return is_half and is_up(canary) and await _deployed_revision(stage, step)


async def _rolled_back(stage: Play, step: StepRun) -> bool:
    is_alone = not await deployment(stage, f"{XR}-canary")
    return is_alone and image_tag(await deployment(stage)) == "v4.1.0" and await _deployed_revision(stage, step)


async def _upgraded(stage: Play, step: StepRun) -> bool:
    return image_tag(await deployment(stage)) == "v4.2.0" and await _deployed_revision(stage, step)


POLICY = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/drill-block-s3"


async def _applied(stage: Play, step: StepRun) -> bool:
    found = await read(stage, POLICY)
    return bool(found) and found["spec"]["policyTypes"] == ["Egress"]


async def _deleted(stage: Play, step: StepRun) -> bool:
    return not await read(stage, POLICY)


async def _cordoned(stage: Play, step: StepRun) -> bool:
    node = await read(stage, f"/api/v1/nodes/{_result(step)['node']}")
    return node["spec"].get("unschedulable") is True


async def _uncordoned(stage: Play, step: StepRun) -> bool:
    return not await _cordoned(stage, step)


async def _drained(stage: Play, step: StepRun) -> bool:
    result = _result(step)
    assert result["pods"], "nothing ran on the node: the example shows nothing"
    left = (await read(stage, f"/api/v1/pods?fieldSelector=spec.nodeName%3D{result['node']}"))["items"]
    kinds = {owner["kind"] for pod in left for owner in pod["metadata"].get("ownerReferences") or ()}
    return kinds <= {"DaemonSet"} and await _cordoned(stage, step)


async def _dumped(stage: Play, step: StepRun) -> bool:
    return _result(step)["name"] in stage.sandbox.aws.objects


async def _refreshed(stage: Play, step: StepRun) -> bool:
    path = f"/apis/external-secrets.io/v1/namespaces/{NAMESPACE}/externalsecrets/tamv-core-secrets"
    status = (await read(stage, path))["status"]
    return bool(status["syncedResourceVersion"] == _result(step)["after"] != _result(step)["before"])


RESTARTED = "kubectl.kubernetes.io/restartedAt"


async def _restarted(stage: Play, step: StepRun) -> bool:
    found = await deployment(stage)
    at = (found["spec"]["template"]["metadata"].get("annotations") or {}).get(RESTARTED)
    is_new = at is not None and datetime.fromisoformat(at) == datetime.fromisoformat(_result(step)["at"])
    return is_new and is_up(found)


async def _undone(stage: Play, step: StepRun) -> bool:
    """The template before the restart is back."""
    found = await deployment(stage)
    return RESTARTED not in (found["spec"]["template"]["metadata"].get("annotations") or {}) and is_up(found)


async def _job_ran(stage: Play, step: StepRun) -> bool:
    job = await read(stage, f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{_result(step)['job']}")
    return bool(job) and job["status"].get("succeeded") == 1


async def _batches_ran(stage: Play, step: StepRun) -> bool:
    found = (await read(stage, f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"))["items"]
    ended = [job["status"].get("succeeded") for job in found if job["metadata"]["name"].startswith("batch-")]
    return ended == [1] * _result(step)["jobs"]


async def _scaled(stage: Play, step: StepRun) -> bool:
    found = await deployment(stage)
    return found["spec"]["replicas"] == 10 and is_up(found)


async def _variable_set(stage: Play, step: StepRun) -> bool:
    found = await deployment(stage)
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return {"name": "LOG_LEVEL", "value": "debug"} in container["env"] and is_up(found)


async def _moved(stage: Play, step: StepRun) -> bool:
    """All pods are on nodes of that type."""
    nodes = (await read(stage, "/api/v1/nodes?labelSelector=node-type%3Dgpu-high-memory"))["items"]
    right, running = {node["metadata"]["name"] for node in nodes}, await pods(stage, f"app%3D{XR}")
    return is_up(await deployment(stage)) and {pod["spec"].get("nodeName") for pod in running} <= right


async def _shut_down(stage: Play, step: StepRun) -> bool:
    found = (await read(stage, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"))["items"]
    still = {one["metadata"]["name"] for one in found if one["spec"]["replicas"]}
    protected = set(stage.bot.deps.team.policy.limits.protected)
    return still <= protected and not await pods(stage, f"app%3D{XR}")


async def _experimented(stage: Play, step: StepRun) -> bool:
    path = f"/apis/litmuschaos.io/v1alpha1/namespaces/{NAMESPACE}/chaosengines/{_result(step)['engine']}"
    return bool((await read(stage, path))["status"]["engineStatus"] == "completed")


async def _paged(stage: Play, step: StepRun) -> bool:
    found = [one for one in stage.sandbox.pagerduty.incidents.values() if "El render no responde" in one.title]
    return bool(found)


def _pages(stage: Play) -> list[Any]:
    return list(stage.sandbox.pagerduty.incidents.values())


async def _noted(stage: Play, step: StepRun) -> bool:
    return any("Escalado a 10 réplicas" in note.content for page in _pages(stage) for note in page.notes)


async def _acknowledged(stage: Play, step: StepRun) -> bool:
    return bool(_pages(stage)) and all(page.status == "acknowledged" for page in _pages(stage))


async def _resolved(stage: Play, step: StepRun) -> bool:
    return bool(_pages(stage)) and all(page.status == "resolved" for page in _pages(stage))


async def _announced(stage: Play, step: StepRun) -> bool:
    destination = stage.bot.deps.team.stakeholders_channel  # not where it was typed: the card there has the words too
    assert destination
    return any("Restauramos la base" in text for text in stage.own(destination))


async def _rotated(stage: Play, step: StepRun) -> bool:
    first, second = (stage.sandbox.vault.version("tamv-prod/auth", number).values or {} for number in (1, 2))
    return {name for name in first if first[name] != second[name]} == {"jwt-secret"}


async def _version_restored(stage: Play, step: StepRun) -> bool:
    vault = stage.sandbox.vault
    return vault.version("tamv-prod/auth").number == 3 and (
        vault.version("tamv-prod/auth").values == vault.version("tamv-prod/auth", 1).values
    )


def _result(step: StepRun) -> Mapping[str, Any]:
    assert step.result is not None
    return step.result


Shown = Callable[[Play, StepRun], Awaitable[bool]]
SHOWN: dict[str, Shown] = {
    "alertmanager.silence": _silenced,
    "alertmanager.unsilence": _unsilenced,
    "argocd.pause_sync": _sync_paused,
    "aws.rds_delete_temporary": _temporary_is_gone,
    "aws.rds_failover": _failed_over,
    "aws.rds_protect": _protected,
    "aws.rds_restore": _restored,
    "aws.rds_restore_temporary": _restored,
    "aws.rds_snapshot": _snapshotted,
    "aws.s3_prune": _pruned,
    "bluegreen.finish": _one_color,
    "bluegreen.start": _second_color,
    "bluegreen.switch": _switched,
    "github.create_branch": _branched,
    "github.create_issue": _issue_created,
    "github.dispatch_workflow": _dispatched,
    "github.merge": _merged,
    "github.open_pull_request": _pull_opened,
    "github.request_review": _review_requested,
    "helm.canary": _canary,
    "helm.promote": _promoted,
    "helm.rollback": _rolled_back,
    "helm.upgrade": _upgraded,
    "kubernetes.apply": _applied,
    "kubernetes.cordon": _cordoned,
    "kubernetes.delete": _deleted,
    "kubernetes.drain": _drained,
    "kubernetes.exec_dump": _dumped,
    "kubernetes.refresh_external_secret": _refreshed,
    "kubernetes.restart": _restarted,
    "kubernetes.rollout_undo": _undone,
    "kubernetes.run_batches": _batches_ran,
    "kubernetes.run_job": _job_ran,
    "kubernetes.scale": _scaled,
    "kubernetes.set_env": _variable_set,
    "kubernetes.set_node_selector": _moved,
    "kubernetes.shut_down": _shut_down,
    "kubernetes.uncordon": _uncordoned,
    "litmus.run": _experimented,
    "pagerduty.acknowledge": _acknowledged,
    "pagerduty.note": _noted,
    "pagerduty.page": _paged,
    "pagerduty.resolve": _resolved,
    "slack.announce": _announced,
    "vault.restore": _version_restored,
    "vault.rotate": _rotated,
}
