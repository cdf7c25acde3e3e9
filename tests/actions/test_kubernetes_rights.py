"""The roles in deploy/kubernetes give what the actions ask a cluster for, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.actions.catalogue import ACTIONS
from bot.domain.policy import Risk
from bot.integrations.aws import Aws, clients
from bot.integrations.helm import Helm
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.kubernetes.objects import PLURALS
from bot.integrations.kubernetes.rights import CHANGES, FLUX, needed, needed_by
from bot.integrations.prometheus import Prometheus
from bot.store.migrate import upgrade
from sandbox.aws import KEY_ID, REGION, SECRET_KEY
from sandbox.clock import Clock
from sandbox.kubernetes import charts
from sandbox.kubernetes.access import Account, Rule
from sandbox.kubernetes.resources.basic import NETWORK_POLICY
from sandbox.kubernetes.resources.daemon_sets import DAEMON_SET
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.server import Sandbox
from sandbox.world.scenario import GitOps
from sandbox.world.services import NAMESPACE, SERVICES
from tests.harness.actor import ROOT, Actor, parts
from tests.real import helm

ACCESS = ROOT / "deploy" / "kubernetes" / "access"
TOKEN, NAME = "token-of-the-bot", "tamv-bot"
CORE, XR, GPU = "tamv-core", "xr-engine", "gpu-node-2"
SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: isabella-ai}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: isabella-ai}
  minReplicas: 3
  maxReplicas: 5
"""
BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: tamv-core}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: tamv-core, track: stable}}
"""
# What the sandbox does not ask for and a cluster may.
ELSEWHERE = {
    ("get", "", "pods/exec"),  # before 1.35, instead of create
    ("create", "", "services"),  # to apply what is not there yet
    ("create", "apps", "deployments"),
    ("list", "", "services"),  # where a watch cannot begin with what is there
    ("patch", "litmuschaos.io", "chaosengines"),  # to stop an experiment that goes on
    ("delete", "", "secrets"),  # of the eleventh revision back
    *(("get", group, resource) for group, resource in FLUX),  # where Flux is used: test_flux
    *((verb, "argoproj.io", "rollouts") for verb in ("get", "list", "patch")),  # where Argo Rollouts is used
    ("patch", "argoproj.io", "rollouts/scale"),
}
# In their order; what can be undone is.
DONE: list[tuple[str, dict[str, Any]]] = [
    ("kubernetes.pods", {"service": CORE}),
    ("kubernetes.top_pods", {"service": CORE}),
    ("kubernetes.top_nodes", {}),
    ("kubernetes.logs", {"service": CORE}),
    ("kubernetes.exec", {"service": CORE, "program": "disk"}),
    ("kubernetes.curl", {"service": CORE, "request": "health"}),
    ("kubernetes.events", {"service": CORE}),
    ("kubernetes.describe", {"kind": "deployment", "name": CORE}),
    ("kubernetes.describe", {"kind": "node", "name": GPU}),
    ("kubernetes.rollout_status", {"deployment": CORE}),
    ("litmus.run", {"manifest": "chaos.yaml", "service": XR, "board": "latency_p95"}),
    ("kubernetes.scale", {"deployment": CORE, "replicas": 5}),
    ("kubernetes.set_env", {"deployment": CORE, "variables": {"EXPERIMENTAL_FEATURES": "false"}}),
    ("kubernetes.set_node_selector", {"deployment": CORE, "selector": {"kubernetes.io/os": "linux"}}),
    ("kubernetes.restart", {"deployment": CORE}),
    ("kubernetes.rollout_undo", {"deployment": CORE}),
    ("kubernetes.scale", {"deployment": "statefulset/ledger", "replicas": 2, "namespace": NAMESPACE}),
    ("kubernetes.restart", {"deployment": "ledger", "namespace": NAMESPACE}),
    ("kubernetes.rollout_undo", {"deployment": "ledger", "namespace": NAMESPACE}),
    ("kubernetes.restart", {"deployment": "agent", "namespace": NAMESPACE}),
    ("kubernetes.describe", {"kind": "daemonset", "name": "agent", "namespace": NAMESPACE}),
    ("kubernetes.run_job", {"cron_job": "db-maintenance"}),
    ("kubernetes.run_job", {"manifest": "jobs/smoke-test.yaml"}),
    ("kubernetes.run_batches", {"manifest": "jobs/smoke-test.yaml"}),
    ("kubernetes.refresh_external_secret", {"secret": "tamv-core-secrets"}),
    ("kubernetes.exec_dump", {"backups": "database", "service": CORE}),
    ("kubernetes.apply", {"manifest": "policy.yaml"}),
    ("kubernetes.apply", {"manifest": "scaler.yaml"}),
    ("kubernetes.apply", {"manifest": "budget.yaml"}),
    ("kubernetes.delete", {"manifest": "scaler.yaml"}),
    ("kubernetes.delete", {"manifest": "budget.yaml"}),
    ("kubernetes.delete", {"manifest": "policy.yaml"}),
    ("kubernetes.cordon", {"node": GPU}),
    ("kubernetes.drain", {"node": GPU}),
    ("kubernetes.uncordon", {"node": GPU}),
    ("argocd.pause_sync", {"deployment": "blockchain-msr"}),
    ("kubernetes.shut_down", {}),
    ("helm.status", {"release": CORE}),
    ("helm.upgrade", {"release": CORE, "tag": "v2.4.1"}),
    ("helm.canary", {"release": CORE, "tag": "v2.4.2"}),
    ("helm.rollback", {"release": CORE}),
]


def _workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    pod = {"containers": [{"name": name, "image": f"registry.example/{name}:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


@dataclass
class Place:
    actor: Actor
    account: Account


def rules() -> list[Rule]:
    """The roles as rules of the sandbox's cluster: those of services in their namespaces, those of nodes anywhere,
    those of Argo CD and Flux in their own.
    """
    bound = [one for one in _documents("services.yaml") if one["kind"] == "RoleBinding"]
    namespaces = [one["metadata"]["namespace"] for one in bound]
    return [
        Rule(rule["verbs"], rule["resources"], rule["apiGroups"], where)
        for file, where in (
            ("services.yaml", namespaces),
            ("nodes.yaml", ["*"]),
            ("argocd.yaml", ["argocd"]),
            ("flux.yaml", ["flux-system"]),
        )
        for document in _documents(file)
        for rule in document.get("rules", ())
    ]


def _documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ACCESS / file).read_text("utf-8")))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    program = str(await asyncio.to_thread(helm.helm))
    upgrade(f"sqlite:///{tmp_path / 'bot.db'}")
    sandbox = Sandbox(clock=Clock(speed=200))
    folder = tmp_path / "manifests"
    (folder / "jobs").mkdir(parents=True)
    (folder / "scaler.yaml").write_text(SCALER)
    (folder / "budget.yaml").write_text(BUDGET)
    copied = {"policy": "drills/block-s3", "jobs/smoke-test": "jobs/smoke-test", "chaos": "chaos/pod-delete"}
    for name, shipped in ((f"{name}.yaml", f"{shipped}.yaml") for name, shipped in copied.items()):
        (folder / name).write_text((ROOT / "teams/tamv/manifests" / shipped).read_text("utf-8"))
    core = next(one for one in SERVICES if one.name == CORE)
    charts.write(core, core.replicas, tmp_path / "charts", f"{CORE}-secrets")
    async with sandbox.serving() as url:
        there = {**yaml.safe_load((folder / "policy.yaml").read_text("utf-8")), "spec": {"podSelector": {}}}
        there["metadata"]["namespace"] = NAMESPACE
        sandbox.kubernetes.writer.create(NETWORK_POLICY, there)
        sandbox.kubernetes.writer.create(STATEFUL_SET, _workload("StatefulSet", "ledger", serviceName="ledger"))
        sandbox.world.act([GitOps(do="gitops", service="blockchain-msr")])
        sandbox.kubernetes.writer.create(DAEMON_SET, _workload("DaemonSet", "agent"))
        sandbox.kubernetes.cluster.settle()
        account = sandbox.kubernetes.accounts.add(TOKEN, NAME, rules())
        config = tmp_path / "kubeconfig"
        config.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes", TOKEN))
        said = tmp_path / "kubeconfig-of-helm"  # which sends no token over plain HTTP, but says who it is
        said.write_text(config.read_text().replace("user: {token", f"user: {{as: {NAME}, token"))
        aws = Aws(clients(REGION, f"{url}/aws/", (KEY_ID, SECRET_KEY)))
        async with Kubernetes(str(config)) as kubernetes:
            made = parts(
                tmp_path, sandbox.clock, kubernetes=kubernetes, aws=aws, helm=Helm(str(said), program),
                prometheus=Prometheus(f"{url}/prometheus"),
            )  # fmt: skip
            service = made.team.services[CORE].model_copy(update={"chart": str(tmp_path / "charts" / CORE)})
            changed = {
                "manifests": str(folder),
                "services": {**made.team.services, CORE: service},
                "schedules": made.team.schedules.model_copy(update={"maintenance": {}}),
            }
            team = made.team.model_copy(update=changed)
            yield Place(Actor(replace(made, team=team)), account)


async def test_the_roles_are_exactly_what_the_actions_need(place: Place) -> None:
    asked: set[tuple[str, str, str]] = set()
    for number, (name, given) in enumerate(DONE):
        place.account.used.clear()
        key = f"R-{number}/a"
        await place.actor.rehearse(name, key, **given)
        done = await place.actor.perform(name, key, **given)
        if ACTIONS.get(name).undo is not None and name != "kubernetes.uncordon":
            await place.actor.undo(name, done, f"{key}/undo")
        used = {(verb, group, resource) for verb, group, resource, where in place.account.used if where == NAMESPACE}
        of_nodes = {("create", "", "pods/eviction")}
        assert used - of_nodes <= flat(needed_by([name])), name
        asked |= {(verb, group, resource) for verb, group, resource, _ in place.account.used}
    place.account.used.clear()
    await read_for_causes(place.actor)
    asked |= {(verb, group, resource) for verb, group, resource, _ in place.account.used}
    assert asked == named() - ELSEWHERE


async def read_for_causes(actor: Actor) -> None:
    """What `/why` reads of the cluster."""
    kubernetes = actor.deps.kubernetes
    assert kubernetes
    since = datetime.now(UTC) - timedelta(hours=1)
    nodes = await kubernetes.history.nodes()
    await kubernetes.history.of_workload(CORE, CORE, NAMESPACE, since, nodes)
    await kubernetes.history.configuration("ConfigMap", CORE, CORE, NAMESPACE)
    assert await kubernetes.history.policies(NAMESPACE)
    await kubernetes.history.jobs_of_cron(NAMESPACE)


def flat(rights: Mapping[tuple[str, str], Iterable[str]]) -> set[tuple[str, str, str]]:
    return {(verb, group, resource) for (group, resource), verbs in rights.items() for verb in verbs}


def named() -> set[tuple[str, str, str]]:
    """What the roles say: verb, group, resource. Where it holds is tried by the actions themselves."""
    return {
        (verb, group, resource)
        for rule in rules()
        for verb in rule.verbs
        for group in rule.groups
        for resource in rule.resources
    }


def test_the_doctor_asks_for_what_the_roles_grant() -> None:
    asked = {(right.verb, right.group, right.resource) for right in needed([NAMESPACE])}
    optional = [one for one in named() if one[1] in ("argoproj.io", "litmuschaos.io") or one[1].endswith(".fluxcd.io")]
    assert asked == named() - set(optional)
    everywhere = needed([NAMESPACE, "other"], ["applications", "rollouts"], "gitops", [NAMESPACE], flux=True)
    assert {right.namespace for right in everywhere if right.group == "litmuschaos.io"} == {NAMESPACE}
    assert {(right.verb, right.group, right.resource) for right in everywhere} == named()
    assert {right.namespace for right in everywhere if right.resource == "applications"} == {"gitops"}


def test_every_action_that_changes_a_cluster_is_among_those_that_need_more_than_reading() -> None:
    those = ("kubernetes.", "helm.", "bluegreen.", "litmus.")
    changing = {one.name for one in ACTIONS.all() if one.name.startswith(those) and one.risk is not Risk.READ}
    nodes = {"kubernetes.cordon", "kubernetes.drain", "kubernetes.uncordon"}
    assert changing - nodes <= set(CHANGES) <= {one.name for one in ACTIONS.all()}


def test_every_action_on_the_cluster_is_tried() -> None:
    those = {one.name for one in ACTIONS.all() if one.name.startswith(("kubernetes.", "helm.", "argocd.", "litmus."))}
    assert those - {name for name, _ in DONE} <= {"helm.history", "helm.promote"}, "both as helm.status and helm.canary"


def test_what_a_manifest_may_hold_is_what_the_role_names() -> None:
    for kind, plural in PLURALS.items():
        group = kind.partition("/")[0]
        verbs = {verb for verb, of, resource in named() if (of, resource) == (group, plural)}
        assert verbs >= {"get", "create", "update", "patch", "delete"}, kind


def test_nobody_gets_more_by_a_wildcard() -> None:
    assert not [rule for rule in rules() if "*" in {*rule.verbs, *rule.resources, *rule.groups}]
    bound = [
        *_documents("services.yaml"),
        *_documents("nodes.yaml"),
        *_documents("argocd.yaml"),
        *_documents("flux.yaml"),
    ]
    subjects = [one["subjects"] for one in bound if "subjects" in one]
    assert all(one == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}] for one in subjects)
