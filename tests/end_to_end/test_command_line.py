"""`tamv-bot` in a terminal, as its own process, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.environment import DemoEnvironment, demo_environment, sandbox_settings
from sandbox.deadline import deadline
from sandbox.kubernetes.access import Rule
from sandbox.kubernetes.seed import write_charts
from sandbox.server import Sandbox
from sandbox.slack.person import Person
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.real.helm import helm

ROOT = Path(__file__).parents[2]
SCOPES = set(yaml.safe_load((ROOT / "app.yaml").read_text("utf-8"))["oauth_config"]["scopes"]["bot"])
DOCTOR = ("doctor", "--timeout", "90")  # seconds that a check may take on a busy machine


@dataclass
class World:
    """A sandbox, and the settings of a bot that is not running."""

    sandbox: Sandbox
    env: dict[str, str]

    async def run(self, *arguments: str, **others: str) -> Ran:
        return await tamv_bot(*arguments, env=self.env | others)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sandbox = Sandbox()
    async with sandbox.serving() as url:
        sandbox.slack.scopes = set(SCOPES)
        settings = sandbox_settings(url, sandbox, f"sqlite:///{tmp_path}/bot.db", "en")
        yield World(sandbox, environment(settings))


async def doctor_in_time(world: World) -> Ran:
    """The doctor's findings; asked again while the machine is too busy for an answer within its time limits."""
    for _ in range(4):
        examined = await world.run(*DOCTOR)
        if "no answer" not in examined.out and "no responde" not in examined.out:
            break
    return examined


async def test_the_doctor_finds_nothing_missing_in_a_whole_world(world: World) -> None:
    assert (await world.run("db", "upgrade")).code == 0
    examined = await doctor_in_time(world)
    assert examined.code == 0, examined.out + examined.err
    noted = [line for line in examined.out.splitlines() if line.startswith("!")]
    assert "✗" not in examined.out
    assert len(noted) == 1 and "emergency_contact is still a placeholder: +1-XXX-XXX-XXXX" in noted[0], noted
    for said in ("TAMV", "Database", "hash chains intact", f"all {len(SCOPES)} scopes of app.yaml", "#tamv-incidents",
                 "Prometheus", "PagerDuty", "GitHub", "Vault", "AWS", "Tempo", "Alertmanager (API)",
                 "6 answer as they should", "KUBECONFIG is not set", "Everything required is in place"):  # fmt: skip
        assert said in examined.out, examined.out
    world.env["LOCALE"] = "es"
    assert "Está todo lo necesario" in (await doctor_in_time(world)).out


async def test_the_doctor_says_what_is_missing_and_how_to_mend_it(world: World) -> None:
    slack = world.sandbox.slack
    slack.scopes -= {"pins:write"}
    slack.channel("tamv-incidents").members.remove(slack.bot_user.id)
    ill = await world.run(
        *DOCTOR, GITHUB_TOKEN="wrong", PAGERDUTY_FROM="nobody@tamv.world", PROMETHEUS_URL="http://127.0.0.1:9"
    )
    assert ill.code == 1
    found = {line.split("  ")[0].removeprefix("✗ ").strip(): line for line in ill.out.splitlines() if line[:1] == "✗"}
    assert "missing: pins:write" in found["Slack · scopes"] and "app.yaml" in found["Slack · scopes"]
    assert "/invite @tamv-bot" in found["#tamv-incidents"]
    assert "GITHUB_TOKEN" in found["GitHub"]
    assert "nobody@tamv.world" in found["PagerDuty"]
    assert "PROMETHEUS_URL" in found["Prometheus"]
    assert "migrations pending" in ill.out  # to be known, and no mistake: serve does it
    assert not Path(world.env["DATABASE_URL"].removeprefix("sqlite:///")).exists()


