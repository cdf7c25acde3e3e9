"""The nodes of the cluster: four general ones, and the world's GPU nodes."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sandbox.kubernetes.objects import Object, timestamp
from sandbox.world.services import NODE_TYPE, GpuNode

GENERAL = tuple(f"node-{number}" for number in (1, 2, 3, 4))
GPU_TAINT = "nvidia.com/gpu"
CAPACITY = {"cpu": "16", "memory": "65536Mi", "ephemeral-storage": "200Gi", "pods": "110"}


def general_node(name: str, now: datetime) -> Object:
    return _node(name, {NODE_TYPE: "general"}, [], CAPACITY, now)


def gpu_node(node: GpuNode, now: datetime) -> Object:
    """A node with one GPU, for pods that tolerate its taint."""
    memory = "131072Mi" if "high-memory" in node.type else "65536Mi"
    taints = [{"key": GPU_TAINT, "value": "present", "effect": "NoSchedule"}]
    return _node(node.name, {NODE_TYPE: node.type}, taints, {**CAPACITY, "memory": memory, GPU_TAINT: "1"}, now)


def conditions(ready: bool, now: datetime) -> list[Object]:
    """A node's conditions; one that is not ready has stopped to answer."""
    at = timestamp(now)
    told = (
        {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
        if ready
        else {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    )
    pressure = [
        {"type": f"{what}Pressure", "status": "False", "reason": f"KubeletHasNo{what}Pressure",
         "message": "", "lastHeartbeatTime": at, "lastTransitionTime": at}
        for what in ("Memory", "Disk", "PID")
    ]  # fmt: skip
    return [*pressure, {"type": "Ready", **told, "lastHeartbeatTime": at, "lastTransitionTime": at}]


def _node(name: str, labels: dict[str, str], taints: list[Object], capacity: dict[str, str], now: datetime) -> Object:
    number = hashlib.sha256(name.encode()).digest()
    address = f"10.0.{number[0] % 8}.{number[1] % 250 + 2}"
    own = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "metadata": {"name": name, "labels": {**own, **labels}},
        "spec": {"providerID": f"sandbox:///{name}", **({"taints": taints} if taints else {})},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions(True, now),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": "v1.37.1",
                "kubeProxyVersion": "v1.37.1",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "kernelVersion": "6.1.0-28-amd64",
                "containerRuntimeVersion": "containerd://2.1.4",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": number.hex()[:32],
                "systemUUID": number.hex()[:32],
                "bootID": number.hex()[:32],
            },
        },
    }
