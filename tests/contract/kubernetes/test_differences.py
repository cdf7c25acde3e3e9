"""What docs/sandbox.md says that stays different from the real API server: each row is so, on both sides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import ROOT
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment, rolled_out

POD = {"metadata": {"name": "it"}, "spec": {"containers": [{"name": "a", "image": "registry.example/a:1"}]}}
SCALER = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    "minReplicas": 3,
    "maxReplicas": 2,
}
Object = dict[str, Any]


def at(cluster: Cluster, rest: str) -> str:
    return f"/api/v1/namespaces/{cluster.namespace}/{rest}"


def at_apps(cluster: Cluster, rest: str) -> str:
    return f"/apis/apps/v1/namespaces/{cluster.namespace}/{rest}"


async def code(cluster: Cluster, method: str, path: str, body: Any = None, **more: Any) -> int:
    return (await cluster.answer(method, path, body=body, **more))[0]


async def made(cluster: Cluster, path: str, body: Any) -> Object:
    status, answer, _ = await cluster.ask("POST", path, body=body)
    assert status == 201, answer
    return dict(answer)


async def wording(cluster: Cluster) -> tuple[int, bool]:
    """The code, and whether the message is Go's of a number that cannot be parsed."""
    status, answer, _ = await cluster.ask("GET", at(cluster, "pods"), {"limit": "many"})
    return status, "strconv.ParseInt" in answer["message"]


async def watched_from_nowhere(cluster: Cluster) -> int:
    return await code(cluster, "GET", at(cluster, "pods"), query={"watch": "1", "resourceVersion": "x"})


async def negative_tail(cluster: Cluster) -> bool:
    """Whether it is refused."""
    await made(cluster, at(cluster, "pods"), POD)
    return await code(cluster, "GET", at(cluster, "pods/it/log"), query={"tailLines": "-1"}) == 422


async def managed_structures(cluster: Cluster) -> bool:
    """Whether a share has a `.` at each structure: the template's metadata, which is none of its own."""
    found = await made(cluster, at_apps(cluster, "deployments"), deployment())
    (share,) = found["metadata"]["managedFields"]
    return "." in share["fieldsV1"]["f:spec"]["f:template"]["f:metadata"]


async def new_status(cluster: Cluster) -> bool:
    return "status" in await made(cluster, at_apps(cluster, "deployments"), deployment())


async def tolerations(cluster: Cluster) -> bool:
    return "tolerations" in (await made(cluster, at(cluster, "pods"), POD))["spec"]


async def changed_in_place(cluster: Cluster) -> int:
    await made(cluster, at(cluster, "pods"), POD)
    body = {"spec": {"containers": [{"name": "a", "env": [{"name": "NEW", "value": "1"}]}]}}
    kind = "application/strategic-merge-patch+json"
    return await code(cluster, "PATCH", at(cluster, "pods/it"), body, content_type=kind)


async def nonsense_taken(cluster: Cluster) -> list[int]:
    scalers = f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers"
    service, scaler = {"metadata": {"name": "it"}, "spec": {}}, {"metadata": {"name": "it"}, "spec": SCALER}
    return [
        await code(cluster, "POST", at(cluster, "services"), service),
        await code(cluster, "POST", scalers, scaler),
    ]


async def deleted_in_the_foreground(cluster: Cluster) -> str:
    """The kind of the answer."""
    await made(cluster, at_apps(cluster, "deployments"), deployment())
    await rolled_out(cluster)
    path, query = at_apps(cluster, "deployments/web"), {"propagationPolicy": "Foreground"}
    return str((await cluster.ask("DELETE", path, query))[1]["kind"])


async def generation(cluster: Cluster) -> bool:
    namespace = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}")
    return "generation" in namespace["metadata"]


async def described_columns(cluster: Cluster) -> bool:
    """Whether a column says more than its name."""
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    columns = (await cluster.get(at(cluster, "pods"), accept=table))["columnDefinitions"]
    return any(len(column["description"]) > len(column["name"]) for column in columns)


async def attach(cluster: Cluster) -> list[int]:
    """The codes of attaching to a pod that is there without an upgrade of the connection, and of OpenAPI v2."""
    await made(cluster, at(cluster, "pods"), POD)
    return [
        await code(cluster, "GET", at(cluster, "pods/it/attach")),
        await code(cluster, "GET", "/openapi/v2"),
    ]


async def quota_refuses(cluster: Cluster) -> int:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await made(cluster, at(cluster, "resourcequotas"), quota)

    async def is_counted() -> bool:
        return bool((await cluster.get(at(cluster, "resourcequotas/none"))).get("status", {}).get("hard"))

    await cluster.until(is_counted, True)
    return await code(cluster, "POST", at(cluster, "pods"), POD)


Observed = Callable[[Cluster], Awaitable[Any]]
# By the beginning of the row: what is looked at, and what the sandbox and the real one answer.
ROWS: dict[str, tuple[Observed, Any, Any]] = {
    "the wording of what cannot be parsed": (wording, (400, False), (400, True)),
    "a `resourceVersion` of a watch": (watched_from_nowhere, 400, 500),
    "`tailLines` below 0": (negative_tail, False, True),
    "`managedFields`": (managed_structures, True, False),
    "a new object has no `status`": (new_status, False, True),
    "pods have no `tolerations`": (tolerations, False, True),
    "a pod's spec may be changed in place": (changed_in_place, 200, 422),
    "a Service without ports": (nonsense_taken, [201, 201], [422, 422]),
    "deletion in the foreground": (deleted_in_the_foreground, "Status", "Deployment"),
    "some kinds have a `generation`": (generation, True, False),
    "the descriptions of a table's columns": (described_columns, False, True),
    "`attach` and `portforward`": (attach, [404, 404], [400, 200]),
    "quotas count and refuse nothing": (quota_refuses, 201, 403),
}
NOT_HELD = {"the order of a deployment's conditions": "it changes with the moment on both"}


def test_each_difference_of_the_document_is_held_or_says_why_not() -> None:
    _, _, section = (ROOT / "docs" / "sandbox.md").read_text("utf-8").partition("## What stays different")
    rows = [row.removeprefix("| ") for row in section.partition("\n## ")[0].splitlines() if row.startswith("| ")]
    held = [*ROWS, *NOT_HELD]
    for row in rows[1:]:
        assert sum(row.startswith(beginning) for beginning in held) == 1, row
    assert len(rows) - 1 == len(held)


@pytest.mark.parametrize("row", ROWS)
async def test_what_is_said_to_differ_does(cluster: Cluster, sandbox_kubeconfig: Path, row: str) -> None:
    observed, sandbox, real = ROWS[row]
    assert await observed(cluster) == (sandbox if cluster.kubeconfig == sandbox_kubeconfig else real)
