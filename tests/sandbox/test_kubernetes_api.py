"""What the sandbox can be told and no real cluster can: scripted failures, rights by token, versions long gone."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.stream import WsApiClient

from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.kubernetes.access import ADMIN, Rule
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.kubernetes.objects import is_true
from sandbox.kubernetes.resources.batch import CRON_JOB, JOB, Schedule
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.server import Sandbox
from tests.harness.hand_clock import HandClock

PROD = "tamv-prod"
DEADLINE = 20.0


class Served:
    """A whole sandbox, 100 times as fast as the wall clock, and clients of its API."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.kubernetes = sandbox.kubernetes
        self.url = url

    async def configuration(self, token: str = ADMIN) -> client.Configuration:
        configuration = client.Configuration()
        text = self.kubernetes.kubeconfig(self.url, token)
        await config.load_kube_config_from_dict(  # type: ignore[no-untyped-call]
            yaml.safe_load(text), client_configuration=configuration
        )
        return configuration

    async def until(self, done: Any) -> None:
        async with deadline(DEADLINE):
            while not done():  # noqa: ASYNC110 - what is waited for is an attribute of the cluster's
                await asyncio.sleep(0.02)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    sandbox = Sandbox(clock=Clock(speed=100))
    async with sandbox.serving() as url:
        yield Served(sandbox, f"{url}/kubernetes")


def status(refused: client.ApiException) -> Any:
    return json.loads(str(refused.body))


async def test_a_token_may_do_what_its_rules_say_and_is_told_what_it_may_not(served: Served) -> None:
    served.kubernetes.accounts.add(
        "reader", "system:serviceaccount:tamv-bot:tamv-bot",
        [Rule(["get", "list"], ["pods", "deployments"], namespaces=[PROD])],
    )  # fmt: skip
    async with client.ApiClient(await served.configuration("reader")) as api:
        main: Any = client.CoreV1Api(api)
        apps: Any = client.AppsV1Api(api)
        assert (await main.list_namespaced_pod(PROD)).items
        with pytest.raises(client.ApiException) as refused:
            await apps.patch_namespaced_deployment_scale("xr-engine", PROD, {"spec": {"replicas": 9}})
        said = status(refused.value)
        assert (refused.value.status, said["reason"], said["details"]["name"]) == (403, "Forbidden", "xr-engine")
        assert said["message"] == (
            'deployments.apps "xr-engine" is forbidden: User "system:serviceaccount:tamv-bot:tamv-bot" cannot patch '
            'resource "deployments/scale" in API group "apps" in the namespace "tamv-prod"'
        )
        with pytest.raises(client.ApiException) as refused:
            await main.list_namespaced_pod("tamv-staging")
        assert 'in the namespace "tamv-staging"' in status(refused.value)["message"]
        authorization: Any = client.AuthorizationV1Api(api)
        attributes = {"verb": "list", "resource": "pods", "namespace": PROD, "group": ""}
        asked = {"spec": {"resourceAttributes": attributes}}
        assert (await authorization.create_self_subject_access_review(asked)).status.allowed
        attributes["verb"] = "delete"
        assert not (await authorization.create_self_subject_access_review(asked)).status.allowed


async def test_an_unknown_token_is_unauthorized(served: Served) -> None:
    async with client.ApiClient(await served.configuration("nobody's")) as api:
        main: Any = client.CoreV1Api(api)
        with pytest.raises(client.ApiException) as refused:
            await main.list_namespaced_pod(PROD)
        assert (refused.value.status, status(refused.value)["reason"]) == (401, "Unauthorized")


async def test_a_watch_from_too_long_ago_is_gone(served: Served) -> None:
    async with client.ApiClient(await served.configuration()) as api:
        main: Any = client.CoreV1Api(api)
        version = (await main.list_namespaced_pod(PROD)).metadata.resource_version
        served.kubernetes.store.compact()
        with pytest.raises(client.ApiException) as refused:
            await main.list_namespaced_pod(PROD, watch=True, resource_version=version, timeout_seconds=2)
        assert (refused.value.status, status(refused.value)["reason"]) == (410, "Expired")


