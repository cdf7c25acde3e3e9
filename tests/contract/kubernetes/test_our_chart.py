"""The product on a real control plane: its chart where `restricted` is enforced, what its account may do, `init`.

fakelet plays the nodes: the API server admits and the controllers count the pods, no container runs. In the test of the
replicas tests/real/kubelet.py runs them, as processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from bot.domain.timeline import Kind, first_broken_link
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.kubernetes.rights import Right, missing, needed
from bot.store.database import Database
from bot.store.store import Store
from bot.store.tables import assignments
from bot.team import load_team
from demo.environment import sandbox_settings
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from tests.architecture.tree import ROOT
from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.programs import Program
from tests.crash.outside import until
from tests.end_to_end.test_command_line import SCOPES
from tests.end_to_end.test_init import missed
from tests.harness.command_line import environment, run_tamv_bot, tamv_bot
from tests.real.kubelet import Kubelet, Pod
from tests.teams.test_acme import ACME, workload

pytestmark = pytest.mark.real("kubernetes")

CHART = str(ROOT / "deploy/helm/tamv-bot")
FILES = ("team.yaml", "runbooks/slow-ledger.yaml")
TEAM = [f"--set-file=team.files.{name.replace('.', chr(92) + '.')}={ACME / name}" for name in FILES]
WAIT = ("--wait", "--timeout=180s")
OF_THIS_MACHINE = {"PATH", "HOME", "LANG", "COLUMNS", "HOST", "PORT", "TEAM_DIR", "HELM", "LOG_FORMAT"}
SECRET = "TOKEN|SECRET|PRIVATE_KEY|ROUTING_KEY|DATABASE_URL"  # which the chart takes from a Secret only


def kind_of(group: str, plural: str, kind: str) -> dict[str, Any]:
    """A resource definition that takes everything, as the Prometheus operator's stands in a cluster that has it."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.fixture
def kubeconfig(real_kubeconfig: Path) -> Path:
    return real_kubeconfig


@pytest.fixture
def pay(cluster: Cluster, kubectl: Program) -> Iterator[str]:
    """The namespace of the team's services; the bot's own enforces `restricted`."""
    kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    kubectl("create", "secret", "generic", "tamv-bot", "--from-literal=SLACK_BOT_TOKEN=xoxb-of-a-test")
    name = f"{cluster.namespace}-pay"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@asynccontextmanager
async def account(kubectl: Program, folder: Path) -> AsyncIterator[Kubernetes]:
    """The bot's client, with the token that a pod of the release would have."""
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("create", "token", "acme").strip()}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    async with Kubernetes(str(folder / "kubeconfig")) as kubernetes:
        yield kubernetes


