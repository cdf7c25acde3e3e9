"""What helm does to a cluster: releases, their history, and what is left when it is stopped on the way."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.programs import Program

CHART = str(Path(__file__).with_name("chart"))
DEADLINE = 30.0


def history(helm: Program) -> list[tuple[int, str]]:
    return [(one["revision"], one["status"]) for one in helm.json("history", "web")]


def tag(kubectl: Program) -> str:
    spec = kubectl.json("get", "deployment", "web")["spec"]["template"]["spec"]
    return str(spec["containers"][0]["image"]).rpartition(":")[2]


def until(seen: Callable[[], Any]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + DEADLINE
    while not seen():
        assert time.monotonic() < end, "it never came about"


def upgrading(helm: Program, *more: str) -> subprocess.Popen[bytes]:
    """An upgrade that is on its way, and cannot come to its end."""
    process = helm.start("upgrade", "web", CHART, "--set", "tag=broken", "--wait", "--timeout=60s", *more)
    until(lambda: history(helm)[-1] == (2, "pending-upgrade"))
    return process


async def test_a_release_is_installed_upgraded_and_rolled_back(
    cluster: Cluster, helm: Program, kubectl: Program
) -> None:
    helm("install", "web", CHART, "--wait", "--timeout=30s")
    assert kubectl.json("get", "deployment", "web")["status"]["availableReplicas"] == 2
    helm("upgrade", "web", CHART, "--set", "tag=2,replicas=3", "--wait", "--timeout=30s")
    assert (tag(kubectl), kubectl.json("get", "configmap", "web")["data"]) == ("2", {"tag": "2"})
    helm("rollback", "web", "1", "--wait", "--timeout=30s")
    assert (tag(kubectl), kubectl.json("get", "deployment", "web")["spec"]["replicas"]) == ("1", 2)
    assert history(helm) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    status = helm.json("status", "web")
    assert (status["version"], status["info"]["status"], status["info"]["description"]) == (
        3,
        "deployed",
        "Rollback to 1",
    )
    assert [(one["name"], one["chart"]) for one in helm.json("list")] == [("web", "web-1.0.0")]
    helm("uninstall", "web", "--wait", "--timeout=30s")
    assert kubectl.json("get", "deployments,configmaps", "-l", "app.kubernetes.io/managed-by=Helm")["items"] == []


async def test_a_dry_run_of_the_server_renders_and_changes_nothing(
    cluster: Cluster, helm: Program, kubectl: Program
) -> None:
    helm("install", "web", CHART)
    shown = helm.json("upgrade", "web", CHART, "--set", "tag=2", "--dry-run=server")
    assert "registry.example/web:2" in shown["manifest"]
    assert (tag(kubectl), history(helm)) == ("1", [(1, "deployed")])


async def test_killed_on_its_way_it_leaves_a_pending_revision(
    cluster: Cluster, helm: Program, kubectl: Program
) -> None:
    helm("install", "web", CHART, "--wait", "--timeout=30s")
    process = upgrading(helm)
    process.kill()
    process.wait()
    assert history(helm)[-1] == (2, "pending-upgrade")
    refused = helm.run("upgrade", "web", CHART, "--set", "tag=3")
    assert "another operation (install/upgrade/rollback) is in progress" in refused.stderr
    helm("rollback", "web", "1", "--wait", "--timeout=30s")
    assert (history(helm)[-1], tag(kubectl)) == ((3, "deployed"), "1")
    helm("upgrade", "web", CHART, "--set", "tag=3", "--wait", "--timeout=30s")


async def test_asked_to_stop_it_leaves_a_failed_revision(cluster: Cluster, helm: Program, kubectl: Program) -> None:
    helm("install", "web", CHART, "--wait", "--timeout=30s")
    process = upgrading(helm)
    until(lambda: tag(kubectl) == "broken")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) != 0
    until(lambda: history(helm)[-1] == (2, "failed"))
    helm("upgrade", "web", CHART, "--set", "tag=3", "--wait", "--timeout=30s")
    assert history(helm)[-2:] == [(2, "failed"), (3, "deployed")]


async def test_what_somebody_else_has_changed_is_a_conflict(cluster: Cluster, helm: Program, kubectl: Program) -> None:
    helm("install", "web", CHART)
    kubectl("scale", "deployment", "web", "--replicas=5")
    refused = helm.run("upgrade", "web", CHART, "--set", "tag=2")
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in refused.stderr
    assert kubectl.json("get", "deployment", "web")["spec"]["replicas"] == 5
    helm("upgrade", "web", CHART, "--set", "tag=2", "--force-conflicts")
    assert (tag(kubectl), kubectl.json("get", "deployment", "web")["spec"]["replicas"]) == ("2", 2)
