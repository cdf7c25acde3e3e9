"""The drills, played to their ends: the fault waits for a word, the world feels it, and it ends again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from bot.actions.catalogue import ACTIONS
from bot.domain.policy import StepApproval
from bot.domain.run import Run, RunState, StepState
from bot.runbooks import Library
from bot.team import load_team, policy_of
from sandbox.aws.backend import PRODUCTION
from sandbox.kubernetes.resources.basic import NETWORK_POLICY
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.litmus import CHAOS_ENGINE, CHAOS_RESULT
from sandbox.kubernetes.resources.nodes import NODE
from sandbox.world.services import NAMESPACE
from tests.architecture.tree import ROOT
from tests.harness.play import Play, story
from tests.harness.scene import TEAM, words

BREAKS = {  # the drill's step that breaks something
    "drill-gpu-node-loss": "lose-node",
    "drill-traffic-surge": "load",
    "drill-s3-outage": "block",
    "drill-db-failover": "fail-over",
    "drill-chaos": "chaos",
}


async def inject(stage: Play, run: Run) -> None:
    """Ana says yes to what the run asks."""
    with stage.slowly():
        ana = stage.person("ana")
        await ana.press(await stage.button(run, "answer"), "answer")
        await stage.see(lambda: ana.view)
        await ana.submit({"answer": "true"})


def takes_pods(stage: Play, node: str) -> bool:
    found = stage.cluster.store.get(NODE, "", node)
    assert found
    return not found["spec"].get("unschedulable")


async def test_a_gpu_node_is_lost_and_returns(stage: Play) -> None:
    run = await stage.start("drill-gpu-node-loss")
    await stage.button(run, "answer")
    assert takes_pods(stage, "gpu-node-2")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "lose-node", StepState.DONE)
        assert not takes_pods(stage, "gpu-node-2")
        assert "gpu-node-2" not in {pod.node for pod in stage.world.pods("xr-engine")}
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert takes_pods(stage, "gpu-node-2")


def engines(stage: Play) -> list[str]:
    return [str(one["spec"]["engineState"]) for one in stage.cluster.store.all(CHAOS_ENGINE, NAMESPACE)]


@pytest.mark.parametrize("by", ["cancel", "incident"])
async def test_litmus_is_stopped_at_once_by_whoever_cancels_and_by_an_incident(stage: Play, by: str) -> None:
    run = await stage.start("drill-chaos")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        await stage.until(lambda: asyncio.sleep(0, stage.cluster.store.all(CHAOS_RESULT, NAMESPACE)))
    with stage.slowly():
        assert engines(stage) == ["active"]
        if by == "cancel":
            await stage.person("ana").press(await stage.button(run, "cancel_run"), "cancel_run")
        else:
            await stage.person("bruno").run("/incident declare Pagos caídos sev=SEV2 service=blockchain-msr", TEAM)
        await stage.until(lambda: asyncio.sleep(0, engines(stage) == ["stop"]))
    done = await stage.ended(run)
    assert done.state is (RunState.CANCELLED if by == "cancel" else RunState.UNDONE), story(done)
    if by == "incident":
        assert done.step("chaos").error == "chaos_stopped_for_incident"


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_whatever_a_drill_breaks_needs_two_people(name: str) -> None:
    drill = Library.read(ROOT / "teams/tamv/runbooks", ACTIONS, load_team(ROOT / "teams/tamv/team.yaml")).get(name)
    policy = policy_of(load_team(ROOT / "teams/tamv/team.yaml"))
    (step,) = (step for step in drill.steps if step.id == BREAKS[name])
    demanded = StepApproval(step.approval.count or 0) if step.approval else StepApproval()
    needs = policy.requires(
        step.uses, ACTIONS.get(step.uses).risk, {"production"}, datetime(2026, 3, 4, tzinfo=UTC), demanded
    )
    assert needs.approvals == 2


async def test_one_person_alone_loses_no_node(stage: Play) -> None:
    run = await stage.start("drill-gpu-node-loss")
    await inject(stage, run)
    await stage.reached(run, "lose-node", StepState.WAITING)
    with stage.slowly():
        card = await stage.button(run)
        await stage.person("bruno").press(card, "approve")
        await stage.see(lambda: "Falta 1 de 2" in words(card))
        assert takes_pods(stage, "gpu-node-2")
        await stage.person("carla").press(card, "reject")
        done = await stage.ended(run)
    assert (done.step("lose-node").error, takes_pods(stage, "gpu-node-2")) == ("rejected", True), story(done)


async def test_a_node_whose_loss_is_not_mastered_in_time_returns_too(stage: Play) -> None:
    stage.world.set_load(2.2, "xr-engine")  # peak time: two nodes are not enough
    run = await stage.start("drill-gpu-node-loss")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        done = await stage.ended(run)
    assert (done.state, done.step("recovered").error) == (RunState.UNDONE, "figures_not_back"), story(done)
    assert takes_pods(stage, "gpu-node-2")


async def test_the_database_changes_its_zone(stage: Play) -> None:
    before = stage.sandbox.aws.rds.databases[PRODUCTION].availability_zone
    run = await stage.start("drill-db-failover")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert (done.step("after").result or {})["zone"] != before
    assert (done.step("restorable").result or {})["restorable_until"]


async def test_a_failover_that_breaks_is_said(stage: Play) -> None:
    stage.sandbox.aws.breaks = "incompatible-network"
    run = await stage.start("drill-db-failover")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        done = await stage.ended(run)
    assert (done.state, done.step("fail-over").error) == (RunState.FAILED, "database_state"), story(done)


def blocked(stage: Play) -> bool:
    return stage.cluster.store.get(NETWORK_POLICY, NAMESPACE, "drill-block-s3") is not None


async def test_s3_goes_and_returns(stage: Play) -> None:
    run = await stage.start("drill-s3-outage")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "outage", StepState.PERFORMING)
        assert blocked(stage)
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert (done.step("during").result or {})["values"]["error_rate"] > 2
    assert done.step("unblock").verified
    assert not blocked(stage)


async def test_s3_returns_without_anybodys_approval_too(stage: Play) -> None:
    run = await stage.start("drill-s3-outage outage=1m")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "block", StepState.DONE)
    done = await stage.ended(run)  # nobody presses: it expires
    assert (done.state, done.step("unblock").error) == (RunState.UNDONE, "expired"), story(done)
    assert not blocked(stage)


async def test_ten_times_the_traffic_is_borne_by_a_team_that_scales(stage: Play) -> None:
    run = await stage.start("drill-traffic-surge")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        await stage.reached(run, "load", StepState.PERFORMING)
        stage.world.scale("tamv-core", 18)
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert stage.world.figures("tamv-core").rate < 200


async def test_nobody_scales_and_the_surge_is_not_borne(stage: Play) -> None:
    run = await stage.start("drill-traffic-surge")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "carla"):
        done = await stage.ended(run)
    assert (done.state, done.step("load").error) == (RunState.UNDONE, "job_failed"), story(done)
    assert not stage.cluster.store.all(JOB, NAMESPACE), "what it began is gone"


def isolated(stage: Play) -> bool:
    return stage.cluster.store.get(NETWORK_POLICY, NAMESPACE, "isolate-xr-engine") is not None


def api_key(stage: Play) -> str:
    return str((stage.sandbox.vault.read("tamv-prod/api") or {})["api-key"])


async def test_a_leaked_secret_is_isolated_rotated_and_the_evidence_kept(stage: Play) -> None:
    before = api_key(stage)
    run = await stage.start("drill-security-leak")
    await inject(stage, run)
    async with stage.approving(run, "bruno", "diego"):
        await stage.reached(run, "isolate", StepState.DONE)
        assert isolated(stage)
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert {step.state for step in done.steps} == {StepState.DONE}, story(done)
    assert not isolated(stage) and api_key(stage) != before
    assert (done.step("restorable").result or {})["restorable_until"], "the RPO is measured"
    made = (done.step("database").result or {})["snapshot"]
    assert made in stage.sandbox.aws.rds.database_snapshots and (done.step("logs").result or {})["count"] > 0
    assert api_key(stage) not in str(done)


async def test_a_leak_that_one_commander_alone_answers_is_not_isolated_and_leaves_nothing(stage: Play) -> None:
    before = api_key(stage)
    run = await stage.start("drill-security-leak")
    await inject(stage, run)
    await stage.reached(run, "isolate", StepState.WAITING)
    with stage.slowly():
        card = await stage.button(run)
        await stage.person("bruno").press(card, "approve")
        await stage.see(lambda: "Falta 1 de 2" in words(card))
        await stage.person("diego").press(card, "reject")
        done = await stage.ended(run)
    assert (done.state, done.step("isolate").error) == (RunState.UNDONE, "rejected"), story(done)
    assert not isolated(stage) and api_key(stage) == before
    assert not stage.cluster.store.all(JOB, NAMESPACE), "the leak is gone"