async def test_it_is_installed_tested_upgraded_and_rolled_back_where_restricted_is_enforced(
    cluster: Cluster, helm: Program, kubectl: Program, pay: str
) -> None:
    for plural, kind in (("servicemonitors", "ServiceMonitor"), ("prometheusrules", "PrometheusRule")):
        kubectl("apply", "-f", "-", text=json.dumps(kind_of("monitoring.coreos.com", plural, kind)))
        kubectl("wait", "--for=condition=established", "--timeout=20s", f"crd/{plural}.monitoring.coreos.com")
    everything = [f"access.namespaces={{{pay}}}", "access.nodes=true", "ingress.enabled=true", "rules.enabled=true",
                  "ingress.host=bot.example.org", "serviceMonitor.enabled=true", "dashboard.enabled=true",
                  "secretFiles=true"]  # fmt: skip
    flags = [*TEAM, *(f"--set={value}" for value in everything)]
    refused = kubectl.run("run", "x", "--image=x")
    assert refused.returncode != 0 and "violates PodSecurity" in refused.stderr, "it is enforced"

    helm("install", "acme", CHART, *flags, *WAIT)
    deployment = kubectl.json("get", "deployment", "acme")
    assert deployment["status"]["readyReplicas"] == 2

    async def healthy() -> int:
        return int(kubectl.json("get", "poddisruptionbudget", "acme")["status"].get("currentHealthy", 0))

    await cluster.until(healthy, 2)
    found = {one["kind"] for one in kubectl.json("get", "ingress,networkpolicy,servicemonitor,prometheusrule")["items"]}
    assert found == {"Ingress", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"}
    helm("test", "acme", "--timeout=180s")

    helm("upgrade", "acme", CHART, *flags, "--set=replicas=3", "--set=settings.LOCALE=en", *WAIT)
    newer = kubectl.json("get", "deployment", "acme")
    assert newer["status"]["readyReplicas"] == 3
    template = "checksum/settings"
    annotations = [one["spec"]["template"]["metadata"]["annotations"][template] for one in (deployment, newer)]
    assert annotations[0] != annotations[1], "new settings reach the pods"
    assert kubectl.json("get", "configmap", "acme")["data"]["LOCALE"] == "en"
    helm("rollback", "acme", "1", *WAIT)
    assert kubectl.json("get", "deployment", "acme")["spec"]["replicas"] == 2
    assert "LOCALE" not in kubectl.json("get", "configmap", "acme")["data"]
    helm("uninstall", "acme", *WAIT)
    ours = ["-l", "app.kubernetes.io/instance=acme"]
    assert kubectl.json("get", "deployments,configmaps,services,serviceaccounts", *ours)["items"] == []
    assert kubectl.json("get", "clusterroles,clusterrolebindings", *ours)["items"] == []
    assert kubectl.json("get", "rolebindings", "--namespace", pay)["items"] == []


async def test_its_policy_and_its_postgresql_are_taken_and_the_password_outlives_upgrades(
    cluster: Cluster, helm: Program, kubectl: Program, pay: str
) -> None:
    """fakelet has no volumes to give, so that the pod is admitted and waits for its own."""
    settings = ["PROMETHEUS_URL=http://prometheus.monitoring.svc:9090", "VAULT_ADDR=https://vault.example.org:8200"]
    flags = ["--set=postgresql.enabled=true", *(f"--set=settings.{one}" for one in settings)]

    def password() -> str:
        return str(kubectl.json("get", "secret", "acme-postgresql")["data"]["password"])

    async def admitted() -> bool:
        found = kubectl.json("get", "pods", "-l", "app.kubernetes.io/name=postgresql")["items"]
        return [one["metadata"]["name"] for one in found] == ["acme-postgresql-0"]

    helm("install", "acme", CHART, *TEAM, *flags)
    await cluster.until(admitted, True)
    claim = kubectl.json("get", "persistentvolumeclaim", "data-acme-postgresql-0")
    assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    policies = {one["metadata"]["name"]: one["spec"] for one in kubectl.json("get", "networkpolicies")["items"]}
    assert set(policies) == {"acme", "acme-postgresql"}
    to_the_world = policies["acme"]["egress"][1]
    assert [one["port"] for one in to_the_world["ports"]] == [443, 6443, 8200]
    assert to_the_world["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]

    made = password()
    helm("upgrade", "acme", CHART, "--reset-then-reuse-values", "--set=replicas=3")
    assert password() == made and kubectl.json("get", "deployment", "acme")["spec"]["replicas"] == 3
    helm("rollback", "acme", "1")
    assert password() == made
    helm("uninstall", "acme")
    helm("install", "acme", CHART, *TEAM, *flags)
    assert password() == made, "its volume, too, is still there"


async def test_its_account_may_do_all_that_the_actions_ask_for_there_and_nothing_elsewhere(
    helm: Program, kubectl: Program, pay: str, tmp_path: Path
) -> None:
    helm("install", "acme", CHART, *TEAM, f"--set=access.namespaces={{{pay}}}", "--set=access.nodes=true")
    async with account(kubectl, tmp_path) as bot:
        assert await missing(bot.cluster, needed([pay])) == []
        elsewhere = needed(["default"])
        granted = {str(one) for one in elsewhere} - {str(one) for one in await missing(bot.cluster, elsewhere)}
        assert granted <= {str(one) for one in needed([])}, "what it may in the whole cluster is about nodes"


async def test_with_the_rights_of_a_teams_runbooks_it_may_do_what_these_do(
    helm: Program, kubectl: Program, pay: str, tmp_path: Path
) -> None:
    ran = run_tamv_bot("rights", "--team", str(ACME))
    assert ran.code == 0, ran.err
    values = tmp_path / "access.yaml"
    values.write_text(ran.out.replace("pay:", f"{pay}:"))
    helm("install", "acme", CHART, *TEAM, "-f", str(values))
    async with account(kubectl, tmp_path) as bot:
        rights = {
            ("get", "apps", "statefulsets"): True,
            ("patch", "apps", "statefulsets/scale"): True,
            ("create", "", "pods/exec"): False,
            ("get", "", "secrets"): False,
            ("delete", "apps", "deployments"): False,
        }
        absent = await missing(bot.cluster, [Right(*right, pay) for right in rights])
        assert {(one.verb, one.group, one.resource) for one in absent} == {
            one for one, may in rights.items() if not may
        }


async def test_init_writes_a_folder_against_which_the_doctor_has_nothing(
    kubectl: Program, pay: str, tmp_path: Path
) -> None:
    for kind, name in (("Deployment", "checkout"), ("StatefulSet", "ledger"), ("DaemonSet", "agent")):
        made = workload(kind, name, 1)
        if kind == "DaemonSet":
            del made["spec"]["replicas"]
        kubectl("apply", "--namespace", pay, "-f", "-", text=json.dumps(made))
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    sandbox.slack.scopes = set(SCOPES)
    async with sandbox.serving() as url:
        settings = sandbox_settings(
            url, sandbox, f"sqlite:///{tmp_path}/bot.db", "en", kubeconfig=str(kubectl.kubeconfig)
        )
        env = environment(settings) | {"TEAM_DIR": "", "INCIDENT_CHANNEL": ""}
        written = await tamv_bot("init", "team", "--yes", "--namespace", pay, env=env, cwd=tmp_path)
        assert written.code == 0 and missed(written.out) == [], written.out + written.err
        examined = await tamv_bot("doctor", "--timeout", "90", "--team", "team", env=env, cwd=tmp_path)
    assert missed(examined.out) == [], examined.out
    services = load_team(tmp_path / "team/team.yaml").services
    assert {name: service.runs_as for name, service in services.items()} == {
        "checkout": ["checkout"], "ledger": ["statefulset/ledger"], "agent": ["daemonset/agent"],
    }  # fmt: skip


@pytest.fixture
async def released(
    cluster: Cluster, helm: Program, kubectl: Program, pay: str, postgresql_url: str, tmp_path: Path
) -> AsyncIterator[tuple[Sandbox, Kubelet, Store]]:
    """Acme's release with two replicas that really run, connected to a sandbox; its service `ledger` in the cluster."""
    if os.geteuid() != 0:
        pytest.skip("kubernetes: only root may give a process the files of a pod")
    sandbox = Sandbox(load_company(ACME / "company.yaml"))
    database = Database(postgresql_url)
    async with sandbox.serving() as url:
        kubectl("apply", "--namespace", pay, "-f", "-", text=json.dumps(workload("StatefulSet", "ledger-db", 2)))
        team = tmp_path / "acme"
        shutil.copytree(ACME, team)
        text = (team / "team.yaml").read_text("utf-8").replace("production: pay", f"production: {pay}")
        unmeasured = text.replace("    board: golden\n", "")  # what is measured after a change takes minutes
        (team / "team.yaml").write_text(unmeasured)
        ran = run_tamv_bot("rights", "--team", str(team))
        (tmp_path / "access.yaml").write_text(ran.out)
        given = environment(sandbox_settings(url, sandbox, postgresql_url, "en", team_dir=team))
        given = {name: value for name, value in given.items() if name.isupper() and name not in OF_THIS_MACHINE}
        secrets = {name: value for name, value in given.items() if re.search(SECRET, name)}
        kubectl("delete", "secret", "tamv-bot")
        kubectl("create", "secret", "generic", "tamv-bot", *(f"--from-literal={n}={v}" for n, v in secrets.items()))
        settings = {name: value for name, value in given.items() if name not in secrets}
        values = {"image": {"repository": "tamv-bot", "tag": "broken"}, "settings": settings}
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        files = [flag.replace(str(ACME), str(team)) for flag in TEAM]
        flags = [*files, "-f", str(tmp_path / "values.yaml"), "-f", str(tmp_path / "access.yaml")]
        kubelet = Kubelet(cluster, "app.kubernetes.io/name=tamv-bot", tmp_path / "pods")
        async with kubelet.running():
            await asyncio.to_thread(helm, "install", "acme", CHART, *flags, *WAIT)
            yield sandbox, kubelet, Store(database, "test")
            ended = [pod.process for pod in kubelet.pods.values()]
            await asyncio.to_thread(helm, "uninstall", "acme", *WAIT)
            async with deadline(30):
                codes = [await process.wait() for process in ended if process]
            assert codes == [0, 0], "they end when they are asked to"
    await database.close()


async def runner(kubelet: Kubelet, store: Store) -> Pod | None:
    """The pod that runs the incident's workflows, by what it has logged of itself."""
    for incident in await store.incidents.ids():
        async with store.database.read() as connection:
            query = select(assignments.c.executor).where(assignments.c.subject == incident)
            executor = (await connection.execute(query)).scalar_one_or_none()
        return next((pod for pod in kubelet.pods.values() if f"executor {executor}" in kubelet.log(pod)), None)
    return None


async def test_an_incident_goes_on_to_its_report_when_one_of_its_two_replicas_is_killed(
    released: tuple[Sandbox, Kubelet, Store], cluster: Cluster, kubectl: Program, pay: str
) -> None:
    sandbox, kubelet, store = released
    slack, priya = sandbox.slack, Person(sandbox.slack, "priya")

    async def ready() -> list[str]:
        """Where the service sends a request, and nothing while the control plane counts otherwise."""
        urls = await kubelet.endpoints("acme")
        counted = kubectl.json("get", "deployment", "acme")["status"].get("readyReplicas", 0)
        return urls if len(urls) == counted else []

    async def both() -> bool:
        return len(await ready()) == 2

    await until(both, 20, "two endpoints")
    slack.bot_url = (await ready())[0]
    held = sandbox.faults.add("slack", "slow", "conversations.create", seconds=1.5)
    await priya.run("/acme-incident declare The ledger is slow sev=SEV2 service=ledger", "acme-incidents")
    async with deadline(20):
        await held.met.wait()
    killed = await until(lambda: runner(kubelet, store), 20, "who runs the incident's workflows")
    assert killed.process
    kubelet.may_restart.clear()
    killed.process.kill()

    async def other() -> str | None:
        urls = await ready()
        return urls[0] if len(urls) == 1 else None

    slack.bot_url = await until(other, 20, "the service to know of the other one only")
    channel = await slack.wait_for(
        lambda: next((one for one in slack.channels.values() if one.name.startswith("inc-") and one.pins), None), 30
    )
    (incident,) = await store.incidents.ids()
    kubelet.may_restart.set()
    await priya.run("/acme-runbook run slow-ledger", channel.name)

    async def changed() -> bool:
        """The step has done it; what comes of it is watched for two minutes more."""
        runs = await store.runs.list_by_incident(incident)
        return bool(runs and runs[0].steps[1].result)

    await until(changed, 60, "the run to change the cluster")
    assert kubectl.json("get", "statefulset", "ledger-db", "--namespace", pay)["spec"]["replicas"] == 3
    await until(both, 40, "two endpoints again")
    pods = kubectl.json("get", "pods", "-l", "app.kubernetes.io/name=tamv-bot")["items"]
    restarts = {one["metadata"]["name"]: one["status"]["containerStatuses"][0]["restartCount"] for one in pods}
    assert sorted(restarts.values()) == [0, 1] and restarts[killed.name] == 1

    await priya.run("/acme-incident mitigate", channel.name)

    async def happened(kind: Kind) -> bool:
        return any(event.kind is kind for event in await store.incidents.timeline(incident))

    await until(partial(happened, Kind.MITIGATED), 30, "the mitigation")
    await priya.run("/acme-incident resolve", channel.name)
    await until(partial(happened, Kind.REPORT_WRITTEN), 90, "the report")
    assert len([one for one in slack.channels.values() if one.name.startswith("inc-")]) == 1
    timeline = await store.incidents.timeline(incident)
    assert first_broken_link(incident, timeline) is None
    once = [Kind.DECLARED, Kind.CHANNEL_OPENED, Kind.MITIGATED, Kind.RESOLVED]
    assert [event.kind for event in timeline if event.kind in once] == once
    report = await store.documents.read(incident, f"{incident}.md")
    assert report and all(said in report.content.decode() for said in ("The ledger is slow", "slow-ledger", "Priya"))
    endings = {file.title.rpartition("(")[2] for file in slack.files.values() if file.title.startswith(f"{incident} #")}
    assert endings == {"md)", "html)"}, "they are in the channel"
