"""The image and the manifests give the bot as few rights as it needs, and what they name is there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.metrics import Metrics
from bot.settings import Settings
from tests.architecture.tree import ROOT, files

SECRETS = re.compile(r"TOKEN|SECRET|PASSWORD|PRIVATE_KEY|ROUTING_KEY|DATABASE_URL")
MANIFESTS = ROOT / "deploy/kubernetes"
DASHBOARD = ROOT / "deploy/grafana/tamv-incident.json"
BOT_DASHBOARD = ROOT / "deploy/grafana/bot.json"
BOT_RULES = ROOT / "deploy/prometheus/bot.rules.yaml"


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(words[0], words[1]) for line in joined.splitlines() if len(words := line.split(None, 1)) == 2]


def _last_stage() -> list[tuple[str, str]]:
    everything = _instructions()
    start = max(number for number, (name, _) in enumerate(everything) if name == "FROM")
    return everything[start:]


def test_the_image_runs_the_bot_without_root() -> None:
    stage = dict(_last_stage())
    user = stage["USER"].split(":")[0]
    assert user.isdigit() and int(user) >= 1000, "a number, so that Kubernetes can see that it is not root"
    assert json.loads(stage["CMD"]) == ["tamv-bot", "serve"]
    assert "/healthz" in json.loads(stage["HEALTHCHECK"].partition("CMD")[2])[-1]
    assert "ENTRYPOINT" not in stage


def test_nothing_is_done_as_root_after_the_user_is_set() -> None:
    names = [name for name, _ in _last_stage()]
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])


def test_the_image_listens_to_the_outside_and_holds_no_secret() -> None:
    variables = dict(pair.split("=", 1) for name, rest in _last_stage() if name == "ENV" for pair in shlex.split(rest))
    assert variables["HOST"] == "0.0.0.0"  # noqa: S104
    assert not [name for name in variables if SECRETS.search(name)]
    assert {rest.split("=")[0] for name, rest in _instructions() if name == "ARG"} == {"BASE", "HELM_IMAGE"}


def test_every_base_image_names_its_version_and_every_install_is_locked() -> None:
    bases = [rest.partition("=")[2] for name, rest in _instructions() if name == "ARG"]
    assert all(re.search(r":\d+\.\d+[-.]", base) for base in bases)
    assert {rest.split()[0] for name, rest in _instructions() if name == "FROM"} == {"${BASE}", "${HELM_IMAGE}"}
    installs = [
        step for name, rest in _instructions() if name == "RUN" for step in rest.split("&&") if "pip install" in step
    ]
    assert installs
    assert all("--require-hashes" in step or "--no-deps" in step for step in installs)


def test_what_is_copied_into_the_image_is_there_and_reaches_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for name, rest in _instructions()
        if name == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    ]
    assert copied
    for source in copied:
        assert any(name == source or name.startswith(f"{source}/") for name in files()), source
        assert source.split("/")[0] in allowed, source


def _manifests() -> dict[str, dict[str, Any]]:
    loaded = [yaml.safe_load(path.read_text("utf-8")) for path in sorted(MANIFESTS.glob("*.yaml"))]
    return {manifest["kind"]: manifest for manifest in loaded}


def test_the_kustomization_names_every_manifest() -> None:
    there = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(_manifests()["Kustomization"]["resources"]) == there


def test_the_pods_have_no_more_rights_than_they_need() -> None:
    pod = _manifests()["Deployment"]["spec"]["template"]["spec"]
    assert _manifests()["ServiceAccount"]["automountServiceAccountToken"] is False, "only the bot's own pods get one"
    assert pod["serviceAccountName"] == _manifests()["ServiceAccount"]["metadata"]["name"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert str(pod["securityContext"]["runAsUser"]) == dict(_last_stage())["USER"].split(":")[0]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert container["args"] == json.loads(dict(_last_stage())["CMD"])


def test_the_pods_are_asked_how_they_are() -> None:
    (container,) = _manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["resources"]["limits"]["memory"]


def test_every_selector_finds_the_pods() -> None:
    kinds = _manifests()
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector and selector.items() <= labels.items()


def test_the_manifests_set_settings_that_exist_and_no_secret() -> None:
    (generated,) = _manifests()["Kustomization"]["configMapGenerator"]
    names = [literal.split("=", 1)[0] for literal in generated["literals"]]
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    assert not [name for name in names if SECRETS.search(name)]


@pytest.mark.parametrize("caller", sorted(ROOT.glob("deploy/*/*.yaml")), ids=lambda path: path.name)
def test_who_calls_the_bot_calls_its_service(caller: Path) -> None:
    service = _manifests()["Service"]
    port = service["spec"]["ports"][0]["port"]
    for host in re.findall(r"tamv-bot:(\d{4,5})", caller.read_text("utf-8")):
        assert int(host) == port


def test_the_dashboard_shows_the_figures_of_the_teams_file() -> None:
    team = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    expected = [team["queries"][name] for name in team["boards"]["render"]["queries"]]
    assert [panel["targets"][0]["expr"] for panel in panels] == [query["promql"] for query in expected]
    assert [panel["title"] for panel in panels] == [query["title"]["en"] for query in expected]
    for panel, query in zip(panels, expected, strict=True):
        bad = {"above": "red", "below": "green"}[query["direction"]]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1] == {"color": bad, "value": query["threshold"]}


def _bot_queries() -> dict[str, list[str]]:
    """What is asked about the bot itself, by file."""
    panels = json.loads(BOT_DASHBOARD.read_text("utf-8"))["panels"]
    (group,) = yaml.safe_load(BOT_RULES.read_text("utf-8"))["groups"]
    return {
        "dashboard": [target["expr"] for panel in panels for target in panel["targets"]],
        "rules": [rule["expr"] for rule in group["rules"]],
    }


@pytest.mark.parametrize("asker", ["dashboard", "rules"])
def test_each_query_about_the_bot_asks_for_its_metrics_and_their_labels(asker: str) -> None:
    made = dict(re.findall(r"^# TYPE (\w+) (\w+)", Metrics().text().decode(), re.MULTILINE))
    documented = (ROOT / "docs/operating.md").read_text("utf-8").split("### Its own figures")[1]
    labels = {
        name: re.findall(r"\w+", cell) for name, cell in re.findall(r"^\| `(\w+)` \| (.*?) ?\|", documented, re.M)
    }
    for query in _bot_queries()[asker]:
        names = re.findall(r"tamv_bot_\w+", query)
        assert names or query.startswith("up{"), query
        for name in names:
            metric = name.removesuffix("_bucket")
            assert metric in made and (metric == name) == (made[metric] != "histogram"), query
        known = {"job", "namespace", "le", *(label for name in names for label in labels.get(name, ()))}
        grouped = re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", query)))
        assert {*re.findall(r"(\w+)(?:=|!=|=~|!~)\"", query), *grouped} <= known, query


def test_each_panel_about_the_bot_says_what_it_shows_where_no_other_is() -> None:
    panels = json.loads(BOT_DASHBOARD.read_text("utf-8"))["panels"]
    assert all(panel["targets"] and panel["description"].endswith(".") for panel in panels)
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (at["x"] + x, at["y"] + y)
        for at in (p["gridPos"] for p in panels)
        for x in range(at["w"])
        for y in range(at["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def test_a_teams_workflow_validates_tests_and_rehearses_without_a_secret_of_slacks() -> None:
    text = (ROOT / "deploy/github/validate-team.yaml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    lines = [step["run"].split("  #")[0].split() for job in jobs.values() for step in job["steps"] if "run" in step]
    ours = [line for line in lines if line[0] == "tamv-bot"]
    assert [line[1:3] for line in ours] == [
        ["runbook", "validate"],
        ["manifest", "--team"],
        ["runbook", "test"],
        ["runbook", "run"],
    ]
    assert "--dry-run" in ours[-1] and "SLACK_" not in text
    assert all(job.get("needs") == "validate" for name, job in jobs.items() if name != "validate")
    assert not [step for job in jobs.values() for step in job["steps"] if "continue-on-error" in step]
