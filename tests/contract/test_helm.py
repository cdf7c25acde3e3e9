"""The bot's helm against the sandbox's cluster, by the real program: rehearsed, done, cut off, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.domain.errors import BotError, NotFound, Refused, Unavailable
from bot.integrations.effects import dry_run
from bot.integrations.helm import Helm, rollback_candidates
from bot.integrations.kubernetes.kubernetes import Kubernetes
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.kubernetes import charts
from sandbox.kubernetes.backend import Kubernetes as Backend
from sandbox.kubernetes.containers import Behaviour
from sandbox.server import Sandbox
from sandbox.world.services import SERVICES
from tests.real import helm as real

PROD = "tamv-prod"
CORE = "tamv-core"


@dataclass
class World:
    backend: Backend
    sandbox: Sandbox
    helm: Helm
    kubeconfig: str
    chart: str

    def versions(self) -> set[str]:
        deployment = self.backend.world.deployments[CORE]
        return {pod.template.version for pod in deployment.ready(self.backend.world.at)}

    async def statuses(self) -> list[str]:
        return [one.status for one in await self.helm.history(CORE, PROD)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    program = str(await asyncio.to_thread(real.helm))
    sandbox = Sandbox(clock=Clock(speed=100))
    service = next(one for one in SERVICES if one.name == CORE)
    chart = charts.write(service, service.replicas, tmp_path, f"{CORE}-secrets")
    async with sandbox.serving() as url:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        helm = Helm(str(kubeconfig), program)
        yield World(sandbox.kubernetes, sandbox, helm, str(kubeconfig), str(chart))


async def test_the_history_of_a_release_has_the_revision_to_go_back_to(world: World) -> None:
    history = await world.helm.history(CORE, PROD)
    assert [(one.number, one.status, one.app_version) for one in history] == [
        (1, "superseded", "v2.3.0"),
        (2, "superseded", "v2.3.1"),
        (3, "failed", "v2.4.0-rc1"),
        (4, "deployed", "v2.4.0"),
    ]  # fmt: skip
    assert rollback_candidates(history)[0].number == 2
    assert (await world.helm.values(CORE, PROD, 2))["image"]["tag"] == "v2.3.1"
    assert await world.helm.values(CORE, PROD) == {"image": {"tag": "v2.4.0"}}


async def test_an_upgrade_is_shown_then_done_and_taken_back(world: World) -> None:
    with dry_run() as recorder:
        await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v2.4.1"}, "R-1")
    (shown,) = recorder.effects
    assert "image: registry.tamv.world/tamv-core:v2.4.0" in shown.diff
    assert "registry.tamv.world/tamv-core:v2.4.1" in shown.diff
    assert len(await world.helm.history(CORE, PROD)) == 4
    await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v2.4.1"}, "R-1")
    assert world.versions() == {"v2.4.1"}
    assert (await world.helm.history(CORE, PROD))[-1].description == "R-1"
    with dry_run() as recorder:
        await world.helm.rollback(CORE, PROD, 4)
    assert "registry.tamv.world/tamv-core:v2.4.0" in recorder.effects[0].diff
    assert world.versions() == {"v2.4.1"}
    await world.helm.rollback(CORE, PROD, 4)
    assert world.versions() == {"v2.4.0"}


async def test_a_rollback_goes_over_what_the_bot_itself_has_scaled(world: World) -> None:
    async with Kubernetes(world.kubeconfig) as kubernetes:
        await kubernetes.workloads.scale(CORE, PROD, 7, 4)
        await world.helm.rollback(CORE, PROD, 2)
        assert await kubernetes.workloads.replicas(CORE, PROD) == 4
    assert world.versions() == {"v2.3.1"}


async def test_an_upgrade_goes_over_what_was_changed_by_hand(world: World) -> None:
    async with Kubernetes(world.kubeconfig) as kubernetes:
        await kubernetes.workloads.scale(CORE, PROD, 7, 4)
        await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v2.4.1"}, "R-1")
        assert await kubernetes.workloads.replicas(CORE, PROD) == 4
    assert (await world.statuses())[-1] == "deployed" and world.versions() == {"v2.4.1"}


async def test_an_upgrade_that_does_not_come_up_is_rolled_back(world: World) -> None:
    world.backend.behaviours.set("*:v9", Behaviour(fault="ImagePullBackOff"))
    with pytest.raises(Refused):
        await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v9"}, "R-1", wait=3)
    assert (await world.statuses())[-2:] == ["failed", "deployed"]
    deployment = world.backend.world.deployments[CORE]
    assert deployment.template.version == "v2.4.0"


JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  backoffLimit: 0
  template:
    spec: {restartPolicy: Never, containers: [{name: migrate, image: registry.example/migrate:1}]}
"""


