"""Two dozen faults in settings, rights and team file: the doctor names each, with what mends it.

All faults of one kind are planted at once, and the doctor is asked once for each kind: none may hide another.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from bot.cli.findings import CHECK_SECONDS
from demo.environment import sandbox_settings
from sandbox.kubernetes.access import Rule
from sandbox.kubernetes.resources.basic import SERVICE_ACCOUNT
from sandbox.kubernetes.resources.litmus import CHAOS_EXPERIMENT
from sandbox.kubernetes.seed import write_charts
from sandbox.server import Sandbox
from sandbox.vault import Token
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.real.helm import helm

ROOT = Path(__file__).parents[2]
TEAM = ROOT / "teams" / "tamv"
SCOPES = set(yaml.safe_load((ROOT / "app.yaml").read_text("utf-8"))["oauth_config"]["scopes"]["bot"])
NOWHERE = "http://127.0.0.1:9"

# Where it was planted, what the doctor's line is about, and what that line must say: the fault, and how to mend it.
FAULTS = [
    ("settings", "scopes", ("pins:write", "app.yaml", "reinstall")),
    ("settings", "#tamv-incidents", ("not a member", "/invite @tamv-bot")),
    ("settings", "GitHub", ("GITHUB_TOKEN",)),
    ("settings", "PagerDuty", ("nobody@tamv.world", "PAGERDUTY_FROM")),
    ("settings", "Prometheus", ("no answer", "PROMETHEUS_URL")),
    ("settings", "Alertmanager (API)", ("no answer", "ALERTMANAGER_URL")),
    ("settings", "Vault", ("VAULT",)),
    ("settings", "Tempo", ("no answer", "TEMPO_URL")),
    ("settings", "Grafana", ("no answer", "GRAFANA_URL")),
    ("settings", "Kubernetes", ("KUBECONFIG",)),
    ("settings", "Database", ("pending", "tamv-bot db upgrade")),
    ("team", "#no-such-channel", ("does not exist", "INCIDENT_CHANNEL")),
    ("team", "teams", ("AITeam", "Correct the id in the team file")),
    ("team", "PagerDuty · SRETeam", ("equipo-que-no-hay",)),
    ("team", "Prometheus · frame_rate", ("no data", "labels of the query")),
    ("team", "Prometheus · error_rate", ("parse error", "queries.error_rate.promql")),
    ("team", "AWS · no-such-database", ("`databases` in the team file",)),
    ("team", "AWS · database", ("NoSuchBucket", "backups.database.bucket")),
    ("team", "Vault · jwt-secret", ("Not found in Vault", "secrets.jwt-secret.paths.production")),
    ("team", "xr-engine · health", ("/nothing", "HTTP 404")),
    ("team", "team.yaml", ("emergency_contact", "+1-XXX-XXX-XXXX")),
    ("team", "xr-engine · tamv-prod", ("no workload `xr-motor`", "services.xr-engine")),
    ("team", "Helm · tamv-core", ("Chart.yaml", "services.tamv-core.chart")),
    (
        "rights",
        "Kubernetes · tamv-staging",
        ("patch deployments/scale.apps", "kubectl apply -k deploy/kubernetes/access"),
    ),
    ("rights", "Kubernetes · argocd", ("patch applications.argoproj.io", "access/argocd.yaml")),
    ("rights", "Litmus · tamv-prod", ("chaos/pod-delete.yaml", "service account `pod-delete-sa`")),
    ("rights", "Litmus · tamv-staging", ("chaos/cpu-hog.yaml", "no experiment `pod-cpu-hog`")),
    ("rights", "Vault", ("cannot be renewed", "VAULT_TOKEN")),
    ("rights", "Kubernetes · cluster", ("patch nodes", "kubectl apply -k deploy/kubernetes/access")),
    ("file", "team.yaml", ("services.xr-engine.board", "did you mean `render`?")),
    ("file", "team.yaml", ("services.tamv-core.owners", "did you mean `SRETeam`?")),
    ("file", "team.yaml", ("default_service", "did you mean `tamv-core`?")),
]


@dataclass
class Place:
    """A sandbox, the settings of a bot that is not running, and a team's folder of its own."""

    sandbox: Sandbox
    env: dict[str, str]
    folder: Path

    async def doctor(self, **others: str) -> Ran:
        return await tamv_bot("doctor", "--json", env=self.env | others)

    def team(self, change: Any) -> str:
        """Write the team's file with a change; returns its path."""
        team = yaml.safe_load((TEAM / "team.yaml").read_text("utf-8"))
        for service in team["services"].values():
            service["chart"] = str(self.folder / service["chart"])
        change(team)
        path = self.folder / "team.yaml"
        path.write_text(yaml.safe_dump(team, allow_unicode=True), encoding="utf-8")
        return str(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("doctor")
    write_charts(folder / "charts")
    for name in ("runbooks", "manifests"):
        (folder / name).symlink_to(TEAM / name)
    sandbox = Sandbox()
    async with sandbox.serving() as url:
        sandbox.slack.scopes = set(SCOPES)
        config = folder / "kubeconfig"
        config.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        settings = sandbox_settings(url, sandbox, f"sqlite:///{folder}/bot.db", "en")
        others = {"KUBECONFIG": str(config), "HELM": str(await asyncio.to_thread(helm))}
        yield Place(sandbox, environment(settings, **others), folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def said(place: Place) -> dict[str, list[tuple[str, str]]]:
    """What the doctor says of each kind of fault: subjects and texts."""
    slack = place.sandbox.slack
    vault = place.sandbox.vault
    vault.tokens["hvs.ending"] = Token("ending", ("tamv-bot",), vault.clock.now() + timedelta(days=2))
    cluster = place.sandbox.kubernetes
    for kind, namespace, name in (
        (SERVICE_ACCOUNT, "tamv-prod", "pod-delete-sa"),
        (CHAOS_EXPERIMENT, "tamv-staging", "pod-cpu-hog"),
    ):
        there = cluster.store.get(kind, namespace, name)
        assert there
        cluster.writer.delete(kind, there)
    found = {"rights": await examined(place, KUBECONFIG=reader(place), VAULT_TOKEN="hvs.ending")}

    def wrong_names(team: dict[str, Any]) -> None:
        team["services"]["xr-engine"]["board"] = "rendering"
        team["services"]["tamv-core"]["owners"] = ["SRETeams"]
        team["default_service"] = "tamv-cor"

    found["file"] = await examined(place, BOT_CONFIG=place.team(wrong_names))

    def wrong_things(team: dict[str, Any]) -> None:
        team["incident_channel"] = "#no-such-channel"
        team["teams"]["AITeam"]["usergroup"] = "S0NOTHING1"
        team["teams"]["SRETeam"]["pagerduty"] = "equipo-que-no-hay"
        team["queries"]["frame_rate"]["promql"] = "avg(no_such_metric)"
        team["queries"]["error_rate"]["promql"] = "sum(rate("
        team["databases"]["no-such-database"] = "staging"
        team["secrets"]["jwt-secret"]["paths"]["production"] = "tamv-prod/nothing"
        team["backups"]["database"]["bucket"] = "no-such-bucket"
        health = team["services"]["xr-engine"]["health"]["production"]
        health["url"] = health["url"].replace("/health", "/nothing")
        team["services"]["xr-engine"]["deployment"] = "xr-motor"
        team["services"]["tamv-core"]["chart"] = "charts/tamv-core"  # which this folder has not

    (place.folder / "charts" / "tamv-core" / "Chart.yaml").unlink()
    found["team"] = await examined(place, BOT_CONFIG=place.team(wrong_things), INCIDENT_CHANNEL="")

    slack.scopes -= {"pins:write"}
    slack.channel("tamv-incidents").members.remove(slack.bot_user.id)
    found["settings"] = await examined(
        place,
        GITHUB_TOKEN="wrong",
        PAGERDUTY_FROM="nobody@tamv.world",
        PROMETHEUS_URL=NOWHERE,
        ALERTMANAGER_URL=NOWHERE,
        VAULT_TOKEN="wrong",
        TEMPO_URL=NOWHERE,
        GRAFANA_URL=NOWHERE,
        KUBECONFIG=str(place.folder / "nothing"),
    )
    return found


def reader(place: Place) -> str:
    """The path of a kubeconfig of somebody who may only read."""
    place.sandbox.kubernetes.accounts.add("reader", "reader", [Rule(["get", "list", "create"], ["*"])])
    text = Path(place.env["KUBECONFIG"]).read_text("utf-8")
    path = place.folder / "reader"
    path.write_text(text.replace(text[text.index("token: ") :].split("}")[0], "token: reader"))
    return str(path)


async def examined(place: Place, **others: str) -> list[tuple[str, str]]:
    """What the doctor finds to be wrong or worth knowing; asked again while the machine is too busy for its limit."""
    for _ in range(4):
        ran = await place.doctor(**others)
        assert (ran.code, ran.err) == (1, ""), ran
        if f"({CHECK_SECONDS:g} s)" not in ran.out:
            break
    findings = json.loads(ran.out)["findings"]
    return [(one["subject"], html.unescape(one["text"])) for one in findings if one["state"] in ("wrong", "note")]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("kind", "subject", "parts"), FAULTS, ids=[f"{kind}: {about}" for kind, about, _ in FAULTS])
async def test_a_planted_fault_is_named_with_what_mends_it(
    said: dict[str, list[tuple[str, str]]], kind: str, subject: str, parts: tuple[str, ...]
) -> None:
    about = [text for at, text in said[kind] if subject in (at, Path(at).name) or at.lower() == subject.lower()]
    assert any(all(part in text for part in parts) for text in about), (about, said[kind])
