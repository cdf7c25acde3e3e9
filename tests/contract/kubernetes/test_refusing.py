"""What the API refuses, with which code and which words: the bot passes them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.workloads import deployment

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

Told = tuple[int, str, str]  # the code, the reason and a part of the message


async def refused(
    cluster: Cluster, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str
) -> Told:
    status, told, _ = await cluster.ask(method, path, query, body, content_type=kind)
    return status, told.get("reason", ""), told["message"]


def container(**parts: Any) -> dict[str, Any]:
    return {"name": "app", "image": "registry.example/web:1", **parts}


def with_containers(*containers: dict[str, Any]) -> dict[str, Any]:
    made = deployment()
    made["spec"]["template"]["spec"]["containers"] = list(containers)
    return made


def job(restart: str | None) -> dict[str, Any]:
    policy = {} if restart is None else {"restartPolicy": restart}
    template = {"spec": {"containers": [container()], **policy}}
    return {"metadata": {"name": "work"}, "spec": {"template": template}}


def cron_job(schedule: str) -> dict[str, Any]:
    return {"metadata": {"name": "work"}, "spec": {"schedule": schedule, "jobTemplate": {"spec": job("Never")["spec"]}}}


@pytest.mark.parametrize(
    ("resource", "body", "told"),
    [
        ("api/v1 configmaps", {"metadata": {"name": "Bad_Name"}}, (422, "Invalid", "a lowercase RFC 1123 subdomain")),
        ("api/v1 configmaps", {"metadata": {"name": "a", "labels": {"x": "y" * 64}}}, (422, "Invalid", "more than 63")),
        ("api/v1 configmaps", {"metadata": {"name": "a"}, "data": {"b c": ""}}, (422, "Invalid", "a valid config key")),
        ("api/v1 configmaps", {"metadata": {"name": "a", "resourceVersion": "1"}}, (500, "", "should not be set")),
        ("api/v1 secrets", {"metadata": {"name": "a"}, "data": {"a": "*"}}, (400, "BadRequest", "illegal base64 data")),
        ("apis/batch/v1 jobs", job(None), (422, "Invalid", "restartPolicy: Required value: valid values:")),
        ("apis/batch/v1 cronjobs", cron_job("nope"), (422, "Invalid", "expected exactly 5 fields, found 1: [nope]")),
        ("apis/apps/v1 deployments", with_containers(container(image="")), (422, "Invalid", "image: Required value")),
        ("apis/apps/v1 deployments", with_containers(container(), container()), (422, "Invalid", "Duplicate value")),
        (
            "apis/apps/v1 deployments",
            with_containers(container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            (422, "Invalid", "must be less than or equal to cpu limit of 1"),
        ),
        (
            "apis/policy/v1 poddisruptionbudgets",
            {"metadata": {"name": "a"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}},
            (422, "Invalid", "minAvailable and maxUnavailable cannot be both set"),
        ),
    ],
)  # fmt: skip
async def test_what_may_not_be_created(cluster: Cluster, resource: str, body: Any, told: Told) -> None:
    group, plural = resource.split()
    code, reason, message = await refused(cluster, "POST", f"/{group}/namespaces/{cluster.namespace}/{plural}", body)
    assert ((code, reason), told[2] in message) == (told[:2], True), message


async def test_a_namespace_that_is_not_there_takes_nothing(cluster: Cluster) -> None:
    told = await refused(cluster, "POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}})
    assert told == (404, "NotFound", 'namespaces "nowhere" not found')


@pytest.mark.parametrize(
    ("path", "body", "kind", "told"),
    [
        ("/web/scale", {"spec": {"replicas": -1}}, MERGE, (422, "Invalid", 'Scale.autoscaling "web" is invalid')),
        ("/web", [{"op": "test", "path": "/spec/replicas", "value": 9}], JSON_PATCH, (422, "Invalid", "in our")),
        ("/web", [{"op": "mend", "path": "/spec"}], JSON_PATCH, (422, "Invalid", "in our")),
        ("/web", {"spec": {"replica": 1}}, APPLY, (500, "", ".spec.replica: field not declared in schema")),
        ("/web", {"spec": {"replicas": "many"}}, APPLY, (500, "", ".spec.replicas: expected numeric")),
        ("", {}, MERGE, (405, "MethodNotAllowed", "the server does not allow this method")),
    ],
)  # fmt: skip
async def test_what_may_not_be_patched(cluster: Cluster, path: str, body: Any, kind: str, told: Told) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    if kind == APPLY:
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, **body}
    place = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments{path}"
    code, reason, message = await refused(cluster, "PATCH", place, body, kind, fieldManager="somebody")
    assert ((code, reason), told[2] in message) == (told[:2], True), message


async def test_a_field_selector_names_what_can_be_selected(cluster: Cluster) -> None:
    place: Callable[[str], str] = f"/api/v1/namespaces/{cluster.namespace}/{{}}".format
    told = await refused(cluster, "GET", place("configmaps"), fieldSelector="data.a=b")
    assert told[:2] == (400, "BadRequest")
    assert told[2].startswith('"data.a" is not a known field selector')
    told = await refused(cluster, "GET", place("pods"), fieldSelector="spec.nope=b")
    assert told == (400, "BadRequest", "field label not supported: spec.nope")


async def test_a_job_that_is_deleted_leaves_its_pods_when_nobody_says_otherwise(cluster: Cluster) -> None:
    place = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs"
    await cluster.ask("POST", place, body=job("Never"))

    async def pods() -> int:
        return len((await cluster.main.list_namespaced_pod(cluster.namespace, label_selector="job-name=work")).items)

    await cluster.until(pods, 1)
    _, _, headers = await cluster.ask("DELETE", f"{place}/work")
    assert "child pods are preserved by default when jobs are deleted" in headers["Warning"]

    async def jobs() -> int:
        return len((await cluster.batch.list_namespaced_job(cluster.namespace)).items)

    await cluster.until(jobs, 0)
    assert await pods() == 1


async def test_the_objects_of_a_list_leave_their_kind_to_it(cluster: Cluster) -> None:
    await cluster.main.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "a"}})
    found = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/configmaps")
    assert (found["kind"], {"kind", "apiVersion"} & found["items"][0].keys()) == ("ConfigMapList", set())
