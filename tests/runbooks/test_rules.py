"""Nobody gets past the rules of a target's own place by typing another one."""

from __future__ import annotations

import pytest

from bot.domain.run import ApprovalState
from tests.harness.play import Play


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ("aws.rds_failover tamv-prod-postgres environment=staging", 2),
        ("s3_prune database older_than=20d environment=staging", 2),
        ("cordon gpu-node-1 environment=staging", 1),
    ],
)
async def test_a_typed_environment_lowers_no_rule(stage: Play, said: str, needed: int) -> None:
    run = await stage.start_ops(said)
    approval = await stage.until(lambda: stage.bot.deps.store.runs.approval(run.id, "it"))
    assert (approval.needed, approval.state) == (needed, ApprovalState.WAITING)


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