async def test_an_upgrade_whose_job_fails_is_none_and_is_rolled_back(world: World) -> None:
    (Path(world.chart) / "templates" / "job.yaml").write_text(JOB)
    world.backend.behaviours.set("*/migrate:*", Behaviour(start=1, run=1, exit_code=1))
    with pytest.raises(Refused) as refused:
        await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v2.4.1"}, "R-1", wait=20)
    assert "migrate" in str(refused.value.facts["why"])
    assert (await world.statuses())[-2:] == ["failed", "deployed"]


async def test_what_takes_too_long_is_asked_to_end_so_that_it_can_be_mended(world: World) -> None:
    world.backend.behaviours.set("*:v9", Behaviour(fault="ImagePullBackOff"))
    upgrade = world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v9"}, "R-1", wait=60)
    task = asyncio.ensure_future(upgrade)
    async with deadline(20):
        while (await world.statuses())[-1] != "pending-upgrade":  # noqa: ASYNC110 - helm tells nobody
            await asyncio.sleep(0.05)
    with pytest.raises(Refused) as refused:
        await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v3"}, "R-2")
    assert refused.value.key == "release_pending"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "pending" not in (await world.statuses())[-1]
    await world.helm.upgrade(CORE, PROD, world.chart, {"image.tag": "v2.4.2"}, "R-3")
    assert world.versions() == {"v2.4.2"}


async def test_what_is_not_there_is_said(world: World) -> None:
    with pytest.raises(NotFound) as missing:
        await world.helm.history("nothing", PROD)
    assert missing.value.key == "release_not_found"
    with pytest.raises(Refused) as refused:
        await Helm(world.kubeconfig, "/nowhere/helm").version()
    assert refused.value.key == "helm_missing"


async def test_a_cluster_that_does_not_answer_is_unavailable(world: World) -> None:
    world.sandbox.faults.add("kubernetes", "hang", "*/secrets*", times=None, seconds=20.0)
    slow = Helm(world.kubeconfig, str(await asyncio.to_thread(real.helm)), timeout=1.0)
    with pytest.raises(Unavailable) as problem:
        await slow.history(CORE, PROD)
    assert problem.value.key == "timed_out"


def program(folder: Path, *script: str) -> str:
    """A program that does what the lines say."""
    path = folder / "helm"
    path.write_text("\n".join([*script, ""]))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("command", "said", "key", "is_outage"),
    [
        ("history", 'Error: kubernetes cluster unreachable: Get "https://k:6443/version": EOF', "unreachable", True),
        ("history", 'Error: Get "https://k:6443/api": dial tcp 10.0.0.1:6443: i/o timeout', "unreachable", True),
        ("upgrade", 'Error: kubernetes cluster unreachable: Get "https://k:6443/version": EOF', "unreachable", True),
        ("upgrade", "Error: parse error at (web/templates/a.yaml:3): unexpected EOF", "helm_refused", False),
        (
            "upgrade",
            'Error: UPGRADE FAILED: Internal error occurred: failed calling webhook "v.kyverno.svc": failed to call '
            'webhook: Post "https://kyverno.svc:443/validate": dial tcp 10.96.0.7:443: connect: connection refused',
            "helm_refused",
            False,
        ),
        ("upgrade", 'Error: path "charts/web" not found', "helm_refused", False),
        ("upgrade", "Error: UPGRADE FAILED: no such host is allowed by policy", "helm_refused", False),
        ("history", "Error: release: not found", "release_not_found", False),
        (
            "upgrade",
            "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
            "release_pending",
            False,
        ),
    ],
)
async def test_an_outage_is_told_apart_by_where_the_error_comes_from(
    tmp_path: Path, command: str, said: str, key: str, is_outage: bool
) -> None:
    script = [
        "#!/bin/sh",
        "case $1 in version) echo v4.3.1; exit;; esac",
        "cat >&2 <<'END'",
        "WARNING: x",
        said,
        "more",
        "END",
    ]
    helm = Helm(None, program(tmp_path, *script, "exit 1"))
    with pytest.raises(BotError) as problem:
        await (helm.history("web", "prod") if command == "history" else helm.upgrade("web", "prod", "c", {}, "R-1"))
    assert (problem.value.key, isinstance(problem.value, Unavailable)) == (key, is_outage)
    assert problem.value.facts["why"] == f"{said.removeprefix('Error: ')}\nmore", "Helm's own words, whole"


async def test_a_helm_that_is_too_old_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    old = program(tmp_path, "#!/bin/sh", f"echo $* >> {tmp_path}/called", "echo v3.11.2+g912ebc1")
    with pytest.raises(Refused) as refused:
        await Helm(None, old).upgrade("web", "prod", "c", {}, "R-1")
    assert (refused.value.key, refused.value.facts["oldest"]) == ("helm_too_old", "3.14")
    assert "upgrade" not in (tmp_path / "called").read_text()