async def test_logs_tell_of_the_incident(served: Served) -> None:
    world = served.kubernetes.world
    world.set_load(2.6, "xr-engine")
    world.set_env("xr-engine", {"EXPERIMENTAL_FEATURES": "true"})
    async with client.ApiClient(await served.configuration()) as api:
        main: Any = client.CoreV1Api(api)
        await served.until(lambda: world.figures("xr-engine").errors > 0.03)
        begin = world.at
        await served.until(lambda: world.at > begin + 60_000)
        pod = next(pod for pod in world.pods("xr-engine") if pod.is_ready(world.at))
        text = await main.read_namespaced_pod_log(pod.name, PROD, tail_lines=40)
        assert len(text.splitlines()) == 40
        assert {line.split()[0] for line in text.splitlines()} >= {"ERROR", "WARN"}
        recent = await main.read_namespaced_pod_log(pod.name, PROD, since_seconds=30, timestamps=True)
        stamps = [datetime.fromisoformat(line.split()[0][:26] + "+00:00") for line in recent.splitlines()]
        assert stamps == sorted(stamps)
        assert (datetime.fromtimestamp(world.at / 1000, UTC) - stamps[0]).total_seconds() < 120


async def test_a_log_is_followed_until_the_pod_ends(served: Served) -> None:
    pod = served.kubernetes.world.pods("tamv-core")[0].name
    async with client.ApiClient(await served.configuration()) as api:
        main: Any = client.CoreV1Api(api)
        answer = await main.read_namespaced_pod_log_without_preload_content(pod, PROD, follow=True, tail_lines=1)
        lines = [await asyncio.wait_for(answer.content.readline(), DEADLINE) for _ in range(5)]
        assert all(lines)
        await main.delete_namespaced_pod(pod, PROD)
        async with deadline(DEADLINE):
            while await answer.content.readline():
                pass


async def dumped(served: Served, command: list[str]) -> tuple[str, int, Any]:
    """SHA-256 and size of what a command writes, and the status at its end."""
    digest, size, ended = hashlib.sha256(), 0, None
    pod = served.kubernetes.world.pods("tamv-core")[0].name
    async with WsApiClient(await served.configuration()) as sockets:  # type: ignore[no-untyped-call]
        main: Any = client.CoreV1Api(sockets)
        opened = await main.connect_get_namespaced_pod_exec_without_preload_content(
            pod, PROD, command=command, stdout=True, stderr=True, stdin=False, tty=False
        )
        async with opened as socket:
            async for message in socket:
                if message.data[0] == 1:
                    digest.update(message.data[1:])
                    size += len(message.data) - 1
                elif message.data[0] == 3:
                    ended = json.loads(message.data[1:])
    return digest.hexdigest(), size, ended


async def test_a_dump_comes_byte_for_byte(served: Served) -> None:
    served.kubernetes.programs.dump = Dump(size=3_000_001)
    digest, size, ended = await dumped(served, ["sh", "-c", 'exec pg_dump -Fc "$DATABASE_URL"'])
    whole = served.kubernetes.programs.dump.whole()
    assert whole.startswith(b"PGDMP")
    assert (digest, size, ended["status"]) == (hashlib.sha256(whole).hexdigest(), 3_000_001, "Success")


async def test_a_dump_that_breaks_off_says_so(served: Served) -> None:
    served.kubernetes.programs.dump = Dump(size=3_000_000, fail_at=1_000_000)
    _, size, ended = await dumped(served, ["pg_dump"])
    assert (size, ended["reason"], ended["details"]["causes"][0]["message"]) == (1_000_000, "NonZeroExitCode", "1")


