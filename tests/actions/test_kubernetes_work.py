"""Nodes, jobs and external secrets as a run works with them: rehearsed, done, undone, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.actions.kubernetes import LONGEST_LINE
from bot.actions.kubernetes_jobs import Ran
from bot.domain.change import ChangeKind
from bot.domain.errors import BadInput, NotFound, Refused, Unavailable, WrongState
from bot.messages.run import line
from sandbox.deadline import deadline
from sandbox.kubernetes.backend import Kubernetes as Backend
from sandbox.kubernetes.containers import Behaviour
from sandbox.kubernetes.objects import deep_copy, timestamp
from sandbox.kubernetes.resources.basic import CONFIG_MAP, SECRET
from sandbox.kubernetes.resources.batch import CRON_JOB
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.state import WriteOptions
from sandbox.server import Sandbox
from tests.harness.actor import Actor, in_cluster, parts

PROD = "tamv-prod"
GPU = "gpu-node-2"


@dataclass
class Cluster:
    sandbox: Sandbox
    backend: Backend
    actor: Actor

    def is_open(self, node: str) -> bool:
        found = self.backend.store.get(NODE, "", node)
        assert found is not None
        return "unschedulable" not in found["spec"]

    def pods(self) -> list[str]:
        return [str(pod["metadata"]["name"]) for pod in self.backend.store.all(POD, PROD)]

    def pods_on(self, node: str) -> int:
        return sum(pod["spec"].get("nodeName") == node for pod in self.backend.store.all(POD, PROD))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        yield Cluster(sandbox, sandbox.kubernetes, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes)))


async def test_a_drain_is_shown_done_and_the_node_opened_again(cluster: Cluster) -> None:
    standing = cluster.pods_on(GPU)
    effects, shown = await cluster.actor.rehearse("kubernetes.drain", node=GPU)
    assert [effect.key for effect in effects] == ["kubernetes.cordon", "kubernetes.drain"]
    assert effects[1].diff.startswith(f"-  {PROD}/xr-engine-")
    assert (cluster.is_open(GPU), cluster.pods_on(GPU)) == (True, standing)
    done = await cluster.actor.perform("kubernetes.drain", node=GPU)
    assert (done.before, done.after, done.pods) == (True, False, shown.pods)
    assert (cluster.is_open(GPU), cluster.pods_on(GPU)) == (False, 0)
    again = await cluster.actor.perform("kubernetes.drain", node=GPU)
    assert again.before is True, "tried again, it still knows that the node was open"
    await cluster.actor.undo("kubernetes.drain", done)
    assert cluster.is_open(GPU)


async def test_history_knows_closed_nodes_the_autoscaler_and_which_objects_changed_but_not_what(
    cluster: Cluster,
) -> None:
    backend, kubernetes = cluster.backend, cluster.actor.deps.kubernetes
    assert kubernetes
    await cluster.actor.perform("kubernetes.cordon", node=GPU)
    closed = (await kubernetes.history.nodes())[GPU]
    assert closed.ready and [(one.kind, one.about, one.facts) for one in closed.changes] == [
        (ChangeKind.NODE, GPU, {"trouble": "closed"})
    ]

    deployment = backend.store.get(DEPLOYMENT, PROD, "xr-engine")
    assert deployment
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "xr-engine", "namespace": PROD, "uid": "1"},
    }
    for message in ("New size: 8; reason: cpu above target", "New size: {{ 7 * 7 }} <!channel>"):
        backend.cluster.record_event(scaler, "SuccessfulRescale", message, source="horizontal-pod-autoscaler")
    seen = await kubernetes.history.of_workload("xr-engine", "xr-engine", PROD, datetime.now(UTC), {})
    scaled = [one.facts for one in seen.changes if one.kind is ChangeKind.AUTOSCALED]
    assert sorted(scaled, key=len) == [{}, {"to": 8}]

    for kind, name in ((CONFIG_MAP, "render"), (SECRET, "tokens"), (SECRET, "of-somebody-else")):
        made = {"metadata": {"name": name, "namespace": PROD}, "data": {"value": "c2VjcmV0"}}
        backend.writer.create(kind, made)
    used = deep_copy(deployment)
    used["spec"]["template"]["spec"]["volumes"] = [{"name": "a", "secret": {"secretName": "tokens"}}]
    used["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "render"}}]
    backend.store.put(DEPLOYMENT, used)
    ask = kubernetes.history.configuration
    objects = [
        *await ask("ConfigMap", "xr-engine", "xr-engine", PROD),
        *await ask("Secret", "xr-engine", "xr-engine", PROD),
    ]
    assert [(one.kind, one.facts) for one in objects] == [
        (ChangeKind.OBJECT, {"kind": "ConfigMap", "name": "render"}),
        (ChangeKind.OBJECT, {"kind": "Secret", "name": "tokens"}),
    ]
    assert "c2VjcmV0" not in str(objects)


async def test_a_node_that_was_closed_before_stays_closed_after_the_undo(cluster: Cluster) -> None:
    first = await cluster.actor.perform("kubernetes.cordon", node=GPU, key="R-1/a")
    second = await cluster.actor.perform("kubernetes.cordon", node=GPU, key="R-2/a")
    await cluster.actor.undo("kubernetes.cordon", second)
    assert not cluster.is_open(GPU)
    await cluster.actor.undo("kubernetes.cordon", first)
    assert cluster.is_open(GPU)


async def test_an_undo_leaves_a_node_closed_that_somebody_else_has_closed_since(cluster: Cluster) -> None:
    done = await cluster.actor.perform("kubernetes.cordon", node=GPU)
    for unschedulable in (None, True):  # a colleague opens it, and closes it for a reason of their own
        node = cluster.backend.store.get(NODE, "", GPU)
        assert node
        spec = {name: value for name, value in node["spec"].items() if name != "unschedulable"}
        theirs = {**deep_copy(node), "spec": spec | ({"unschedulable": True} if unschedulable else {})}
        cluster.backend.writer.replace(NODE, node, theirs, WriteOptions(field_manager="kubectl-cordon"))
    with pytest.raises(WrongState) as changed:
        await cluster.actor.undo("kubernetes.cordon", done)
    assert (changed.value.key, cluster.is_open(GPU)) == ("changed_since", False)


async def test_what_an_uncordon_and_a_drain_cannot_do_is_said_before(cluster: Cluster) -> None:
    node = cluster.backend.store.get(NODE, "", GPU)
    assert node
    lost = deep_copy(node)
    lost["spec"]["taints"] = [{"key": "team", "value": "ml", "effect": "NoSchedule"}]
    lost["status"]["conditions"] = [
        {"type": "Ready", "status": "Unknown", "lastTransitionTime": timestamp(cluster.sandbox.clock.now())}
    ]
    cluster.backend.store.put(NODE, lost)
    (uncordoned,), _ = await cluster.actor.rehearse("kubernetes.uncordon", node=GPU)
    cordoned, _ = (await cluster.actor.rehearse("kubernetes.drain", "R-2/a", node=GPU))[0]
    for words in cluster.actor.deps.words_by_locale.values():
        assert "team=ml:NoSchedule" in line(uncordoned, words)
        assert words.label("cautions.not_ready", node=GPU) in line(cordoned, words)


async def test_a_pod_that_a_finalizer_holds_is_told_with_it(cluster: Cluster) -> None:
    held = next(pod for pod in cluster.backend.store.all(POD, PROD) if pod["spec"].get("nodeName") == GPU)
    name = held["metadata"]["name"]
    theirs = {**deep_copy(held), "metadata": {**held["metadata"], "finalizers": ["example.com/backup"]}}
    cluster.backend.store.put(POD, theirs)
    with pytest.raises(Unavailable) as slow:
        await cluster.actor.perform("kubernetes.drain", node=GPU, wait="3s")
    assert f"{PROD}/{name}: Terminating, finalizers: example.com/backup" in str(slow.value.facts["why"])


async def test_data_in_an_empty_dir_are_only_lost_when_somebody_says_so(cluster: Cluster) -> None:
    before = cluster.backend.store.get(DEPLOYMENT, PROD, "xr-engine")
    assert before is not None
    after = deep_copy(before)
    after["spec"]["template"]["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    cluster.backend.writer.replace(DEPLOYMENT, before, after)
    cluster.backend.cluster.settle()
    await cluster.actor.deps.kubernetes.workloads.wait_until_rolled_out("xr-engine", PROD)  # type: ignore[union-attr]
    with pytest.raises(WrongState) as refused:
        await cluster.actor.rehearse("kubernetes.drain", node=GPU)
    assert (refused.value.key, cluster.is_open(GPU)) == ("drain_would_lose", True)
    await cluster.actor.perform("kubernetes.drain", node=GPU, delete_emptydir=True)
    assert cluster.pods_on(GPU) == 0


async def test_an_unknown_node_is_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFound):
        await cluster.actor.rehearse("kubernetes.drain", node="gpu-node-9")


async def test_a_job_runs_once_for_each_step_and_its_log_is_read(cluster: Cluster) -> None:
    script = Behaviour(start=2, run=10, log=("INFO 41 tables", "INFO token=xoxb-1234567890-abcdef is gone"))
    cluster.backend.behaviours.set("*/db-maintenance:*", script)
    effects, shown = await cluster.actor.rehearse("kubernetes.run_job", cron_job="db-maintenance")
    assert [effect.key for effect in effects] == ["kubernetes.run_job"]
    assert "kind: Job" in effects[0].diff
    done = await cluster.actor.perform("kubernetes.run_job", cron_job="db-maintenance")
    assert (done.job, done.namespace, done.lines[0]) == (shown.job, PROD, "INFO 41 tables")
    assert "xoxb" not in done.lines[1]
    again = await cluster.actor.perform("kubernetes.run_job", cron_job="db-maintenance")
    assert again.job == done.job
    jobs = cluster.actor.deps.kubernetes.jobs  # type: ignore[union-attr]
    assert len(await jobs.pods(done.job, PROD)) == 1
    await cluster.actor.undo("kubernetes.run_job", done)
    with pytest.raises(NotFound):
        await jobs.state(done.job, PROD)


async def test_a_job_s_tag_is_for_its_main_container_whose_lines_are_the_last(cluster: Cluster) -> None:
    cron = cluster.backend.store.get(CRON_JOB, PROD, "db-maintenance")
    assert cron
    theirs = deep_copy(cron)
    pod = theirs["spec"]["jobTemplate"]["spec"]["template"]
    pod["metadata"] = {"annotations": {"kubectl.kubernetes.io/default-container": "db-maintenance"}}
    pod["spec"]["containers"] = [
        {"name": "db-maintenance", "image": "registry.tamv.world/db-maintenance:v1"},
        {"name": "proxy", "image": "registry.tamv.world/proxy:v1"},
    ]
    pod["spec"]["containers"].reverse()
    cluster.backend.store.put(CRON_JOB, theirs)
    cluster.backend.behaviours.set("*/db-maintenance:*", Behaviour(start=1, run=3, log=("done",)))
    cluster.backend.behaviours.set("*/proxy:*", Behaviour(start=1, run=3, log=("listening",)))
    (effect,), _ = await cluster.actor.rehearse("kubernetes.run_job", cron_job="db-maintenance", tag="v2")
    assert "registry.tamv.world/db-maintenance:v2" in effect.diff and "registry.tamv.world/proxy:v1" in effect.diff
    done = await cluster.actor.perform("kubernetes.run_job", cron_job="db-maintenance", tag="v2")
    assert done.lines[-1] == "done"


async def test_a_job_that_would_run_beside_another_or_not_at_all_is_said_before(cluster: Cluster) -> None:
    cron = cluster.backend.store.get(CRON_JOB, PROD, "db-maintenance")
    assert cron
    theirs = deep_copy(cron)
    theirs["spec"]["jobTemplate"]["spec"]["suspend"] = True
    cluster.backend.store.put(CRON_JOB, theirs)
    jobs = cluster.actor.deps.kubernetes.jobs  # type: ignore[union-attr]
    await jobs.start("check-1", PROD, await jobs.of_cron_job("db-maintenance", PROD, "check-1"))
    (effect,), _ = await cluster.actor.rehearse("kubernetes.run_job", cron_job="db-maintenance")
    for words in cluster.actor.deps.words_by_locale.values():
        told = line(effect, words)
        assert "check-1" in told and words.label("cautions.suspended") in told


async def test_a_log_of_megabytes_is_read_from_its_end_and_no_line_is_endless(cluster: Cluster) -> None:
    lines = tuple(f"{number} " + "x" * 1_000_000 for number in range(7))
    cluster.backend.behaviours.set("*/db-maintenance:*", Behaviour(start=1, run=3, log=lines))
    done = await cluster.actor.perform("kubernetes.run_job", cron_job="db-maintenance")
    assert [one[:2] for one in done.lines] == ["3 ", "4 ", "5 ", "6 "]
    assert all(len(one) == LONGEST_LINE + 1 and one.endswith("…") for one in done.lines)
    endless = ("y" * 5_000_000,)
    cluster.backend.behaviours.set("*/db-maintenance:*", Behaviour(start=1, run=3, log=endless))
    done = await cluster.actor.perform("kubernetes.run_job", "R-2/a", cron_job="db-maintenance")
    assert done.lines == []


async def test_a_job_that_fails_or_does_not_end_says_so(cluster: Cluster) -> None:
    failing = Behaviour(start=2, run=5, exit_code=1, log=("ERROR index damaged",))
    cluster.backend.behaviours.set("*/db-maintenance:*", failing)
    with pytest.raises(Refused) as refused:
        await cluster.actor.perform("kubernetes.run_job", key="R-1/a", cron_job="db-maintenance")
    assert (refused.value.key, refused.value.facts["line"]) == ("job_failed", "ERROR index damaged")
    cluster.backend.behaviours.set("*/db-maintenance:*", Behaviour(start=2, run=100_000))
    with pytest.raises(Unavailable) as slow:
        await cluster.actor.perform("kubernetes.run_job", key="R-1/b", cron_job="db-maintenance", wait="2s")
    assert slow.value.key == "timed_out"
    job = Ran(str(slow.value.facts["what"]).removeprefix("job "), PROD, 0.0, [])
    await cluster.actor.undo("kubernetes.run_job", job)
    async with deadline(10):
        while any(name.startswith(job.job) for name in cluster.pods()):  # noqa: ASYNC110 - a pod takes 2 s to end
            await asyncio.sleep(0.05)


async def test_a_job_runs_in_a_namespace_of_the_team_only(cluster: Cluster) -> None:
    with pytest.raises(BadInput) as refused:
        await cluster.actor.rehearse("kubernetes.run_job", cron_job="db-maintenance", namespace="kube-system")
    assert refused.value.key == "namespace_not_allowed"


async def test_a_secret_is_read_again_before_anything_goes_on(cluster: Cluster) -> None:
    name = "tamv-core-secrets"
    effects, shown = await cluster.actor.rehearse("kubernetes.refresh_external_secret", secret=name)
    assert [effect.key for effect in effects] == ["kubernetes.refresh_external_secret"]
    done = await cluster.actor.perform("kubernetes.refresh_external_secret", secret=name)
    assert (done.before, done.after != done.before, done.at > shown.at) == (shown.before, True, True)
    again = await cluster.actor.perform("kubernetes.refresh_external_secret", secret=name)
    assert (again.before, again.after) == (done.before, done.after), "tried again, it asks for nothing more"
    cluster.sandbox.vault.patch(f"{PROD}/auth", {"jwt-secret": None}, None)
    with pytest.raises(Refused) as refused:
        await cluster.actor.perform("kubernetes.refresh_external_secret", key="R-2/a", secret=name)
    assert refused.value.key == "secret_not_synced"