async def test_the_doctor_looks_at_the_cluster_and_at_helm(world: World, tmp_path: Path) -> None:
    write_charts(tmp_path / "charts")
    shipped = (ROOT / "teams" / "tamv" / "team.yaml").read_text("utf-8")
    team = tmp_path / "team.yaml"
    team.write_text(shipped.replace("chart: charts/", f"chart: {tmp_path}/charts/"))
    for folder in ("runbooks", "manifests"):
        (tmp_path / folder).symlink_to(ROOT / "teams" / "tamv" / folder)
    url = world.env["SLACK_API_URL"].removesuffix("/slack/api/")
    kubernetes = world.sandbox.kubernetes
    config = tmp_path / "kubeconfig"
    config.write_text(kubernetes.kubeconfig(f"{url}/kubernetes"))
    env = {"KUBECONFIG": str(config), "HELM": str(await asyncio.to_thread(helm)), "BOT_CONFIG": str(team)}
    well = await world.run(*DOCTOR, "--json", **env)
    found = {row["subject"]: row for row in json.loads(well.out)["findings"]}
    assert well.code == 0, well.out
    for subject in ("Kubernetes", "Kubernetes · RBAC", "Kubernetes · workloads", "metrics-server", "Helm · releases"):
        assert found[subject]["state"] == "good", found[subject]
    kubernetes.accounts.add("reader", "reader", [Rule(["get", "list", "create"], ["*"])])
    config.write_text(kubernetes.kubeconfig(f"{url}/kubernetes", "reader"))
    team.write_text(team.read_text().replace("deployment: xr-engine", "deployment: xr-motor"))
    (tmp_path / "charts" / "tamv-core" / "Chart.yaml").unlink()
    ill = await world.run(*DOCTOR, **env, COLUMNS="400")
    assert ill.code == 1
    for said in (
        "Kubernetes · tamv-staging missing right: patch deployments/scale.apps",
        "Kubernetes · cluster missing right: patch nodes",
        "kubectl apply -k deploy/kubernetes/access",
        "There is no workload xr-motor in tamv-prod. There are: blockchain-msr,",
        "Helm · tamv-core",
    ):
        assert said in " ".join(ill.out.replace("`", "").split()), ill.out
    wrong = await world.run(*DOCTOR, **env | {"KUBECONFIG": str(tmp_path / "nothing")}, COLUMNS="400")
    lines = [line for line in wrong.out.splitlines() if "KUBECONFIG" in line]
    assert (wrong.code, len(lines)) == (1, 1) and "Traceback" not in wrong.out + wrong.err
    assert (await world.run("db", "upgrade")).code == 0
    listed = await world.run("incident", "list", KUBECONFIG=str(tmp_path / "nothing"))
    assert listed.code == 0, listed.err


async def test_the_doctor_does_without_what_is_off(world: World) -> None:
    off = (
        "PROMETHEUS_URL",
        "PAGERDUTY_API_TOKEN",
        "PAGERDUTY_ROUTING_KEY",
        "GITHUB_TOKEN",
        "ALERTMANAGER_WEBHOOK_TOKEN",
    )
    examined = await world.run(*DOCTOR, **dict.fromkeys(off, ""))
    assert examined.code == 0, examined.out
    assert examined.out.count("is not set") == 8, examined.out


