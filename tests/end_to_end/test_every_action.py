"""Each example of docs/actions.md, typed by Ana in Slack and in a terminal, approved by others, and played to its end
on the sandbox.

For each way one bot and one sandbox, in the order of a story: what one example leaves behind the next one needs. What
only reads needs no story of its own in the terminal: it is answered there before Slack is asked.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.actions.catalogue import ACTIONS
from bot.domain.policy import Risk
from bot.domain.run import Approval, WaitsFor
from demo.environment import sandbox_settings
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.harness.examples import SHOWN, XR, came_about, incident_channel, played, prepared, working
from tests.harness.play import LONG, Play, playing
from tests.real import helm

ORDER = [
    "litmus.run",  # while the figures hold and no incident is open
    *("alertmanager.silence", "alertmanager.unsilence"),
    *(
        f"aws.{name}"
        for name in ("rds_status", "rds_snapshot", "rds_restore", "rds_failover", "rds_protect", "s3_prune")
    ),
    *(f"aws.{name}" for name in ("rds_restore_temporary", "rds_delete_temporary", "rds_proof", "backups")),
    *(f"flow.{name}" for name in ("wait", "check", "approve", "ask", "next_window", "window")),
    *(f"github.{name}" for name in ("create_issue", "create_branch", "open_pull_request", "request_review")),
    *(f"github.{name}" for name in ("wait_for_approval", "merge", "wait_for_build", "dispatch_workflow")),
    *("github.workflow_status", "pipeline.gate", "pipeline.compare", "http.check"),
    *("migration.gate", "migration.review"),
    *(f"kubernetes.{name}" for name in ("apply", "delete", "describe", "events", "logs", "exec", "curl", "pods")),
    *(f"kubernetes.{name}" for name in ("top_pods", "top_nodes", "rollout_status", "restart", "rollout_undo")),
    *(f"kubernetes.{name}" for name in ("cordon", "uncordon", "drain", "scale", "set_env", "set_node_selector")),
    *(f"kubernetes.{name}" for name in ("run_job", "run_batches", "exec_dump", "refresh_external_secret")),
    *(f"helm.{name}" for name in ("history", "status", "canary")),
    *(f"prometheus.{name}" for name in ("query", "snapshot", "forecasts", "wait_until", "watch")),
    *(f"helm.{name}" for name in ("promote", "rollback")),
    *(f"bluegreen.{name}" for name in ("start", "check", "switch", "finish")),
    "helm.upgrade",
    *(f"pagerduty.{name}" for name in ("oncall", "page", "note", "acknowledge", "resolve")),
    *("argocd.pause_sync", "slack.announce", "tempo.search", "vault.rotate", "vault.restore", "kubernetes.shut_down"),
]
IN_TERMINAL = [
    name
    for name in ORDER
    if ACTIONS.get(name).risk is not Risk.READ
    or ACTIONS.get(name).waits_for
    or name == "prometheus.watch"  # without it helm.promote refuses
]
OF_AN_INCIDENT = [name for name in IN_TERMINAL if name.startswith("pagerduty.")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    async with playing(tmp_path_factory.mktemp("every")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """Another bot and another sandbox, for the terminal's story."""
    async with playing(tmp_path_factory.mktemp("terminal")) as made:
        yield made


def test_no_action_is_left_out() -> None:
    assert sorted(ORDER) == [action.name for action in ACTIONS.all()]


def test_what_every_change_shows_in_the_world_is_looked_at() -> None:
    assert sorted(SHOWN) == [action.name for action in ACTIONS.all() if action.risk is not Risk.READ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ORDER)
