"""TAMV's cluster on a real control plane: what the sandbox's has, created by kubectl, and the releases by real Helm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.clock import Clock
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.resources.autoscaling import AUTOSCALER
from sandbox.kubernetes.resources.basic import NAMESPACE, SERVICE_ACCOUNT
from sandbox.kubernetes.resources.batch import CRON_JOB
from sandbox.kubernetes.resources.daemon_sets import DAEMON_SET
from sandbox.kubernetes.resources.litmus import CHAOS_EXPERIMENT
from sandbox.kubernetes.resources.policy import DISRUPTION_BUDGET
from sandbox.kubernetes.seed import write_charts
from sandbox.world.services import GPU_NODES, NODE_TYPE, SERVICES
from sandbox.world.world import World
from tests.contract.kubernetes.programs import Program
from tests.real import helm as real

BESIDES = (NAMESPACE, CRON_JOB, DAEMON_SET, DISRUPTION_BUDGET, AUTOSCALER, SERVICE_ACCOUNT, CHAOS_EXPERIMENT)
PRODUCTION = "tamv-prod"
NODE_TYPES = {f"node-{number}": node.type for number, node in enumerate(GPU_NODES, 1)}  # as fakelet names its nodes
EARLIER = {"xr-engine": "v4.0.3"}  # what a release ran before its chart's own version, to have something to go back to
KEPT = ("name", "namespace", "labels", "annotations")


def furnish(kubeconfig: Path, folder: Path) -> None:
    """Put production into an empty cluster of as many nodes; its releases are out when this returns."""
    kubectl = Program(real.kubectl(), kubeconfig, PRODUCTION, folder)
    helm = Program(real.helm(), kubeconfig, PRODUCTION, folder)
    for namespace in ("default", "kube-system", PRODUCTION):
        objects = {"apiVersion": "v1", "kind": "List", "items": _besides(namespace)}
        there = Program(real.kubectl(), kubeconfig, namespace, folder)
        there("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(objects))
    for node, type in NODE_TYPES.items():
        kubectl("label", "node", node, f"{NODE_TYPE}={type}")
    write_charts(folder / "charts")
    for service in SERVICES:
        chart = str(folder / "charts" / service.name)
        if service.name in EARLIER:
            helm("install", service.name, chart, "--set", f"image.tag={EARLIER[service.name]}")
        helm("upgrade", "--install", service.name, chart, "--set", f"image.tag={service.version}")
    for service in SERVICES:
        kubectl("rollout", "status", f"deployment/{service.name}", "--timeout=60s")


def _besides(namespace: str) -> list[dict[str, Any]]:
    """What the sandbox's cluster has in a namespace besides releases, as somebody would have written it down.

    What belongs to no namespace is counted to `default`.
    """
    store = Kubernetes(World(Clock())).store
    found = [(kind, one) for kind in BESIDES for one in store.all(kind)]
    return [_written(kind, one) for kind, one in found if one["metadata"].get("namespace", "default") == namespace]


def _written(kind: Kind, found: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in found["metadata"].items() if name in KEPT}
    rest = {name: value for name, value in found.items() if name not in ("metadata", "status")}
    return {**rest, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
