"""The Helm chart, rendered by the real Helm: its rights, its team's folder, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bot.settings import Settings
from tests.architecture.tree import ROOT
from tests.real import helm

CHART = ROOT / "deploy/helm/tamv-bot"
ACME = ROOT / "tests/teams/acme"
FILES = ("team.yaml", "runbooks/slow-ledger.yaml")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm.helm(), *arguments], capture_output=True, text=True, timeout=60, check=False)


def rendered(*flags: str) -> dict[tuple[str, str], Any]:
    done = run("template", "acme", CHART, "--namespace", "incidents", *flags)
    assert done.returncode == 0, done.stderr
    objects = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_it_passes_helm_lint() -> None:
    done = run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_pods_have_no_more_rights_than_they_need() -> None:
    for way in ([], ["--set", "team.git.repository=https://git.example/acme.git"]):
        deployment = rendered(*way)["Deployment", "acme"]
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_teams_folder_is_mounted_file_by_file() -> None:
    flags = [f"--set-file=team.files.{name.replace('.', chr(92) + '.')}={ACME / name}" for name in FILES]
    objects = rendered(*flags)
    files, volumes = objects["ConfigMap", "acme-team"]["data"], objects["Deployment", "acme"]
    (team,) = (v for v in volumes["spec"]["template"]["spec"]["volumes"] if v["name"] == "team")
    paths = {item["path"]: files[item["key"]] for item in team["configMap"]["items"]}
    assert paths == {name: (ACME / name).read_text("utf-8") for name in FILES}
    assert objects["ConfigMap", "acme"]["data"]["TEAM_DIR"] == "/team"


def test_the_bot_may_do_what_its_actions_ask_for_in_the_named_namespaces_only() -> None:
    objects = rendered("--set", "access.namespaces={pay,shop}", "--set", "access.nodes=true")
    for name in ("services", "nodes"):
        shipped = next(yaml.safe_load_all((ROOT / f"deploy/kubernetes/access/{name}.yaml").read_text("utf-8")))
        assert objects["ClusterRole", f"incidents-acme-{name}"]["rules"] == shipped["rules"]
    bindings = [each for (kind, _), each in objects.items() if kind == "RoleBinding"]
    assert bindings and all(each["metadata"]["namespace"] in ("pay", "shop") for each in bindings)
    for tool, namespace in (("argocd", "argocd"), ("flux", "flux-system")):
        given = rendered("--set", f"access.{tool}={namespace}")
        (role,) = (one for (kind, _), one in given.items() if kind == "Role")
        shipped = next(yaml.safe_load_all((ROOT / f"deploy/kubernetes/access/{tool}.yaml").read_text("utf-8")))
        assert (role["rules"], role["metadata"]["namespace"]) == (shipped["rules"], namespace)
    assert not [kind for kind, _ in rendered() if "Role" in kind]


def test_the_rights_of_a_teams_runbooks_are_roles_in_their_namespaces() -> None:
    rule = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]}
    rules = f"access.rules={json.dumps({'pay': [rule]})}"
    objects = rendered("--set-json", rules)
    (role,) = (one for (kind, _), one in objects.items() if kind == "Role")
    assert (role["metadata"]["namespace"], role["rules"]) == ("pay", [rule])
    assert not [kind for kind, _ in objects if kind.startswith("Cluster")]
    for more, said in (
        (["--set", "access.namespaces={pay}"], "choose one"),
        (["--set-json", rules.replace("patch", "*")], "verbs"),
    ):
        done = run("template", "acme", CHART, "--set-json", rules, *more)
        assert done.returncode != 0 and said in done.stderr, done.stderr


def test_a_secret_is_mounted_as_files_where_it_is_to_be_rotated() -> None:
    objects = rendered("--set", "secretFiles=true", "--set", "existingSecret=tokens")
    pod = objects["Deployment", "acme"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "secrets")
    assert mount["mountPath"] == objects["ConfigMap", "acme"]["data"]["SECRETS_DIR"]
    assert {"name": "secrets", "secret": {"secretName": "tokens"}} in pod["volumes"]
    assert [list(one) for one in container["envFrom"]] == [["configMapRef"]]


def egress(*flags: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rendered(*flags)["NetworkPolicy", "acme"]["spec"]["egress"]
    return found


def ports(rules: list[dict[str, Any]]) -> set[int]:
    """Those that are open to the world."""
    return {port["port"] for rule in rules for peer in rule["to"] if "ipBlock" in peer for port in rule["ports"]}


def namespaces(rules: list[dict[str, Any]]) -> set[str]:
    """Those that are open on every port."""
    return {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in rules if "ports" not in rule for peer in rule["to"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "opened", "inside"),
    [
        ("", set(), set()),
        ("PROMETHEUS_URL=http://prometheus.monitoring.svc:9090", set(), {"monitoring"}),
        ("PROMETHEUS_URL=http://prometheus.monitoring.svc.cluster.local", set(), {"monitoring"}),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", set(), {"incidents"}),
        ("VAULT_ADDR=https://vault.example.org:8200/v1", {8200}, set()),
        ("TEMPO_URL=http://tempo.example.org/tempo", {80}, set()),
        ("GRAFANA_URL=https://grafana.example.org", set(), set()),
        ("LOCALE=en", set(), set()),
    ],
)
def test_it_may_connect_to_what_the_settings_name_and_to_nothing_else(
    setting: str, opened: set[int], inside: set[str]
) -> None:
    rules = egress(*(("--set", f"settings.{setting}") if setting else ()))
    assert (ports(rules), namespaces(rules)) == ({443, 6443, 5432} | opened, inside)
    assert {json.dumps(peer["ipBlock"]) for rule in rules for peer in rule["to"] if "ipBlock" in peer} == {
        json.dumps({"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]})
    }


def test_its_network_policy_takes_ports_that_no_setting_names() -> None:
    flags = "networkPolicy.apiServerPort=16443,networkPolicy.databasePort=6432,networkPolicy.ports={8080,443}"
    assert ports(egress("--set", flags)) == {443, 16443, 6432, 8080}
    assert ("NetworkPolicy", "acme") not in rendered("--set", "networkPolicy.enabled=false")
    (rule,) = rendered()["NetworkPolicy", "acme"]["spec"]["ingress"]
    assert [peer.get("namespaceSelector", {}).get("matchLabels") for peer in rule["from"]] == [
        {"kubernetes.io/metadata.name": "ingress-nginx"}, {"kubernetes.io/metadata.name": "monitoring"}, None,
    ]  # fmt: skip


def test_the_postgresql_for_trying_is_reached_by_the_bot_alone_and_is_restricted() -> None:
    objects = rendered("--set", "postgresql.enabled=true")
    secret = objects["Secret", "acme-postgresql"]
    url = urlsplit(secret["stringData"]["DATABASE_URL"])
    assert (url.hostname, url.port, url.password) == ("acme-postgresql", 5432, secret["stringData"]["password"])
    assert len(url.password or "") == 32 and secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (bot,) = objects["Deployment", "acme"]["spec"]["template"]["spec"]["containers"]
    key = {"secretKeyRef": {"name": "acme-postgresql", "key": "DATABASE_URL"}}
    assert bot["env"] == [{"name": "DATABASE_URL", "valueFrom": key}]

    pods = objects["StatefulSet", "acme-postgresql"]["spec"]["template"]
    (database,) = pods["spec"]["containers"]
    assert database["securityContext"] == bot["securityContext"]
    assert pods["spec"]["securityContext"]["runAsNonRoot"] and not pods["spec"]["automountServiceAccountToken"]
    labels = pods["metadata"]["labels"]
    assert labels == objects["Service", "acme-postgresql"]["spec"]["selector"]
    selector = objects["Deployment", "acme"]["spec"]["selector"]["matchLabels"]
    assert labels.items() != selector.items() and objects["Service", "acme"]["spec"]["selector"] == selector
    policy = objects["NetworkPolicy", "acme-postgresql"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels and policy["egress"] == []
    assert [rule["from"] for rule in policy["ingress"]] == [[{"podSelector": {"matchLabels": selector}}]]
    rules = objects["NetworkPolicy", "acme"]["spec"]["egress"]
    assert 5432 not in ports(rules) and {"podSelector": {"matchLabels": labels}} in [rule["to"][0] for rule in rules]

    own = rendered("--set", "postgresql.enabled=true,postgresql.existingSecret=mine")
    assert not [name for kind, name in own if kind == "Secret"]
    assert own["Deployment", "acme"]["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"] == {
        "secretKeyRef": {"name": "mine", "key": "DATABASE_URL"}
    }
    assert not [name for _, name in rendered() if "postgresql" in name]


def test_its_readme_and_its_schema_know_each_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    text = (CHART / "README.md").read_text("utf-8")
    rows = {name for row in re.findall(r"(?m)^\| (`.*?) \|", text) for name in re.findall(r"`(\w+)`", row)}
    assert set(values) <= rows
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))["properties"]
    assert set(schema) - {"global"} == set(values)
    for name, value in values.items():
        if isinstance(value, dict) and value and schema[name].get("additionalProperties") is False:
            assert set(value) == set(schema[name]["properties"]), name


def test_its_alerts_are_those_of_the_rules_file_for_its_own_namespace() -> None:
    text = (ROOT / "deploy/prometheus/bot.rules.yaml").read_text("utf-8")
    selectors = re.findall(r"(?:tamv_bot_\w+|\bup)(?:\{(.*?)\})?", re.sub(r"(?m)^\s*#.*", "", text))
    assert selectors and all('job="tamv-bot"' in selector for selector in selectors)
    rule = rendered("--set", "rules.enabled=true,rules.labels.release=prometheus")["PrometheusRule", "acme"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    own = text.replace('job="tamv-bot"', 'job="tamv-bot",namespace="incidents"')
    assert rule["spec"] == yaml.safe_load(own)


def test_its_service_is_scraped_as_the_job_that_alerts_and_dashboard_name() -> None:
    objects = rendered("--set", "serviceMonitor.enabled=true")
    label = objects["ServiceMonitor", "acme"]["spec"]["jobLabel"]
    assert objects["Service", "acme"]["metadata"]["labels"][label] == "tamv-bot"


def test_its_dashboard_is_found_by_grafanas_sidecar() -> None:
    objects = rendered("--set", "dashboard.enabled=true,dashboard.labels.team=sre")
    board = objects["ConfigMap", "acme-dashboard"]
    assert {"grafana_dashboard": "1", "team": "sre"}.items() <= board["metadata"]["labels"].items()
    assert board["data"] == {"tamv-bot.json": (ROOT / "deploy/grafana/bot.json").read_text("utf-8")}
    assert ("ConfigMap", "acme-dashboard") not in rendered()


def test_its_settings_exist() -> None:
    data = rendered("--set", "settings.LOCALE=en")["ConfigMap", "acme"]["data"]
    assert {name.lower() for name in data} <= set(Settings.model_fields)
    assert data["LOCALE"] == "en"
    for flags, said in (((), "json"), (("--set", "settings.LOG_FORMAT=text"), "text")):
        done = run("template", "acme", CHART, *flags)
        assert re.findall(r"LOG_FORMAT: (.*)", done.stdout) == [said]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("replicas=0", "replicas"),
        ("settings.SLACK_BOT_TOKEN=xoxb-secret", "SLACK_BOT_TOKEN"),
        ("settings.PORT=8080", "PORT"),
        ("settings.TEAM_DIR=/somewhere", "TEAM_DIR"),
        ("teams.image=x", "teams"),
        ("ingress.enabled=true", "host"),
        ("dashboard.enabled=yes", "dashboard"),
        ("postgresql.size=big", "size"),
        ("postgresql.password=secret", "password"),
        ("networkPolicy.databasePort=0", "databasePort"),
        ("networkPolicy.ports={http}", "ports"),
        ("team.image=x,team.existingConfigMap=y", "choose one"),
    ],
)
def test_a_wrong_value_is_refused(flag: str, said: str) -> None:
    done = run("template", "acme", CHART, "--set", flag)
    assert done.returncode != 0 and said in done.stderr, done.stderr