async def test_every_example_does_what_it_says_and_says_what_it_did(stage: Play, name: str) -> None:
    action = ACTIONS.get(name)
    line = await prepared(stage, action)
    if action.risk is Risk.READ and not action.waits_for:
        ran = await typed(stage, line)
        assert (ran.code, ran.err) == (0, ""), (line, ran)
        assert ran.out.rstrip().endswith("succeeded") and f"✅ {name} — " in ran.out, ran.out
    run = await played(stage, line, in_incident=name.startswith("pagerduty."))
    await came_about(stage, line, run)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def in_incident(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """One more bot and sandbox, for what is done in an incident from a terminal."""
    async with playing(tmp_path_factory.mktemp("incident")) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [name for name in IN_TERMINAL if name not in OF_AN_INCIDENT])
async def test_every_example_that_changes_something_does_it_from_a_terminal(beside: Play, name: str) -> None:
    await does_it_from_a_terminal(beside, name)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", OF_AN_INCIDENT)
async def test_every_example_of_an_incident_does_it_from_a_terminal(in_incident: Play, name: str) -> None:
    incident = await in_incident.record(await incident_channel(in_incident))
    await does_it_from_a_terminal(in_incident, name, "--incident", incident.id)


async def does_it_from_a_terminal(beside: Play, name: str, *options: str) -> None:
    """Type an example, let others decide in terminals, and look at its end and at the world."""
    line = await prepared(beside, ACTIONS.get(name))
    known = {run.id for run in await beside.bot.deps.store.runs.recent()}
    typing = asyncio.create_task(typed(beside, line, *options))
    async with working(beside), asyncio.TaskGroup() as watching:
        deciding = watching.create_task(decided_in_terminals(beside, known, watching))
        ran = await typing
        deciding.cancel()
    run = next(run for run in await beside.bot.deps.store.runs.recent() if run.id not in known)
    assert (ran.code, ran.err) == (0, ""), (line, ran)
    assert f"✅ {name} — " in ran.out and ran.out.rstrip().endswith("succeeded"), ran.out
    assert run.by.terminal, "who typed it is known to have done so in a terminal"
    await came_about(beside, line, run)


async def typed(stage: Play, line: str, *options: str) -> Ran:
    """What `tamv-bot ops` answers Ana to an example, in English."""
    words = shlex.split(line.removeprefix("/ops "))
    return await tamv_bot("ops", *words, *options, "--as", "ana-torres", env=in_terminal(stage))


def in_terminal(stage: Play) -> dict[str, str]:
    """The environment of a terminal beside the bot, in English."""
    folder = stage.database.parent
    settings = sandbox_settings(
        stage.url, stage.sandbox, f"sqlite:///{stage.database}", "en", kubeconfig=str(folder / "kubeconfig"),
        team_dir=str(folder / "team"), helm=str(helm.helm()),
    )  # fmt: skip
    return environment(settings)


async def decided_in_terminals(stage: Play, known: set[str], watching: asyncio.TaskGroup) -> None:
    """Answer the question of a run that is not known, or let others approve it one after the other, in terminals
    that watch it to its end.
    """
    store, others = stage.bot.deps.store, iter(("bruno-diaz", "diego-ruiz"))

    async def asked() -> Approval | None:
        return next((one for one in await store.runs.waiting() if one.run_id not in known), None)

    while True:
        approval = await stage.until(asked, 10 * LONG)
        shown = (approval.run_id, approval.step_id, approval.digest)
        uses = (await store.runs.get(approval.run_id)).step("it").uses
        is_question = ACTIONS.get(uses).waits_for is WaitsFor.ANSWER
        words = ("answer", *shown, XR) if is_question else ("approve", *shown)
        who = "ana-torres" if is_question else next(others)

        async def is_decided(before: Approval = approval) -> bool:
            now = await store.runs.approval(before.run_id, before.step_id)
            return now != before

        with stage.slowly():  # a terminal takes seconds to start
            watching.create_task(succeeds(stage, *words, "--as", who))
            await stage.until(is_decided, LONG)


async def succeeds(stage: Play, *words: str) -> None:
    """A decision of `tamv-bot runbook` is taken, and the run that it watches succeeds."""
    ran = await tamv_bot("runbook", *words, env=in_terminal(stage))
    assert (ran.code, ran.err) == (0, ""), (words, ran)
