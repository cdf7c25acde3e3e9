"""The bot's Kubernetes client in the sandbox's cluster: nodes, jobs, programs, secrets, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.domain.errors import BotError, NotFound, Refused, Unavailable
from bot.integrations.effects import dry_run
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.kubernetes.status import Obstacle
from bot.integrations.kubernetes.workloads import failed_creates
from bot.tasks import cancel_and_wait
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.kubernetes.access import ADMIN, Rule
from sandbox.kubernetes.backend import Kubernetes as Backend
from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.kubernetes.resources.basic import SECRET
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.resources.policy import DISRUPTION_BUDGET
from sandbox.server import Sandbox

PROD = "tamv-prod"
DEADLINE = 20.0


@dataclass
class World:
    backend: Backend
    sandbox: Sandbox
    client: Kubernetes
    url: str
    folder: Path

    def client_of(self, token: str, timeout: float = 10.0) -> Kubernetes:
        path = self.folder / f"kubeconfig-{token}"
        path.write_text(self.backend.kubeconfig(self.url, token))
        return Kubernetes(str(path), timeout)

    def pods_on(self, node: str) -> set[str]:
        return {
            str(pod["metadata"]["name"])
            for pod in self.backend.store.all(POD, PROD)
            if pod["spec"].get("nodeName") == node
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sandbox = Sandbox(clock=Clock(speed=100))
    async with sandbox.serving() as url:
        backend = sandbox.kubernetes
        path = tmp_path / "kubeconfig"
        path.write_text(backend.kubeconfig(f"{url}/kubernetes"))
        async with Kubernetes(str(path)) as client:
            yield World(backend, sandbox, client, f"{url}/kubernetes", tmp_path)


async def movable(world: World, node: str) -> list[str]:
    return [pod.qualified_name for pod in await world.client.nodes.pods(node) if pod.skip_reason is None]


async def test_a_node_is_emptied_and_opened_again(world: World) -> None:
    nodes = world.client.nodes
    before = world.pods_on("gpu-node-1")
    assert before
    await nodes.cordon("gpu-node-1")
    assert not await nodes.is_schedulable("gpu-node-1")
    stays = {pod.skip_reason for pod in await nodes.pods("gpu-node-1")}
    assert stays == {None, "DaemonSet"}
    await asyncio.wait_for(nodes.drain("gpu-node-1", await movable(world, "gpu-node-1")), DEADLINE)
    assert world.pods_on("gpu-node-1") == set()
    await nodes.uncordon("gpu-node-1")
    assert await nodes.is_schedulable("gpu-node-1")


async def test_a_pod_with_two_budgets_is_waited_for_and_keeps_no_other_pod(world: World) -> None:
    pods = await movable(world, "gpu-node-1")
    (budget,) = [b for b in world.backend.store.all(DISRUPTION_BUDGET, PROD) if b["metadata"]["name"] == "xr-engine"]
    second = {"metadata": {"name": "second", "namespace": PROD}, "spec": budget["spec"]}
    world.backend.writer.create(DISRUPTION_BUDGET, second)
    world.backend.cluster.settle()
    with pytest.raises(Unavailable) as stuck:
        await world.client.nodes.drain("gpu-node-1", pods, 1.5)
    assert (stuck.value.key, "more than one PodDisruptionBudget" in str(stuck.value.facts["why"])) == (
        "kubernetes_busy",
        True,
    )


async def test_a_rehearsed_drain_names_what_a_budget_keeps_and_moves_nothing(world: World) -> None:
    for budget in world.backend.store.all(DISRUPTION_BUDGET, PROD):
        world.backend.writer.replace(
            DISRUPTION_BUDGET, budget, {**budget, "spec": {**budget["spec"], "maxUnavailable": 0}}
        )
    world.backend.cluster.settle()
    before = world.pods_on("gpu-node-1")
    pods = await movable(world, "gpu-node-1")
    with dry_run() as recorder:
        await world.client.nodes.cordon("gpu-node-1")
        await world.client.nodes.drain("gpu-node-1", pods)
    cordon, drain = recorder.effects
    assert cordon.diff == "-  unschedulable: false\n+  unschedulable: true"
    assert drain.facts["pods"] == pods
    assert drain.diff.startswith(f"!  {pods[0]}: Cannot evict pod as it would violate the pod's disruption budget.")
    assert "The disruption budget xr-engine needs 3 healthy pods and has 3 currently" in drain.diff
    assert world.pods_on("gpu-node-1") == before
    with pytest.raises(Unavailable) as busy:
        await world.client.nodes.drain("gpu-node-1", pods, 1.5)
    assert (busy.value.key, "needs 3 healthy pods" in str(busy.value.facts["why"])) == ("kubernetes_busy", True)
    node = world.backend.store.get(NODE, "", "gpu-node-1")
    assert node is not None
    assert "unschedulable" not in node["spec"]


async def test_a_job_is_made_once_from_its_cron_job_and_removed(world: World) -> None:
    jobs = world.client.jobs
    world.backend.behaviours.set(
        "*/db-maintenance:*", Behaviour(start=2, run=10, log=("INFO 41 tables", "INFO intact"))
    )
    body = await jobs.of_cron_job("db-maintenance", PROD, "check-1")
    with dry_run() as recorder:
        await jobs.start("check-1", PROD, body)
    assert "+  name: check-1" in recorder.effects[0].diff
    with pytest.raises(NotFound):
        await jobs.state("check-1", PROD)
    await jobs.start("check-1", PROD, body)
    await jobs.start("check-1", PROD, body)
    ended = await asyncio.wait_for(jobs.wait_until_ended("check-1", PROD), DEADLINE)
    assert (ended.ended, ended.succeeded, ended.failed) == (True, 1, 0)
    assert len(await jobs.pods("check-1", PROD)) == 1
    (text,) = (
        await world.client.pods.logs(await world.client.pods.list(PROD, "job-name=check-1"), PROD)
    ).texts.values()
    assert [line.partition(" ")[2] for line in text.splitlines()] == ["INFO 41 tables", "INFO intact"]
    await jobs.delete("check-1", PROD)
    await jobs.delete("check-1", PROD)
    with pytest.raises(NotFound):
        await jobs.state("check-1", PROD)


async def test_a_job_whose_pods_are_refused_or_that_is_suspended_says_so_at_once(world: World) -> None:
    told: list[str] = []

    async def tell(obstacles: Sequence[Obstacle]) -> None:
        told.extend(map(str, obstacles))

    jobs, body = world.client.jobs, await world.client.jobs.of_cron_job("db-maintenance", PROD, "check-3")
    await jobs.start("check-3", PROD, {**body, "spec": {**body["spec"], "suspend": True}})
    waiting = asyncio.create_task(jobs.wait_until_ended("check-3", PROD, tell))
    async with deadline(DEADLINE):
        while "check-3: Suspended" not in told:  # noqa: ASYNC110 - the client asks once a second
            await asyncio.sleep(0.05)
    await cancel_and_wait([waiting])
    job = world.backend.store.get(JOB, PROD, "check-3")
    assert job
    forbidden = 'pods "check-3-x" is forbidden: exceeded quota: compute'
    world.backend.cluster.record_event(job, "FailedCreate", forbidden, source="job-controller", warning=True)
    world.backend.writer.update(JOB, job, lambda latest: latest["status"].update(conditions=[]))
    (refused,) = await failed_creates(jobs._cluster, "check-3", PROD)
    assert (refused.permanent, "exceeded quota" in refused.message) == (True, True)


async def test_a_job_that_fails_says_why(world: World) -> None:
    world.backend.behaviours.set("*/db-maintenance:*", Behaviour(start=2, run=5, exit_code=1))
    await world.client.jobs.start(
        "check-2", PROD, await world.client.jobs.of_cron_job("db-maintenance", PROD, "check-2")
    )
    ended = await asyncio.wait_for(world.client.jobs.wait_until_ended("check-2", PROD), DEADLINE)
    assert (ended.ended, ended.failed, ended.why) == (False, 1, "Job has reached the specified backoff limit")


async def test_a_program_streams_what_it_writes(world: World) -> None:
    world.backend.programs.dump = Dump(size=5_000_003)
    pod = world.backend.world.pods("tamv-core")[0].name
    digest, largest = hashlib.sha256(), 0
    command = ["sh", "-c", 'exec pg_dump --format=custom "$DATABASE_URL"']
    async for piece in world.client.programs.stream(pod, PROD, command):
        digest.update(piece)
        largest = max(largest, len(piece))
    assert digest.hexdigest() == hashlib.sha256(world.backend.programs.dump.whole()).hexdigest()
    assert largest <= 64 * 1024


@pytest.mark.parametrize(
    ("command", "key", "code"),
    [(["pg_dump"], "program_failed", 1), (["false"], "program_failed", 1), (["mysqldump"], "program_failed", None)],
)
async def test_a_program_that_fails_says_how(world: World, command: list[str], key: str, code: int | None) -> None:
    world.backend.programs.dump = Dump(fail_at=100_000)
    pod = world.backend.world.pods("tamv-core")[0].name
    with pytest.raises(Refused) as failed:
        async for _ in world.client.programs.stream(pod, PROD, command):
            pass
    assert (failed.value.key, failed.value.facts["code"]) == (key, code)
    if command == ["pg_dump"]:
        assert failed.value.facts["why"] == "pg_dump: error: connection to server was lost"


async def test_a_program_needs_a_pod_and_the_right_to_it(world: World) -> None:
    with pytest.raises(NotFound):
        async for _ in world.client.programs.stream("nobody", PROD, ["true"]):
            pass
    world.backend.accounts.add("reader", "tamv-bot", [Rule(["get", "list"], ["*"])])
    pod = world.backend.world.pods("tamv-core")[0].name
    async with world.client_of("reader") as reader:
        with pytest.raises(Refused) as refused:
            async for _ in reader.programs.stream(pod, PROD, ["true"]):
                pass
    assert (refused.value.key, refused.value.facts["resource"]) == ("kubernetes_forbidden", "pods/exec")


async def test_a_secret_is_read_again_and_waited_for(world: World) -> None:
    secrets = world.client.external_secrets
    before = await secrets.sync_status("tamv-core-secrets", PROD)
    assert before.ready
    with dry_run():
        await secrets.refresh("tamv-core-secrets", PROD, "R-1/a")
    assert await secrets.sync_status("tamv-core-secrets", PROD) == before
    world.sandbox.vault.patch(f"{PROD}/auth", {"jwt-secret": "fresh"}, None)
    await secrets.refresh("tamv-core-secrets", PROD, "R-1/a")
    await secrets.refresh("tamv-core-secrets", PROD, "R-1/a")
    after = await asyncio.wait_for(secrets.wait_until_refreshed("tamv-core-secrets", PROD, before.version), DEADLINE)
    assert after.at > before.at
    stored = world.backend.store.get(SECRET, PROD, "tamv-core-secrets")
    assert stored is not None
    assert base64.b64decode(stored["data"]["JWT_SECRET"]) == b"fresh"
    world.sandbox.vault.patch(f"{PROD}/auth", {"jwt-secret": None}, None)
    await secrets.refresh("tamv-core-secrets", PROD, "R-1/b")
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(secrets.wait_until_refreshed("tamv-core-secrets", PROD, after.version), DEADLINE)
    assert (refused.value.key, "jwt-secret" in str(refused.value.facts["why"])) == ("secret_not_synced", True)


async def test_a_missing_right_is_named(world: World) -> None:
    world.backend.accounts.add("reader", "tamv-bot", [Rule(["get", "list"], ["*"])])
    async with world.client_of("reader") as reader:
        with pytest.raises(Refused) as refused:
            await reader.nodes.cordon("node-1")
    facts = refused.value.facts
    assert (refused.value.key, facts["verb"], facts["resource"]) == ("kubernetes_forbidden", "patch", "nodes")


@pytest.mark.parametrize(
    ("kind", "how", "key"),
    [
        ("status", {"status": 503}, "unreachable"),
        ("drop_before", {}, "unreachable"),
        ("hang", {"seconds": 5.0}, "timed_out"),
        ("nonsense", {}, "nonsense"),
    ],
)
async def test_an_api_that_does_not_answer_is_unavailable(
    world: World, kind: str, how: dict[str, object], key: str
) -> None:
    world.sandbox.faults.add("kubernetes", kind, "*/cordoned", times=None, **how)  # type: ignore[arg-type]
    async with world.client_of(ADMIN, timeout=2.0) as client:
        with pytest.raises(BotError) as problem:
            await client.nodes.is_schedulable("cordoned")
    assert (type(problem.value), problem.value.key) == (Unavailable, key)
