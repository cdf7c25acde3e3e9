"""The emergency runbooks, played to their ends: what they stop, whom they tell, and the way back."""

from __future__ import annotations

from bot.domain.run import RunState, StepState
from sandbox.aws.backend import PRODUCTION
from sandbox.kubernetes.resources.basic import NETWORK_POLICY
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.world.services import NAMESPACE
from tests.harness.play import Play, story
from tests.harness.scene import TEAM, words

AUTOSCALED = "isabella-ai"
SHUTDOWN = "emergency-shutdown reason='Fuga de datos'"


def replicas(stage: Play) -> dict[str, int]:
    """What is wanted of each service in production."""
    found = stage.cluster.store.all(DEPLOYMENT, NAMESPACE)
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in found}


async def test_two_people_shut_everything_down_and_one_button_brings_it_back(stage: Play) -> None:
    before = replicas(stage)
    run = await stage.start(SHUTDOWN)
    card = await stage.button(run)
    for service, count in before.items():
        assert f"{service}: réplicas {count} → 0" in words(card)
    async with stage.approving(run, "bruno", "diego"):
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert set(replicas(stage).values()) == {0}
    told = await stage.told(TEAM, "Fuga de datos", f"/runbook undo {run.id}")
    assert "xr-engine (3 → 0)" in words(told)
    await stage.person("bruno").press(await stage.button(run, "undo_run"), "undo_run")
    await stage.reached(run, "shut-down", StepState.UNDONE)
    back = replicas(stage)
    assert back.pop(AUTOSCALED) >= before.pop(AUTOSCALED)  # from there on its autoscaler owns the number
    assert back == before


async def test_one_person_is_not_enough(stage: Play) -> None:
    run = await stage.start(f"{SHUTDOWN} service=xr-engine")
    with stage.slowly():
        card = await stage.button(run)
        await stage.person("bruno").press(card, "approve")
        await stage.see(lambda: "Falta 1 de 2" in words(card))
        await stage.person("diego").press(card, "reject")
        done = await stage.ended(run)
    assert (done.state, done.step("shut-down").error) == (RunState.FAILED, "rejected"), story(done)
    assert 0 not in replicas(stage).values()


async def test_what_resists_leaves_the_others_down(stage: Play) -> None:
    before = replicas(stage)
    run = await stage.start(SHUTDOWN)
    await stage.button(run)
    stage.cluster.store.remove(DEPLOYMENT, NAMESPACE, "quantum-processor")
    async with stage.approving(run, "bruno", "diego"):
        done = await stage.ended(run)
    assert done.state is RunState.FAILED, story(done)
    assert replicas(stage) == dict.fromkeys(set(before) - {"quantum-processor"}, 0)


async def test_a_service_that_there_is_not_is_refused_before_anything_is_done(stage: Play) -> None:
    done = await stage.play(f"{SHUTDOWN} service=xr-motor")
    assert (done.state, done.step("shut-down").error) == (RunState.FAILED, "unknown_service"), story(done)
    assert 0 not in replicas(stage).values()


BREACH = "security-incident service=xr-engine what='Conexiones a una dirección desconocida'"


def isolated(stage: Play) -> bool:
    return stage.cluster.store.get(NETWORK_POLICY, NAMESPACE, "isolate-xr-engine") is not None


async def test_a_breach_is_isolated_the_secrets_rotated_the_evidence_kept_and_people_told(stage: Play) -> None:
    before = {path: dict(stage.sandbox.vault.read(path) or {}) for path in ("tamv-prod/auth", "tamv-prod/api")}
    run = await stage.start(BREACH)
    async with stage.approving(run, "bruno", "diego", "carla"):
        await stage.reached(run, "isolate", StepState.DONE)
        assert isolated(stage)
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert {step.state for step in done.steps} == {StepState.DONE}, story(done)
    assert not isolated(stage)
    for path, name in (("tamv-prod/auth", "jwt-secret"), ("tamv-prod/api", "api-key")):
        assert (stage.sandbox.vault.read(path) or {})[name] != before[path][name]
    assert (done.step("logs").result or {})["count"] > 0
    made = (done.step("database").result or {})["snapshot"]
    assert stage.sandbox.aws.rds.database_snapshots[made].database.db_instance_identifier == PRODUCTION
    assert any("Conexiones" in page.title for page in stage.sandbox.pagerduty.incidents.values())
    await stage.told(TEAM, "xr-engine está aislado", "Conexiones")


async def test_what_fails_later_leaves_the_service_isolated(stage: Play) -> None:
    run = await stage.start(BREACH)
    async with stage.approving(run, "bruno"):
        await stage.reached(run, "rotate-jwt", StepState.WAITING)
    with stage.slowly():
        stage.sandbox.vault.write("tamv-prod/auth", {"jwt-secret": "somebody else's"})
        card = await stage.button(run)
        for handle in ("bruno", "diego"):
            await stage.person(handle).press(card, "approve")
        done = await stage.ended(run)
    assert (done.state, done.step("rotate-jwt").error) == (RunState.FAILED, "changed_since"), story(done)
    assert isolated(stage)