async def test_a_job_fails_as_it_is_scripted(served: Served) -> None:
    failing = Behaviour(start=2, run=10, exit_code=3, log=("INFO checking", "ERROR index damaged"))
    served.kubernetes.behaviours.set("*/db-maintenance:*", failing)
    async with client.ApiClient(await served.configuration()) as api:
        batch: Any = client.BatchV1Api(api)
        main: Any = client.CoreV1Api(api)
        planned = await batch.read_namespaced_cron_job("db-maintenance", PROD)
        body = client.V1Job(metadata=client.V1ObjectMeta(name="check"), spec=planned.spec.job_template.spec)
        await batch.create_namespaced_job(PROD, body)

        def failed() -> bool:
            found = served.kubernetes.store.get(JOB, PROD, "check")
            return found is not None and is_true(found, "Failed")

        await served.until(failed)
        found = await batch.read_namespaced_job("check", PROD)
        assert {one.reason for one in found.status.conditions} == {"BackoffLimitExceeded"}
        pod = (await main.list_namespaced_pod(PROD, label_selector="job-name=check")).items[0]
        assert pod.status.container_statuses[0].state.terminated.exit_code == 3
        text = await main.read_namespaced_pod_log(pod.metadata.name, PROD)
        assert text == "INFO checking\nERROR index damaged\n"


async def test_a_rollout_that_does_not_come_on_exceeds_its_deadline(served: Served) -> None:
    served.kubernetes.behaviours.set("*/tamv-core:v9", Behaviour(fault="ImagePullBackOff"))

    def reason() -> str:
        found = served.kubernetes.store.get(DEPLOYMENT, PROD, "tamv-core")
        assert found is not None
        return next(str(one["reason"]) for one in found["status"]["conditions"] if one["type"] == "Progressing")

    async with client.ApiClient(await served.configuration()) as api:
        apps: Any = client.AppsV1Api(api)
        container = {"name": "tamv-core", "image": "registry.tamv.world/tamv-core:v9"}
        spec = {"progressDeadlineSeconds": 120, "template": {"spec": {"containers": [container]}}}
        await apps.patch_namespaced_deployment(
            "tamv-core", PROD, {"spec": spec}, _content_type="application/strategic-merge-patch+json"
        )
        await served.until(lambda: reason() == "ProgressDeadlineExceeded")
        found = await apps.read_namespaced_deployment("tamv-core", PROD)
        assert found.status.available_replicas == 3, "maxUnavailable of 25 % of four"


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("30 3 * * 0", "2026-03-08T03:30"),
        ("*/15 * * * *", "2026-03-02T12:15"),
        ("0 0 1 * *", "2026-04-01T00:00"),
        ("0 9 13 * fri", "2026-03-06T09:00"),
        ("@daily", "2026-03-03T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("5-7,59 12 * * *", "2026-03-02T12:05"),
    ],
)
def test_cron_schedules(schedule: str, due: str) -> None:
    after = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
    assert Schedule(schedule).next_after(after) == datetime.fromisoformat(f"{due}:00+00:00")


def test_a_cron_job_is_due_by_the_clocks_of_its_time_zone(kubernetes: Kubernetes, clock: HandClock) -> None:
    found = kubernetes.store.get(CRON_JOB, PROD, "db-maintenance")
    assert found
    at = (clock.now() + timedelta(days=1)).astimezone(ZoneInfo("Asia/Kolkata")).replace(hour=3, minute=30)
    spec = {"schedule": f"30 3 {at.day} {at.month} *", "timeZone": "Asia/Kolkata", "suspend": False}
    kubernetes.writer.update(CRON_JOB, found, lambda one: one["spec"].update(spec))
    due = at.astimezone(UTC).replace(second=0, microsecond=0)
    assert (due.hour, due.minute) == (22, 0)
    for moment, count in ((due - timedelta(seconds=30), 0), (due + timedelta(seconds=30), 1)):
        clock.forward((moment - clock.now()).total_seconds())
        kubernetes.advance()
        names = [job["metadata"]["name"] for job in kubernetes.store.all(JOB, PROD)]
        assert names.count(f"db-maintenance-{int(due.timestamp()) // 60}") == count


@pytest.mark.parametrize("schedule", ["", "* * * *", "61 * * * *", "a * * * *", "5-2 * * * *"])
def test_what_is_no_cron_schedule(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Schedule(schedule)
