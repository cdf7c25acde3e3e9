"""Every way to write an object: the kinds of patch, versions, who manages a field, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes.aio import client

from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment, rolled_out

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


async def made(cluster: Cluster) -> Any:
    return await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())


async def patched(cluster: Cluster, body: Any, kind: str | None = None, **more: Any) -> Any:
    how = {"_content_type": kind} if kind else {}
    return await cluster.apps.patch_namespaced_deployment("web", cluster.namespace, body, **how, **more)


def said(refused: client.ApiException) -> Any:
    """The Status that the API has sent."""
    return json.loads(str(refused.body))


def containers(found: Any) -> list[str]:
    return [one.name for one in found.spec.template.spec.containers]


def app(**parts: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", **parts}]}}}}


async def test_a_strategic_patch_knows_the_elements_of_lists(cluster: Cluster) -> None:
    await made(cluster)
    found = await patched(cluster, app(image="registry.example/web:2"), STRATEGIC)
    assert containers(found) == ["app", "side"]
    gone = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    assert containers(await patched(cluster, gone, STRATEGIC)) == ["app"]
    emptied = await patched(cluster, app(env=[{"$patch": "replace"}, {"name": "ONLY", "value": "1"}]), STRATEGIC)
    assert [one.name for one in emptied.spec.template.spec.containers[0].env] == ["ONLY"]


async def test_a_strategic_patch_puts_what_is_new_first_and_apply_puts_it_last(cluster: Cluster) -> None:
    await made(cluster)

    def variables(found: Any) -> list[str]:
        return [one.name for one in found.spec.template.spec.containers[0].env]

    def of(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "value": "1"} for name in names]

    assert variables(await patched(cluster, app(env=of("NEW")), STRATEGIC)) == ["NEW", "MODE"]
    assert variables(await patched(cluster, app(env=of("MODE", "LATER")), STRATEGIC)) == ["NEW", "MODE", "LATER"]
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    applied = await patched(cluster, {**body, **app(env=of("APPLIED"))}, APPLY, field_manager="x")
    assert variables(applied) == ["NEW", "MODE", "LATER", "APPLIED"]
    other = await patched(cluster, {**body, **app(env=of("OTHER"))}, APPLY, field_manager="x")
    assert variables(other) == ["NEW", "MODE", "LATER", "OTHER"]


async def test_a_merge_patch_replaces_lists_and_null_takes_away(cluster: Cluster) -> None:
    await made(cluster)
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"node-type": "general"}}}}}
    assert (await patched(cluster, selector, MERGE)).spec.template.spec.node_selector == {"node-type": "general"}
    none = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
    assert (await patched(cluster, none, MERGE)).spec.template.spec.node_selector is None
    assert containers(await patched(cluster, app(image="registry.example/web:2"), MERGE)) == ["app"]


async def test_a_json_patch_is_done_as_a_whole_or_not_at_all(cluster: Cluster) -> None:
    await made(cluster)
    found = await patched(
        cluster,
        [
            {"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "replace", "path": "/spec/replicas", "value": 3},
            {"op": "add", "path": "/metadata/labels/team~1name", "value": "a"},
            {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "NEW", "value": "1"}},
            {"op": "remove", "path": "/spec/template/spec/containers/1"},
        ],
    )
    assert (found.spec.replicas, found.metadata.labels["team/name"], containers(found)) == (3, "a", ["app"])
    assert [one.name for one in found.spec.template.spec.containers[0].env] == ["MODE", "NEW"]
    with pytest.raises(client.ApiException) as refused:
        await patched(
            cluster,
            [
                {"op": "replace", "path": "/spec/replicas", "value": 9},
                {"op": "test", "path": "/spec/paused", "value": 1},
            ],
        )
    assert refused.value.status == 422
    now = await cluster.apps.read_namespaced_deployment("web", cluster.namespace)
    assert now.spec.replicas == 3


async def test_an_old_version_is_a_conflict(cluster: Cluster) -> None:
    body = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    first = await cluster.main.create_namespaced_config_map(cluster.namespace, body)
    first.data = {"a": "2"}
    second = await cluster.main.replace_namespaced_config_map("one", cluster.namespace, first)
    assert second.metadata.resource_version != first.metadata.resource_version
    with pytest.raises(client.ApiException) as stale:
        await cluster.main.replace_namespaced_config_map("one", cluster.namespace, first)
    assert (stale.value.status, said(stale.value)["reason"]) == (409, "Conflict")
    with pytest.raises(client.ApiException) as twice:
        await cluster.main.create_namespaced_config_map(cluster.namespace, body)
    assert (twice.value.status, said(twice.value)["reason"]) == (409, "AlreadyExists")


async def test_what_changes_nothing_gets_no_new_version(cluster: Cluster) -> None:
    body = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    first = await cluster.main.create_namespaced_config_map(cluster.namespace, body)
    again = await cluster.main.patch_namespaced_config_map("one", cluster.namespace, {"data": {"a": "1"}})
    assert again.metadata.resource_version == first.metadata.resource_version


async def test_a_name_is_made_up_when_asked_for(cluster: Cluster) -> None:
    body = {"metadata": {"generateName": "run-"}}
    first = await cluster.main.create_namespaced_config_map(cluster.namespace, body)
    second = await cluster.main.create_namespaced_config_map(cluster.namespace, body)
    assert first.metadata.name.startswith("run-")
    assert first.metadata.name != second.metadata.name


async def test_server_side_apply_takes_back_what_its_owner_leaves_out(cluster: Cluster) -> None:
    async def apply(manager: str, data: dict[str, str], **more: Any) -> Any:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}
        return await cluster.main.patch_namespaced_config_map(
            "one", cluster.namespace, body, field_manager=manager, _content_type=APPLY, **more
        )

    assert (await apply("first", {"a": "1", "b": "1"})).data == {"a": "1", "b": "1"}
    assert (await apply("second", {"b": "1", "c": "1"})).data == {"a": "1", "b": "1", "c": "1"}
    with pytest.raises(client.ApiException) as refused:
        await apply("second", {"b": "2", "c": "1"})
    status = said(refused.value)
    assert (refused.value.status, status["details"]["causes"]) == (
        409,
        [{"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.b"}],
    )
    assert (await apply("first", {"a": "1"})).data == {"a": "1", "b": "1", "c": "1"}, "b is still the second's"
    assert (await apply("second", {"c": "2"})).data == {"a": "1", "c": "2"}
    assert (await apply("third", {"a": "3"}, force=True)).data == {"a": "3", "c": "2"}
    assert (await apply("third", {}, dry_run="All")).data == {"c": "2"}
    shown = await apply("first", {})
    assert shown.data == {"a": "3", "c": "2"}
    assert {one.manager for one in shown.metadata.managed_fields} >= {"second", "third"}


async def test_a_write_of_another_kind_takes_the_field(cluster: Cluster) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    apply = {"field_manager": "first", "_content_type": APPLY}
    await cluster.main.patch_namespaced_config_map("one", cluster.namespace, body, **apply)
    await cluster.main.patch_namespaced_config_map(
        "one", cluster.namespace, {"data": {"a": "2"}}, field_manager="hand", _content_type=MERGE
    )
    with pytest.raises(client.ApiException) as refused:
        await cluster.main.patch_namespaced_config_map("one", cluster.namespace, body, **apply)
    assert 'conflict with "hand" using v1: .data.a' in said(refused.value)["message"]


@pytest.mark.parametrize("how", ["create", "patch", "apply", "delete", "scale"])
async def test_a_dry_run_of_every_write_leaves_no_trace(cluster: Cluster, how: str) -> None:
    await made(cluster)
    apps, where, dry = cluster.apps, cluster.namespace, {"dry_run": "All"}
    match how:
        case "create":
            shown = await apps.create_namespaced_deployment(where, deployment("other"), **dry)
            assert shown.metadata.uid
        case "patch":
            shown = await patched(cluster, {"spec": {"replicas": 9}}, **dry)
            assert shown.spec.replicas == 9
        case "apply":
            body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 9}}
            shown = await patched(cluster, body, APPLY, field_manager="bot", force=True, **dry)
            assert shown.spec.replicas == 9
        case "delete":
            await apps.delete_namespaced_deployment("web", where, **dry)
        case _:
            await apps.patch_namespaced_deployment_scale("web", where, {"spec": {"replicas": 9}}, **dry)
    found = (await apps.list_namespaced_deployment(where)).items
    assert [(one.metadata.name, one.spec.replicas, one.metadata.generation) for one in found] == [("web", 2, 1)]


async def test_unknown_fields_are_warned_of_or_refused(cluster: Cluster) -> None:
    wrong = {**deployment(), "spec": {**deployment()["spec"], "replica": 3}}
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments"
    status, told, _ = await cluster.ask("POST", path, {"fieldValidation": "Strict"}, wrong)
    assert (status, told["reason"]) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.replica"' in told["message"]
    status, told, headers = await cluster.ask("POST", path, {"fieldValidation": "Warn"}, wrong)
    assert (status, "replica" in told["spec"]) == (201, False)
    assert headers["Warning"] == '299 - "unknown field \\"spec.replica\\""'


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"spec": {"replicas": -1}}, 422, "must be greater than or equal to 0"),
        (
            {"spec": {"replicas": "many"}},
            422,
            "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas",
        ),
        ({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, 422, "spec.selector"),
        ({"metadata": {"name": "other"}}, 400, "does not match"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    cluster: Cluster, change: dict[str, Any], status: int, reason: str
) -> None:
    await made(cluster)
    with pytest.raises(client.ApiException) as refused:
        await patched(cluster, change, MERGE)
    assert (refused.value.status, reason in str(refused.value.body)) == (status, True), refused.value.body


async def test_what_is_owned_goes_with_its_owner(cluster: Cluster) -> None:
    await made(cluster)
    await rolled_out(cluster)
    await cluster.apps.delete_namespaced_deployment("web", cluster.namespace)

    async def left() -> int:
        sets = (await cluster.apps.list_namespaced_replica_set(cluster.namespace)).items
        return len(sets) + len((await cluster.main.list_namespaced_pod(cluster.namespace)).items)

    await cluster.until(lambda: left(), 0)


@pytest.mark.parametrize(
    ("plural", "kind", "spec"),
    [
        ("services", "Service", {"spec": {"ports": [{"port": 80}]}}),
        ("serviceaccounts", "ServiceAccount", {}),
        ("resourcequotas", "ResourceQuota", {"spec": {"hard": {"pods": "3"}}}),
        ("configmaps", "Status", {}),
        ("secrets", "Status", {}),
    ],
)
async def test_a_deletion_is_answered_by_the_object_or_by_a_status(
    cluster: Cluster, plural: str, kind: str, spec: dict[str, Any]
) -> None:
    path = f"/api/v1/namespaces/{cluster.namespace}/{plural}"
    made, _, _ = await cluster.ask("POST", path, body={"metadata": {"name": "it"}, **spec})
    status, answer, _ = await cluster.ask("DELETE", f"{path}/it")
    assert (made, status, answer["kind"]) == (201, 200, kind)
