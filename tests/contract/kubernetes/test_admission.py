"""What only a real control plane does: admission, and credentials over TLS. The sandbox has neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client

from bot.domain.errors import BotError, Refused
from bot.integrations.helm import Helm
from bot.integrations.kubernetes.kubernetes import Kubernetes
from sandbox.deadline import deadline
from tests.contract.kubernetes.conftest import DEADLINE, Cluster
from tests.contract.kubernetes.workloads import deployment
from tests.real import helm as real

pytestmark = pytest.mark.real("kubernetes")

SCALING = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}


@pytest.fixture
def kubeconfig(real_kubeconfig: Path) -> Path:
    return real_kubeconfig


@pytest.fixture
async def bot(cluster: Cluster) -> AsyncIterator[Kubernetes]:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    async with Kubernetes(str(cluster.kubeconfig)) as kubernetes:
        yield kubernetes


async def refused_at_last(bot: Kubernetes, namespace: str) -> BotError:
    """What a scaling of `web` is refused with, once what refuses it is in force: a moment after it was made."""
    async with deadline(DEADLINE):
        while True:
            try:
                await bot.workloads.scale("web", namespace, 4, 2, dry_run=True)
            except BotError as refused:
                return refused
            await asyncio.sleep(0.2)


async def test_what_pod_security_warns_of_is_part_of_what_is_approved(cluster: Cluster, bot: Kubernetes) -> None:
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    await cluster.main.patch_namespace(cluster.namespace, {"metadata": {"labels": labels}})
    shown = ""
    async with deadline(DEADLINE):
        while "!  " not in shown:
            shown = await bot.workloads.set_env("web", cluster.namespace, "app", {"NEW": "1"}, dry_run=True) or ""
    assert shown.splitlines()[-1].startswith('!  would violate PodSecurity "restricted:latest"'), shown


async def test_a_policy_that_denies_is_named_with_its_own_words(cluster: Cluster, bot: Kubernetes) -> None:
    name = f"small-{cluster.namespace}"
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}}
    few = {"expression": "object.spec.replicas <= 3", "message": "no more than 3 replicas"}
    spec = {
        "matchConstraints": {"resourceRules": [SCALING], "namespaceSelector": only_here},
        "validations": [few],
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    api: Any = client.AdmissionregistrationV1Api(cluster.api)
    await api.create_validating_admission_policy({"metadata": {"name": name}, "spec": spec})
    await api.create_validating_admission_policy_binding(binding)
    try:
        refused = await refused_at_last(bot, cluster.namespace)
        assert (refused.key, refused.facts.get("by")) == ("admission_denied", name), refused.facts
        assert refused.facts["why"] == "no more than 3 replicas"
    finally:
        await api.delete_validating_admission_policy_binding(name)
        await api.delete_validating_admission_policy(name)


async def test_a_webhook_that_does_not_answer_is_named(cluster: Cluster, bot: Kubernetes) -> None:
    webhook = {
        "name": "scale.example.com",
        "rules": [SCALING],
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}},
    }
    api: Any = client.AdmissionregistrationV1Api(cluster.api)
    made = {"metadata": {"name": cluster.namespace}, "webhooks": [webhook]}
    await api.create_validating_webhook_configuration(made)
    try:
        silent = await refused_at_last(bot, cluster.namespace)
        assert (silent.key, silent.facts.get("by")) == ("webhook_silent", "scale.example.com"), silent.facts
    finally:
        await api.delete_validating_webhook_configuration(cluster.namespace)


async def test_a_namespace_that_ends_takes_no_job(cluster: Cluster, bot: Kubernetes) -> None:
    await cluster.main.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "holds", "finalizers": ["example.com/hold"]}}
    )
    await cluster.main.delete_namespace(cluster.namespace)
    pod = {"restartPolicy": "Never", "containers": [{"name": "check", "image": "registry.example/check:1"}]}
    try:
        with pytest.raises(Refused) as refused:
            await bot.jobs.start("check", cluster.namespace, {"spec": {"template": {"spec": pod}}})
        assert refused.value.key == "namespace_ends", refused.value.facts
    finally:
        free = [{"op": "remove", "path": "/metadata/finalizers"}]
        await cluster.main.patch_namespaced_config_map("holds", cluster.namespace, free)


async def test_credentials_that_are_none_are_no_outage_for_helm(cluster: Cluster, tmp_path: Path) -> None:
    content, program = yaml.safe_load(cluster.kubeconfig.read_text()), str(await asyncio.to_thread(real.helm))
    missing = {"command": "/nowhere/get-token", "interactiveMode": "Never"}
    plugin = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **missing}}
    for user in ({"token": "expired"}, plugin):
        content["users"][0]["user"] = user
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(Refused) as refused:
            await Helm(str(path), program).history("web", cluster.namespace)
        assert refused.value.key == "helm_no_access", refused.value.facts
