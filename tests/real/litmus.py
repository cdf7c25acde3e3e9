"""Litmus beside a real control plane: its resource definitions, and a stand-in for its operator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from kubernetes.aio import client

GROUP, VERSION = "litmuschaos.io", "v1alpha1"
KINDS = {"chaosengines": "ChaosEngine", "chaosexperiments": "ChaosExperiment", "chaosresults": "ChaosResult"}
ENGINES, RESULTS = "chaosengines", "chaosresults"
MERGE = "application/merge-patch+json"
Object = dict[str, Any]


def definition(plural: str, kind: str) -> Object:
    """The definition of one of Litmus' resources; of its fields only `engineState` has a type."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec: Object = dict(anything)
    if kind == "ChaosEngine":
        spec["properties"] = {"engineState": {"type": "string", "enum": ["active", "stop"]}}
        spec["required"] = ["engineState", "experiments", "chaosServiceAccount"]
    schema = {"type": "object", "properties": {"spec": spec, "status": anything}}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


async def install(api: client.ApiClient) -> None:
    """Create Litmus' resource definitions, and wait until the API server serves them."""
    definitions: Any = client.ApiextensionsV1Api(api)
    for plural, kind in KINDS.items():
        await definitions.create_custom_resource_definition(definition(plural, kind))
    custom: Any = client.CustomObjectsApi(api)
    for plural in KINDS:
        while True:
            with contextlib.suppress(client.ApiException):
                await custom.list_cluster_custom_object(GROUP, VERSION, plural)
                break
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def operator(api: client.ApiClient, namespace: str, speed: float = 1.0) -> AsyncIterator[None]:
    """Play Litmus' operator and the experiment pod-delete in a namespace until the block ends, so many times faster."""
    task = asyncio.create_task(_operate(api, namespace, speed))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _operate(api: client.ApiClient, namespace: str, speed: float) -> None:
    custom: Any = client.CustomObjectsApi(api)
    began: dict[str, float] = {}
    while True:
        for engine in (await custom.list_namespaced_custom_object(GROUP, VERSION, namespace, ENGINES))["items"]:
            await _reconcile(api, namespace, engine, began, speed)
        await asyncio.sleep(0.1)


async def _reconcile(
    api: client.ApiClient, namespace: str, engine: Object, began: dict[str, float], speed: float
) -> None:
    name, now = engine["metadata"]["name"], asyncio.get_running_loop().time() * speed
    (experiment,) = engine["spec"]["experiments"]
    state = (engine.get("status") or {}).get("engineStatus")
    environment = {one["name"]: one["value"] for one in experiment["spec"]["components"]["env"]}
    if state in ("completed", "stopped"):
        return
    if engine["spec"]["engineState"] == "stop":
        await _say(api, namespace, engine, "stopped", "Stopped")
    elif state is None:
        began[name] = now
        await _say(api, namespace, engine, "initialized", "Awaited")
        main: Any = client.CoreV1Api(api)
        target = engine["spec"]["appinfo"]
        pods = (await main.list_namespaced_pod(target["appns"], label_selector=target["applabel"])).items
        await main.delete_namespaced_pod(pods[0].metadata.name, target["appns"], grace_period_seconds=0)
    elif now - began[name] >= float(environment["TOTAL_CHAOS_DURATION"]):
        await _say(api, namespace, engine, "completed", "Pass")


async def _say(api: client.ApiClient, namespace: str, engine: Object, state: str, verdict: str) -> None:
    custom: Any = client.CustomObjectsApi(api)
    (experiment,) = engine["spec"]["experiments"]
    name = f"{engine['metadata']['name']}-{experiment['name']}"
    how = {"Pass": "Passed", "Awaited": "Awaited"}.get(verdict, "N/A")
    probes = [
        {"name": one["name"], "type": one["type"], "mode": one["mode"], "status": {"verdict": how}}
        for one in experiment["spec"].get("probe", ())
    ]
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ChaosResult",
        "metadata": {"name": name},
        "spec": {"engine": engine["metadata"]["name"], "experiment": experiment["name"]},
    }
    with contextlib.suppress(client.ApiException):  # it is there
        await custom.create_namespaced_custom_object(GROUP, VERSION, namespace, RESULTS, body)
    test = {"phase": "Running" if verdict == "Awaited" else "Completed", "verdict": verdict}
    said = {"status": {"experimentStatus": test, "probeStatuses": probes}}
    await custom.patch_namespaced_custom_object_status(
        GROUP, VERSION, namespace, RESULTS, name, said, _content_type=MERGE
    )
    await custom.patch_namespaced_custom_object_status(
        GROUP, VERSION, namespace, ENGINES, engine["metadata"]["name"],
        {"status": {"engineStatus": state, "experiments": []}}, _content_type=MERGE,
    )  # fmt: skip