async def test_the_doctor_proves_the_chain_of_every_timeline(tmp_path: Path) -> None:
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", locale="en") as stage:
        await declared(stage)
        settings = sandbox_settings(stage.url, stage.sandbox, f"sqlite:///{tmp_path}/bot.db", "en")
        with sqlite3.connect(tmp_path / "bot.db") as connection:
            for (guard,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {guard}")  # who may write to the file may do this, too
            connection.execute("UPDATE timeline SET by_name = 'Mallory' WHERE seq = 1")
        examined = await tamv_bot(*DOCTOR, env=environment(settings))
    assert examined.code == 1
    assert "was tampered with at event 1" in examined.out


async def test_a_team_file_that_cannot_be_is_said_line_by_line(world: World, tmp_path: Path) -> None:
    team = yaml.safe_load((ROOT / "teams" / "tamv" / "team.yaml").read_text("utf-8"))
    team["services"]["xr-engine"]["board"] = "rendering"
    (tmp_path / "team.yaml").write_text(yaml.safe_dump(team), encoding="utf-8")
    examined = await world.run(*DOCTOR, BOT_CONFIG=str(tmp_path / "team.yaml"))
    assert examined.code == 1
    said = " ".join(examined.out.split())
    assert "no board `rendering`; did you mean `render`?" in said, said


async def test_wrong_settings_are_a_line_each(world: World) -> None:
    for command in (("serve",), ("doctor",), ("incident", "list"), ("db", "upgrade")):
        ran = await world.run(*command, PORT="many", SLACK_BOT_TOKEN="", GITHUB_REPOSITORY="tamv")
        assert ran.code == 2
        assert sorted(line.partition(":")[0] for line in ran.err.splitlines()) >= ["GITHUB_REPOSITORY", "PORT"]
        assert ran.out == ""


async def test_incidents_are_there_when_slack_is_down(tmp_path: Path) -> None:
    async with demo_environment(Sandbox(), f"sqlite:///{tmp_path}/bot.db", locale="es") as stage:
        await declared(stage)
        settings = sandbox_settings(stage.url, stage.sandbox, f"sqlite:///{tmp_path}/bot.db", "es")
    env = environment(settings)  # the sandbox is gone now, and Slack with it

    listed = await tamv_bot("incident", "list", env=env)
    assert listed.code == 0, listed.err
    assert "INC-" in listed.out and "Render lento <!channel>" in listed.out and "Declarado" in listed.out
    (incident,) = json.loads((await tamv_bot("incident", "list", "--json", env=env)).out)
    assert (incident["title"], incident["severity"], incident["status"]) == (
        "Render lento <!channel>",
        "SEV2",
        "declared",
    )

    shown = await tamv_bot("incident", "show", incident["id"].lower(), env=env | {"LOCALE": "en"})
    assert "Ana Torres declared SEV2: Render lento <!channel>" in shown.out
    told: dict[str, Any] = json.loads((await tamv_bot("incident", "show", incident["id"], "--json", env=env)).out)
    assert [event["kind"] for event in told["timeline"]][:2] == ["declared", "channel_opened"]

    report = await tamv_bot("incident", "report", incident["id"], env=env)
    assert report.out.startswith("# Render lento") and incident["id"] in report.out and report.code == 0
    page = await tamv_bot("incident", "report", incident["id"], "--html", env=env)
    assert page.out.startswith("<!doctype html>")

    unknown = await tamv_bot("incident", "show", "INC-2000-0001", env=env)
    assert (unknown.code, unknown.out, len(unknown.err.splitlines())) == (1, "", 1)
    assert "INC-2000-0001" in unknown.err


async def test_a_database_without_tables_is_named(world: World) -> None:
    ran = await world.run("incident", "list")
    assert (ran.code, ran.out) == (2, "")
    assert "tamv-bot db upgrade" in ran.err
    assert (await world.run("db", "upgrade")).code == 0
    assert "No open incidents" in (await world.run("incident", "list")).out


async def declared(stage: DemoEnvironment) -> None:
    """An incident with its channel."""
    await Person(stage.sandbox.slack, "ana").run("/incident declare Render lento <!channel> sev=SEV2 service=xr-engine")
    async with deadline(20):
        while not [one for one in await stage.bot.deps.store.incidents.list_open() if one.channel]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_bot_whose_engine_cannot_start_ends_and_says_so(tmp_path: Path) -> None:
    """The database answers, so it would wait for ever: nobody would see that what is acknowledged is never done."""
    (tmp_path / "bot.db.workflows").write_bytes(b"this is no database, and never will be" * 100)
    sandbox = Sandbox()
    async with sandbox.serving() as url:
        settings = sandbox_settings(url, sandbox, f"sqlite:///{tmp_path}/bot.db", "en", port=0)
        ran = await tamv_bot("serve", env=environment(settings))
    assert ran.code not in (0, None)
    assert ran.err.splitlines()[-1].startswith("DATABASE_URL: the database cannot be opened: file is not a database.")
