"""Lists, selectors, pages, tables and watches of the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kubernetes.aio import client, watch

from tests.contract.kubernetes.conftest import Cluster

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def config_map(cluster: Cluster, name: str, **labels: str) -> Any:
    body = {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}
    return await cluster.main.create_namespaced_config_map(cluster.namespace, body)


async def names(cluster: Cluster, **chosen: Any) -> list[str]:
    found = await cluster.main.list_namespaced_config_map(cluster.namespace, **chosen)
    return [one.metadata.name for one in found.items if one.metadata.name != "kube-root-ca.crt"]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("tier=front", ["a", "b"]),
        ("tier==front,track!=canary", ["a"]),
        ("tier in (front, back)", ["a", "b", "c"]),
        ("tier notin (front)", ["c", "d"]),
        ("tier", ["a", "b", "c"]),
        ("!tier", ["d"]),
        ("track=canary,tier in (back)", []),
    ],
)
async def test_label_selectors(cluster: Cluster, selector: str, found: list[str]) -> None:
    await config_map(cluster, "a", tier="front")
    await config_map(cluster, "b", tier="front", track="canary")
    await config_map(cluster, "c", tier="back")
    await config_map(cluster, "d")
    kept = f"{selector},app!=nothing" if selector else selector
    assert await names(cluster, label_selector=kept) == found


async def test_field_selectors(cluster: Cluster) -> None:
    await config_map(cluster, "a")
    await config_map(cluster, "b")
    assert await names(cluster, field_selector="metadata.name=b") == ["b"]
    assert await names(cluster, field_selector="metadata.name!=b") == ["a"]


async def test_a_selector_that_cannot_be_read_is_refused(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as refused:
        await names(cluster, label_selector="a in (b")
    assert refused.value.status == 400


async def test_a_long_list_comes_in_pages(cluster: Cluster) -> None:
    for name in ("a", "b", "c"):
        await config_map(cluster, name, page="1")
    first = await cluster.main.list_namespaced_config_map(cluster.namespace, label_selector="page", limit=2)
    assert [one.metadata.name for one in first.items] == ["a", "b"]
    rest = await cluster.main.list_namespaced_config_map(
        cluster.namespace, label_selector="page", limit=2, _continue=first.metadata._continue
    )
    assert [one.metadata.name for one in rest.items] == ["c"]
    assert not rest.metadata._continue


async def test_a_list_can_be_a_table(cluster: Cluster) -> None:
    await config_map(cluster, "a", table="1")
    path = f"/api/v1/namespaces/{cluster.namespace}/configmaps"
    table = await cluster.get(path, {"labelSelector": "table"}, accept=TABLE)
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][:2] for row in table["rows"]] == [["a", 1]]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_a_watch_tells_what_happens_after_a_version(cluster: Cluster) -> None:
    await config_map(cluster, "before", seen="1")
    version = (await cluster.main.list_namespaced_config_map(cluster.namespace)).metadata.resource_version
    told: list[tuple[str, str]] = []

    async def look() -> None:
        async with watch.Watch() as changes:  # type: ignore[no-untyped-call]
            async for event in changes.stream(
                cluster.main.list_namespaced_config_map,
                cluster.namespace,
                label_selector="seen=1",
                resource_version=version,
                timeout_seconds=20,
            ):
                told.append((event["type"], event["object"].metadata.name))
                if told[-1] == ("DELETED", "last"):
                    return

    looking = asyncio.create_task(look())
    await config_map(cluster, "other")
    await config_map(cluster, "new", seen="1")
    change = {"metadata": {"labels": {"seen": "2"}}}
    await cluster.main.patch_namespaced_config_map("new", cluster.namespace, change)
    await config_map(cluster, "last", seen="1")
    await cluster.main.patch_namespaced_config_map("last", cluster.namespace, {"data": {"a": "2"}})
    await cluster.main.delete_namespaced_config_map("last", cluster.namespace)
    await asyncio.wait_for(looking, 20)
    assert told == [
        ("ADDED", "new"), ("DELETED", "new"), ("ADDED", "last"), ("MODIFIED", "last"), ("DELETED", "last"),
    ]  # fmt: skip


async def test_a_watch_without_a_version_begins_with_what_is_there(cluster: Cluster) -> None:
    await config_map(cluster, "one", seen="1")
    async with watch.Watch() as changes:  # type: ignore[no-untyped-call]
        found = [
            (event["type"], event["object"].metadata.name)
            async for event in changes.stream(
                cluster.main.list_namespaced_config_map, cluster.namespace, label_selector="seen", timeout_seconds=1
            )
        ]
    assert found == [("ADDED", "one")]


async def test_what_can_be_done_is_discovered(cluster: Cluster) -> None:
    groups = await cluster.get("/apis")
    assert {"apps", "batch", "policy", "autoscaling"} <= {group["name"] for group in groups["groups"]}
    resources = await cluster.get("/apis/apps/v1")
    found = {one["name"]: one for one in resources["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments/scale"]["kind"] == "Scale"
    version = await cluster.get("/version")
    assert int(version["minor"].rstrip("+")) >= 30
