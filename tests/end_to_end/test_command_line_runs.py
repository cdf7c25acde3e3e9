"""`tamv-bot runbook …` and `tamv-bot ops …`: the same as in Slack, from a terminal, also while Slack is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.domain.run import Run, RunState
from bot.store.database import Database
from bot.store.store import Store
from demo.environment import demo_environment, sandbox_settings
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.seed import write_charts
from sandbox.server import Sandbox
from tests.actions.test_kubernetes import kubeconfig
from tests.architecture.tree import ROOT
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.real.helm import helm

ANA, BRUNO, EMMA = ("--as", "ana-torres"), ("--as", "bruno-diaz"), ("--as", "emma-clark")


@dataclass
class Terminal:
    """Where somebody types, beside a cluster; no bot runs, and Slack is away."""

    sandbox: Sandbox
    env: dict[str, str]
    store: Store

    async def types(self, *arguments: str, **others: str) -> Ran:
        return await tamv_bot(*arguments, env=self.env | others)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    sandbox = Sandbox(clock=Clock(speed=60))
    async with sandbox.serving() as url:
        database_url = f"sqlite:///{tmp_path}/bot.db"
        config = kubeconfig(tmp_path, url)
        settings = sandbox_settings(
            url,
            sandbox,
            database_url,
            "en",
            kubeconfig=config,
            prometheus_url=None,
            slack_api_url="http://127.0.0.1:9/",
        )
        database = Database(database_url)
        yield Terminal(sandbox, environment(settings), Store(database, "test"))
        await database.close()


async def test_what_there_is_and_what_one_does_is_told_without_any_settings() -> None:
    listed = await tamv_bot("runbook", "list", env={"LOCALE": "en"})
    assert listed.code == 0, listed.err
    assert "render-latency — High latency in the 4D render" in listed.out
    shown = await tamv_bot("runbook", "show", "render-latency", env={"LOCALE": "es"})
    assert shown.code == 0
    assert "kubernetes.scale" in shown.out and "flowchart TD" in shown.out and "✋ 1 × incident_commander" in shown.out
    unknown = await tamv_bot("runbook", "show", "render-latenci", env={"LOCALE": "en"})
    assert (unknown.code, unknown.out) == (1, "") and "Did you mean render-latency?" in unknown.err.replace("`", "")


async def test_validate_says_the_place_and_exits_with_1(tmp_path: Path) -> None:
    good = await tamv_bot("runbook", "validate", env={"LOCALE": "en"})
    assert good.code == 0, good.err
    assert "runbooks are valid" in good.out
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\ntitle: {es: Malo, en: Bad}\nsteps:\n  - id: a\n    uses: kubernetes.scael\n    with: {x: 1}\n"
    )
    bad = await tamv_bot("runbook", "validate", str(path), env={"LOCALE": "en"})
    assert (bad.code, bad.out) == (1, "")
    assert bad.err == "bad.yaml:5:5: unknown action `kubernetes.scael`; did you mean `kubernetes.scale`?\n"


async def test_validate_looks_in_the_cluster(terminal: Terminal, tmp_path: Path) -> None:
    assert (await terminal.types("db", "upgrade")).code == 0
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\ntitle: {es: Malo, en: Bad}\nsteps:\n  - id: a\n    uses: kubernetes.run_job\n"
        "    with: {cron_job: db-maintenanse, service: tamv-core}\n"
    )
    bad = await terminal.types("runbook", "validate", "--cluster", str(path))
    assert bad.code == 1
    assert bad.err == "bad.yaml:6:12: no cron job `db-maintenanse` in tamv-prod\n"
    good = await terminal.types("runbook", "validate", "--cluster")
    assert good.code == 0, good.err


async def test_an_action_is_done_and_told_while_slack_is_down(terminal: Terminal) -> None:
    dry = await terminal.types("ops", "scale", "xr-engine", "5", "--dry-run", *EMMA)
    assert dry.code == 0, dry.err
    assert "3 → 5" in dry.out
    done = await terminal.types("ops", "scale", "xr-engine", "replicas=5", *ANA)
    assert done.code == 0, done.err
    assert "3 → 5" in done.out and "✅" in done.out and done.out.rstrip().endswith("succeeded")
    run = (await terminal.store.runs.recent())[0]
    assert (run.state, run.by.id) == (RunState.SUCCEEDED, "U0ANA00001")
    read = await terminal.types("ops", "pods", "xr-engine", *EMMA)
    assert read.code == 0 and read.out.count("xr-engine-") >= 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("ops", "scale", "xr-engine", "5", *EMMA), "Only responders can change anything"),
        (("ops", "scale", "xr-engine", "5", "--as", "mallory"), "mallory"),
        (("ops", "scael", "xr-engine", "5", *ANA), "scale"),
        (("ops", "scale", "xr-engine", "-1", *ANA), "0 or more"),
        (("ops", "scale", "xr-engine", "5", "--environmnt=staging", *ANA), "`environment=`"),
        (("runbook", "run", "rollback-fst", "service=xr-engine", *ANA), "rollback-fast"),
        (("runbook", "run", "rollback-fast", "servce=xr-engine", *ANA), "service"),
    ],
)
async def test_the_policy_is_the_same(terminal: Terminal, line: tuple[str, ...], said: str) -> None:
    refused = await terminal.types(*line)
    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err
    assert await terminal.store.runs.recent() == []


async def test_what_was_done_is_undone_and_looked_at_from_the_terminal(terminal: Terminal) -> None:
    assert (await terminal.types("ops", "scale", "xr-engine", "5", *ANA)).code == 0
    run = (await terminal.store.runs.recent())[0]
    refused = await terminal.types("runbook", "undo", run.id, *EMMA)
    assert (refused.code, refused.out) == (1, "") and "Only responders can change anything" in refused.err
    assert replicas(terminal) == 5
    undone = await terminal.types("runbook", "undo", run.id.removeprefix("R-").upper(), *BRUNO)
    assert undone.code == 0, undone.err
    assert "↩️" in undone.out and undone.out.rstrip().endswith(f"{run.id}: undone")
    assert replicas(terminal) == 3
    shown = await terminal.types("runbook", "status", run.id)
    assert shown.code == 0, shown.err
    assert "↩️" in shown.out and f"{run.id} · requested by Ana Torres" in shown.out
    nothing, nobody = await asyncio.gather(
        terminal.types("runbook", "status"), terminal.types("runbook", "status", "R-000000")
    )
    assert (nothing.code, nothing.out) == (0, "No runbook is running.\n")
    assert (nobody.code, nobody.out) == (1, "") and "Unknown run R-000000" in nobody.err.replace("`", "")


async def test_an_undo_that_would_go_over_somebody_elses_change_exits_with_1(terminal: Terminal) -> None:
    assert (await terminal.types("ops", "scale", "xr-engine", "5", *ANA)).code == 0
    run = (await terminal.store.runs.recent())[0]
    cluster = terminal.sandbox.kubernetes.store
    deployment = cluster.get(DEPLOYMENT, "tamv-prod", "xr-engine")
    assert deployment
    cluster.put(DEPLOYMENT, {**deployment, "spec": {**deployment["spec"], "replicas": 8}})
    undone = await terminal.types("runbook", "undo", run.id, *ANA)
    assert undone.code == 1
    assert "not undone: " in undone.out and undone.out.rstrip().endswith(f"{run.id}: not undone: it")
    assert replicas(terminal) == 8


async def test_a_no_and_a_stop_come_from_another_terminal(terminal: Terminal) -> None:
    assert (await terminal.types("db", "upgrade")).code == 0
    asking = asyncio.create_task(terminal.types("ops", "cordon", "gpu-node-1", *ANA))
    run, digest = await waiting(terminal)
    status = await terminal.types("runbook", "status", run.id)
    assert f"tamv-bot runbook approve {run.id} it {digest}" in status.out and "✋" in status.out
    no = await terminal.types("runbook", "reject", run.id, "it", digest, *BRUNO)
    asked_for = await asking
    assert (no.code, asked_for.code) == (0, 1), no.err + asked_for.err
    assert no.out.rstrip().endswith("failed") and "gpu-node-1" in asked_for.out
    stopping = asyncio.create_task(terminal.types("ops", "cordon", "gpu-node-1", *ANA))
    run, _ = await waiting(terminal)
    stopped = await terminal.types("runbook", "cancel", run.id, *BRUNO)
    assert (stopped.code, (await stopping).code) == (0, 1), stopped.err
    assert stopped.out.rstrip().endswith("cancelled")


def replicas(terminal: Terminal) -> int:
    found = terminal.sandbox.kubernetes.store.get(DEPLOYMENT, "tamv-prod", "xr-engine")
    assert found
    return int(found["spec"]["replicas"])


async def waiting(terminal: Terminal) -> tuple[Run, str]:
    """The run that waits for somebody, and the digest of what it shows."""
    store = terminal.store
    async with deadline(30):
        while not (asked := await store.runs.waiting()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
    return await store.runs.get(asked[0].run_id), asked[0].digest


async def test_somebody_else_approves_in_a_terminal_of_theirs(terminal: Terminal) -> None:
    """Two processes on one database: whichever leads plays the run, and both see it."""
    assert (await terminal.types("db", "upgrade")).code == 0
    asking = asyncio.create_task(terminal.types("ops", "cordon", "gpu-node-1", *ANA))
    run, digest = await waiting(terminal)
    own = await terminal.types("runbook", "approve", run.id, "it", digest, *ANA)
    assert own.code == 1 and "another person must approve it" in own.err
    other = await terminal.types("runbook", "approve", run.id, "it", digest, *BRUNO)
    asked_for = await asking
    assert (other.code, asked_for.code) == (0, 0), other.err + asked_for.err
    assert f"tamv-bot runbook approve {run.id} it {digest}" in asked_for.out
    known = await terminal.store.runs.approval(run.id, "it")
    assert known and [one.person for one in known.decisions] == ["U0BRUNO002"]


async def test_a_question_is_answered_in_a_terminal(terminal: Terminal) -> None:
    assert (await terminal.types("db", "upgrade")).code == 0
    asking = asyncio.create_task(terminal.types("ops", "flow.ask", "Which service?", "service", *ANA))
    run, digest = await waiting(terminal)
    wrong = await terminal.types("runbook", "answer", run.id, "it", digest, "nobody", *ANA)
    assert (wrong.code, wrong.out) == (1, "") and wrong.err
    right = await terminal.types("runbook", "answer", run.id, "it", digest, "xr-engine", *ANA)
    asked_for = await asking
    assert (right.code, asked_for.code) == (0, 0), right.err + asked_for.out
    assert f"tamv-bot runbook answer {run.id} it {digest} ANSWER" in asked_for.out
    assert "xr-engine" in asked_for.out


async def test_the_bot_that_leads_plays_what_a_terminal_asks_for(tmp_path: Path) -> None:
    sandbox = Sandbox(clock=Clock(speed=60))
    async with sandbox.serving() as cluster:
        config = kubeconfig(tmp_path, cluster)
        async with demo_environment(
            Sandbox(), f"sqlite:///{tmp_path}/bot.db", kubeconfig=config, prometheus_url=None, locale="en"
        ) as stage:
            settings = sandbox_settings(
                stage.url, stage.sandbox, f"sqlite:///{tmp_path}/bot.db", "en", kubeconfig=config, prometheus_url=None
            )
            done = await tamv_bot("ops", "scale", "xr-engine", "5", *ANA, env=environment(settings))
            assert done.code == 0, done.err
            assert stage.bot.engine.runs_workflows
            (run,) = await stage.bot.deps.store.runs.recent()
            assert run.state is RunState.SUCCEEDED
            undone = await tamv_bot("runbook", "undo", run.id, *ANA, env=environment(settings))
            assert undone.code == 0, undone.err
            assert undone.out.rstrip().endswith(f"{run.id}: undone")
            assert stage.bot.engine.runs_workflows


async def test_a_release_and_a_runbook_are_played_to_their_end_in_the_terminal(
    terminal: Terminal, tmp_path: Path
) -> None:
    write_charts(tmp_path / "charts")
    team = tmp_path / "team.yaml"
    shipped = (ROOT / "teams" / "tamv" / "team.yaml").read_text("utf-8")
    team.write_text(shipped.replace("chart: charts/", f"chart: {tmp_path}/charts/"), "utf-8")
    for folder in ("runbooks", "manifests"):
        (tmp_path / folder).symlink_to(ROOT / "teams" / "tamv" / folder)
    env = {"BOT_CONFIG": str(team), "HELM": str(await asyncio.to_thread(helm))}
    staging = ("--environment", "staging")
    deployed = await terminal.types("ops", "deploy", "xr-engine", "tag=v4.2.0", *staging, *ANA, **env)
    assert deployed.code == 0, deployed.out + deployed.err
    assert "image.tag=v4.2.0" in deployed.out and "revision 4" in deployed.out
    inputs = ("service=tamv-core", "tag=v2.5.0")
    played = await terminal.types("runbook", "run", "deploy-staging", *inputs, *ANA, **env)
    assert played.code == 0 and "Traceback" not in played.err, played.out + played.err
    assert played.out.rstrip().endswith("succeeded")
    silenced = await terminal.types(
        "ops",
        "alertmanager.silence",
        "alert=HighLatency",
        "service=xr-engine",
        "duration=24h",
        "reason=mending it",
        *ANA,
    )
    assert silenced.code == 0 and "silence" in silenced.out, silenced.out + silenced.err
    impossible = await terminal.types("ops", "scale", "xr-engine", "500", "--dry-run", *ANA)
    assert impossible.code == 1 and impossible.out.rstrip().endswith("failed"), impossible.out
    assert not (await terminal.store.runs.list_running())
