"""Nobody gets past the rules of a target's own place by typing another one."""

from __future__ import annotations

import pytest

from bot.actions.catalogue import ACTIONS
from bot.domain.policy import Risk
from bot.domain.run import ApprovalState, Effect
from tests.harness.play import AT_HAND, FAST, LONG, Play
from tests.harness.scene import TEAM


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ("aws.rds_failover tamv-prod-postgres environment=staging", 2),
        ("s3_prune database older_than=20d environment=staging", 2),
        ("cordon gpu-node-1 environment=staging", 1),
        ("scale xr-engine 0", 2),
    ],
)
async def test_neither_a_typed_environment_nor_another_verb_lowers_a_rule(stage: Play, said: str, needed: int) -> None:
    run = await stage.start_ops(said)
    approval = await stage.until(lambda: stage.bot.deps.store.runs.approval(run.id, "it"), LONG)
    assert (approval.needed, approval.state) == (needed, ApprovalState.WAITING)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("aws.rds_failover tamv-prod-postgres environment=staging", "*aws.rds_failover* en *production*:"),
        ("cordon gpu-node-1 environment=staging", "*kubernetes.cordon*:"),
        ("rollback xr-engine environment=staging namespace=tamv-prod", "*helm.rollback* en *production*:"),
    ],
)
async def test_a_card_says_where_the_target_lies_and_not_what_was_typed(stage: Play, said: str, place: str) -> None:
    stage.sandbox.clock.speed = AT_HAND
    await stage.start_ops(said)
    await stage.told(TEAM, place, seconds=LONG)
    stage.sandbox.clock.speed = FAST


def test_whatever_leaves_a_workload_without_pods_is_destructive_its_undo_too() -> None:
    none, some = ([Effect("kubernetes.scale", {"replicas": replicas})] for replicas in (0, 3))
    scale, shut_down = ACTIONS.get("kubernetes.scale"), ACTIONS.get("kubernetes.shut_down")
    assert (scale.risk_of(some), scale.risk_of(none)) == (Risk.CHANGE, Risk.DESTRUCTIVE)
    assert scale.risk_of(none, undoing=True) is shut_down.risk_of(none) is Risk.DESTRUCTIVE
    assert shut_down.risk_of(some, undoing=True) is Risk.CHANGE


@pytest.mark.parametrize(
    "said",
    [
        "/ops kubernetes.shut_down environment=nonsense",
        "/runbook run smoke-test environment=stagin",
        "/ops pods xr-engine environment=x",
    ],
)
async def test_an_environment_that_nobody_has_is_refused_before_anything_begins(stage: Play, said: str) -> None:
    answer = await stage.answer(said)
    assert "production, staging" in answer
    assert await stage.bot.deps.store.runs.recent() == []
