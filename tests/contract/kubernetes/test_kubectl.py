"""What kubectl does to a cluster, and what it shows of it."""

from __future__ import annotations

import json

import yaml

from tests.contract.kubernetes.conftest import Cluster
from tests.contract.kubernetes.programs import Program
from tests.contract.kubernetes.workloads import deployment, rolled_out


def manifest(**parts: object) -> str:
    return yaml.safe_dump({**deployment(), **parts})


def rolled(kubectl: Program) -> None:
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


async def test_it_shows_tables_and_yaml(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    rolled(kubectl)
    header, row = kubectl("get", "deployments", "-o", "wide").splitlines()
    assert header.split() == [
        "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR",
    ]  # fmt: skip
    assert row.split()[:4] == ["web", "2/2", "2", "2"]
    assert row.split()[5:] == ["app,side", "registry.example/web:1,registry.example/side:1", "app=web"]
    pods = kubectl("get", "pods", "-o", "wide", "--no-headers").splitlines()
    assert [line.split()[1:3] for line in pods] == [["2/2", "Running"], ["2/2", "Running"]]
    shown = yaml.safe_load(kubectl("get", "deployment", "web", "-o", "yaml"))
    assert shown["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert "managedFields" not in shown["metadata"]
    assert "pod/web-" in kubectl("get", "all")


async def test_apply_changes_what_the_manifest_changes_and_nothing_else(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    kubectl("scale", "deployment", "web", "--replicas=3")
    assert "unchanged" not in kubectl("apply", "-f", "-", text=manifest())
    changed = deployment()
    changed["spec"].pop("replicas")
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "MODE", "value": "loud"}]
    kubectl("apply", "-f", "-", text=yaml.safe_dump(changed))
    shown = kubectl.json("get", "deployment", "web")
    assert [one["name"] for one in shown["spec"]["template"]["spec"]["containers"]] == ["app", "side"]
    assert shown["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "MODE", "value": "loud"}]
    assert "deployment.apps/web unchanged" in kubectl("apply", "-f", "-", text=yaml.safe_dump(changed))


async def test_diff_shows_what_would_change_and_changes_nothing(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    before = kubectl.json("get", "deployment", "web")["metadata"]["resourceVersion"]
    differing = deployment(image="registry.example/web:2")
    done = kubectl.run("diff", "-f", "-", text=yaml.safe_dump(differing))
    assert done.returncode == 1
    assert "-      - image: registry.example/web:1" not in done.stdout.replace("  ", "")
    assert "+        image: registry.example/web:2" in done.stdout
    kubectl(
        "apply", "-f", "-", "--server-side", "--dry-run=server", "--force-conflicts", text=yaml.safe_dump(differing)
    )
    shown = kubectl.json("get", "deployment", "web")
    assert shown["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/web:1"
    assert kubectl.run("diff", "-f", "-", text=manifest()).returncode == 0
    if shown["status"].get("observedGeneration") == 1:
        assert int(shown["metadata"]["resourceVersion"]) >= int(before)


async def test_server_side_apply_asks_before_it_takes_a_field(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "--server-side", "--field-manager=first", "-f", "-", text=manifest())
    more = deployment(replicas=5)
    refused = kubectl.run("apply", "--server-side", "--field-manager=second", "-f", "-", text=yaml.safe_dump(more))
    assert refused.returncode == 1
    assert 'conflict with "first": .spec.replicas' in refused.stderr
    kubectl(
        "apply", "--server-side", "--field-manager=second", "--force-conflicts", "-f", "-", text=yaml.safe_dump(more)
    )
    shown = json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))
    assert shown["spec"]["replicas"] == 5
    shares = {
        one["manager"]: one["fieldsV1"]["f:spec"]
        for one in shown["metadata"]["managedFields"]
        if one["operation"] == "Apply"
    }
    assert "f:replicas" not in shares["first"]
    assert "f:replicas" in shares["second"]


async def test_rollouts_have_a_history_that_can_be_gone_back_in(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    rolled(kubectl)
    kubectl("set", "env", "deployment/web", "--containers=app", "MODE=loud")
    rolled(kubectl)
    kubectl("rollout", "restart", "deployment/web")
    rolled(kubectl)
    assert [line.split()[0] for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:5]] == [
        "1",
        "2",
        "3",
    ]
    kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    rolled(kubectl)
    shown = kubectl.json("get", "deployment", "web")
    assert shown["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "MODE", "value": "plain"}]
    assert shown["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"
    sets = kubectl.json("get", "replicasets")["items"]
    assert len(sets) == 3, "the ReplicaSet of the first revision is used again"


async def test_a_paused_deployment_waits(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    rolled(kubectl)
    kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "app=registry.example/web:2")
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("wait", "deployment/web", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=20s")
    assert len(kubectl.json("get", "replicasets")["items"]) == 1
    kubectl("rollout", "resume", "deployment/web")
    rolled(kubectl)
    images = {
        pod["spec"]["containers"][0]["image"]
        for pod in kubectl.json("get", "pods")["items"]
        if "deletionTimestamp" not in pod["metadata"]
    }
    assert images == {"registry.example/web:2"}


async def test_a_job_is_made_from_a_cron_job(cluster: Cluster, kubectl: Program) -> None:
    container = {
        "name": "check", "image": "registry.example/check:1", "env": [{"name": "DEPTH", "value": "2"}],
        "resources": {"requests": {"cpu": "100m"}},
    }  # fmt: skip
    pod = {"restartPolicy": "Never", "containers": [container]}
    spec = {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}}
    cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "upkeep"}, "spec": spec}
    kubectl("apply", "-f", "-", text=yaml.safe_dump(cron_job))
    kubectl("create", "job", "check", "--from=cronjob/upkeep")
    kubectl("wait", "--for=condition=complete", "job/check", "--timeout=30s")
    job = kubectl.json("get", "job", "check")
    made = job["spec"]["template"]["spec"]["containers"][0]
    assert (made["env"], made["resources"], job["spec"]["backoffLimit"]) == (
        container["env"], container["resources"], 0,
    )  # fmt: skip
    assert job["metadata"]["ownerReferences"][0]["name"] == "upkeep"
    kubectl("logs", "job/check")


async def test_a_drain_leaves_what_a_budget_keeps(cluster: Cluster, kubectl: Program) -> None:
    kubectl("apply", "-f", "-", text=manifest())
    rolled(kubectl)
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    }  # fmt: skip
    kubectl("apply", "-f", "-", text=yaml.safe_dump(budget))
    kubectl("wait", "pdb/web", "--for=jsonpath={.status.currentHealthy}=2", "--timeout=10s")
    node = kubectl.json("get", "pods")["items"][0]["spec"]["nodeName"]
    selector = "--pod-selector=app=web"
    try:
        refused = kubectl.run("drain", node, "--ignore-daemonsets", "--timeout=2s", selector)
        assert refused.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget" in refused.stderr
        assert kubectl.json("get", "node", node)["spec"]["unschedulable"] is True
        kubectl("delete", "pdb", "web")
        kubectl("drain", node, "--ignore-daemonsets", "--timeout=20s", selector)
        rolled(kubectl)
        assert node not in {pod["spec"]["nodeName"] for pod in kubectl.json("get", "pods", "-l", "app=web")["items"]}
    finally:
        kubectl("uncordon", node)
    assert "unschedulable" not in kubectl.json("get", "node", node)["spec"]


async def test_what_is_wrong_in_a_manifest_is_said(cluster: Cluster, kubectl: Program) -> None:
    wrong = deployment()
    wrong["spec"]["replica"] = 3
    refused = kubectl.run("apply", "-f", "-", text=yaml.safe_dump(wrong))
    assert 'unknown field "spec.replica"' in refused.stderr
    wrong = deployment()
    wrong["spec"]["replicas"] = "many"
    refused = kubectl.run("create", "--validate=false", "-f", "-", text=yaml.safe_dump(wrong))
    assert "cannot unmarshal string into Go struct field" in refused.stderr
    wrong = deployment()
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    refused = kubectl.run("create", "-f", "-", text=yaml.safe_dump(wrong))
    assert 'The Deployment "web" is invalid: spec.template.metadata.labels' in refused.stderr
    wrong = deployment()
    del wrong["spec"]["selector"]
    refused = kubectl.run("create", "-f", "-", text=yaml.safe_dump(wrong))
    assert "spec.selector: Required value" in refused.stderr


async def test_logs_and_programs_in_pods(cluster: Cluster, kubectl: Program) -> None:
    await cluster.apps.create_namespaced_deployment(cluster.namespace, deployment())
    await rolled_out(cluster)
    refused = kubectl.run("logs", "deployment/web", "-c", "nobody")
    assert "nobody" in refused.stderr
    assert kubectl("exec", "deployment/web", "-c", "app", "--", "echo", "one", "two") == "one two\n"
    failed = kubectl.run("exec", "deployment/web", "-c", "app", "--", "sh", "-c", "false")
    assert (failed.returncode, "exit code 1" in failed.stderr) == (1, True)
