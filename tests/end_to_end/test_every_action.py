"""Each example of docs/actions.md, typed by Ana in Slack and in a terminal, approved by others, and played to its end
on the sandbox.

For each way one bot and one sandbox, in the order of a story: what one example leaves behind the next one needs. What
only reads needs no story of its own in the terminal: it is answered there before Slack is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.domain.policy import Risk
from bot.domain.run import Approval, Run, RunState, WaitsFor
from bot.messages import results
from bot.messages.run import lines
from demo.environment import sandbox_settings
from sandbox.kubernetes.resources.argo_cd import APPLICATION
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.slack.state import Channel
from sandbox.world.scenario import GitOps
from tests.harness.command_line import Ran, environment, tamv_bot
from tests.harness.play import LONG, Play, playing, story
from tests.harness.scene import TEAM
from tests.real import helm

XR, BRANCH = "xr-engine", "hotfix/lento"
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
    *(
        f"kubernetes.{name}"
        for name in ("top_pods", "top_nodes", "rollout_status", "restart", "rollout_undo", "scale", "set_env")
    ),
    *(f"kubernetes.{name}" for name in ("set_node_selector", "run_job", "run_batches", "exec_dump")),
    *(f"kubernetes.{name}" for name in ("refresh_external_secret", "cordon", "uncordon", "drain")),
    *(f"helm.{name}" for name in ("history", "status", "canary")),
    *(f"prometheus.{name}" for name in ("query", "snapshot", "forecasts", "wait_until", "watch")),
    *(f"helm.{name}" for name in ("promote", "rollback")),
    *(f"bluegreen.{name}" for name in ("start", "check", "switch", "finish")),
    "helm.upgrade",
    *(f"pagerduty.{name}" for name in ("oncall", "page", "note", "acknowledge", "resolve")),
    *("argocd.pause_sync", "slack.announce", "tempo.search", "vault.rotate", "vault.restore", "kubernetes.shut_down"),
]
# Those of PagerDuty are played in Slack alone: an incident that is declared on this clock has hours of reminders due.
IN_TERMINAL = [
    name
    for name in ORDER
    if not name.startswith("pagerduty.")
    and (
        ACTIONS.get(name).risk is not Risk.READ
        or ACTIONS.get(name).waits_for
        or name == "prometheus.watch"  # without it helm.promote refuses
    )
]


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


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", IN_TERMINAL)
async def test_every_example_that_changes_something_does_it_from_a_terminal(beside: Play, name: str) -> None:
    line = await prepared(beside, ACTIONS.get(name))
    known = {run.id for run in await beside.bot.deps.store.runs.recent()}
    typing = asyncio.create_task(typed(beside, line))
    async with working(beside), asyncio.TaskGroup() as watching:
        deciding = watching.create_task(decided_in_terminals(beside, known, watching))
        ran = await typing
        deciding.cancel()
    run = next(run for run in await beside.bot.deps.store.runs.recent() if run.id not in known)
    assert (ran.code, ran.err) == (0, ""), (line, ran)
    assert f"✅ {name} — " in ran.out and ran.out.rstrip().endswith("succeeded"), ran.out
    assert run.by.terminal, "who typed it is known to have done so in a terminal"
    await came_about(beside, line, run)


async def prepared(stage: Play, action: Action) -> str:
    """The action's example, once what it needs is there."""
    example = action.signature.example
    assert example.startswith("/ops ")
    return await PREPARED[action.name](stage, example) if action.name in PREPARED else example


async def came_about(stage: Play, line: str, run: Run) -> None:
    """The run succeeded, says in each language what it did, and had its effect."""
    assert run.state is RunState.SUCCEEDED, (line, story(run), dict(run.step("it").facts))
    step = run.step("it")
    for words in stage.bot.deps.words_by_locale.values():
        (told,) = lines(run, words)
        assert " — " in told, f"nothing is said about {line}: {told}"
        assert ACTIONS.get(step.uses).risk is not Risk.READ or results.sentence(step, words), f"{line} has no answer"
    if step.uses in CAME_ABOUT:
        assert await CAME_ABOUT[step.uses](stage), f"{line} had no effect"


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


async def played(stage: Play, line: str, *, in_incident: bool) -> Run:
    """The run of a line as it ended: approved and answered by others, while GitHub's people and pipelines work."""
    known = {run.id for run in await stage.bot.deps.store.runs.recent()}
    channel = (await incident_channel(stage)).name if in_incident else TEAM
    await stage.person("ana").run(line, channel)

    async def begun() -> Run | None:
        return next((run for run in await stage.bot.deps.store.runs.recent() if run.id not in known), None)

    run: Run = await stage.until(begun, LONG)
    uses = run.step("it").uses
    async with stage.approving(run, "bruno", "carla"), working(stage):
        if ACTIONS.get(uses).waits_for is WaitsFor.ANSWER:
            card = await stage.button(run, "answer")
            with stage.slowly():
                await stage.person("ana").press(card, "answer")
                await stage.see(lambda: stage.person("ana").view)
                await stage.person("ana").submit({"answer": XR})
        return await stage.ended(run)


async def incident_channel(stage: Play) -> Channel:
    """The channel of the incident that is open, or of a new one."""
    opened = [one for one in stage.slack.channels.values() if one.name.startswith("inc-") and one.pins]
    if opened:
        return opened[0]
    with stage.slowly():  # or hours of reminders and snapshots are due before it is furnished
        return await stage.incident()


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


@contextlib.asynccontextmanager
async def working(stage: Play) -> AsyncIterator[None]:
    """Pipelines at GitHub that succeed."""

    async def complete() -> None:
        while True:
            for one in list(stage.sandbox.github.runs.values()):
                if one.status != "completed":
                    stage.sandbox.github.actions.complete(one)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(complete())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# What the examples need that nobody can know beforehand.


async def _own_silence(stage: Play, example: str) -> str:
    return f"/ops alertmanager.unsilence {next(iter(stage.sandbox.alertmanager.silences)).id}"


async def _taken_snapshot(stage: Play, example: str) -> str:
    aws = stage.bot.deps.aws
    assert aws
    await aws.make_snapshot("tamv-prod-postgres", "tamv-snapshot-20251231", "before")

    async def is_available() -> bool:
        snapshot = await aws.snapshot("tamv-snapshot-20251231")
        return snapshot is not None and snapshot.status == "available"

    await stage.until(is_available)
    return example


async def _window_now(stage: Play, example: str) -> str:
    now = stage.sandbox.clock.now()
    begins, ends = now + timedelta(minutes=5), now + timedelta(hours=3)
    return f"/ops flow.window {begins:%Y-%m-%dT%H:%M:%SZ} {ends:%Y-%m-%dT%H:%M:%SZ}"


async def _commit(stage: Play, example: str) -> str:
    code = stage.sandbox.github.code
    code.put_file("services/x.ts", "quality: low\n", "Lower it", "ana-torres", branch=BRANCH, replaces=None)
    return example


async def _pull(stage: Play, example: str) -> str:
    number, pull = next(iter(stage.sandbox.github.pulls.items()))
    if not pull.merged_at:
        stage.sandbox.github.code.check(BRANCH, "tests", "success")
        await stage.sandbox.github.person("carla").approve(pull)
    return example.replace("42", str(number))


async def _owned_by_argo_cd(stage: Play, example: str) -> str:
    stage.world.act([GitOps(do="gitops", service=XR)])
    return example


async def _is_paused(stage: Play) -> bool:
    found = stage.cluster.store.get(APPLICATION, "argocd", XR)
    return found is not None and not found["spec"]["syncPolicy"].get("automated")


Prepare = Callable[[Play, str], Awaitable[str]]
PREPARED: dict[str, Prepare] = {
    "argocd.pause_sync": _owned_by_argo_cd,
    "alertmanager.unsilence": _own_silence,
    "aws.rds_restore": _taken_snapshot,
    "flow.window": _window_now,
    "github.open_pull_request": _commit,
    "github.request_review": _pull,
    "github.wait_for_approval": _pull,
    "github.merge": _pull,
    "github.wait_for_build": _pull,
}


async def _replicas(stage: Play) -> int:
    found = stage.cluster.store.get(DEPLOYMENT, "tamv-prod", XR)
    assert found
    return int(found["spec"]["replicas"])


async def _scaled(stage: Play) -> bool:
    return await _replicas(stage) == 10


async def _shut_down(stage: Play) -> bool:
    return await _replicas(stage) == 0


async def _deployed(stage: Play) -> bool:
    return "v4.2.0" in stage.versions(XR)


async def _merged(stage: Play) -> bool:
    return all(pull.merged_at for pull in stage.sandbox.github.pulls.values())


async def _silenced(stage: Play) -> bool:
    return len(list(stage.sandbox.alertmanager.silences)) == 1


async def _announced(stage: Play) -> bool:
    destination = stage.bot.deps.team.stakeholders_channel  # not where it was typed: the card there has the words too
    assert destination
    return any("Restauramos la base" in text for text in stage.own(destination))


CAME_ABOUT: dict[str, Callable[[Play], Awaitable[bool]]] = {
    "argocd.pause_sync": _is_paused,
    "kubernetes.scale": _scaled,
    "kubernetes.shut_down": _shut_down,
    "helm.upgrade": _deployed,
    "github.merge": _merged,
    "alertmanager.silence": _silenced,
    "slack.announce": _announced,
}
