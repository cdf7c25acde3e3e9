"""`kubernetes.*` rehearsed, done and undone by the official client, in the sandbox's cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.actions import kubernetes as k
from bot.actions.context import Context
from bot.domain.errors import BadInput, NotFound, Refused, WrongState
from bot.integrations.effects import dry_run
from demo.environment import DemoEnvironment, demo_environment
from sandbox.clock import Clock
from sandbox.kubernetes.access import Rule
from sandbox.kubernetes.resources.policy import RESOURCE_QUOTA
from sandbox.server import Sandbox

XR = "xr-engine"


def kubeconfig(folder: Path, url: str, token: str | None = None) -> str:
    """As kubectl reads it."""
    path = folder / f"kubeconfig-{token}"
    user: dict[str, Any] = {"token": token} if token else {}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": f"{url}/kubernetes"}}],
                "users": [{"name": "it", "user": user}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            }
        )
    )
    return str(path)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[DemoEnvironment]:
    sandbox = Sandbox(clock=Clock(speed=60))
    async with sandbox.serving() as cluster:
        config = kubeconfig(tmp_path, cluster)
        async with demo_environment(
            Sandbox(), f"sqlite:///{tmp_path}/bot.db", kubeconfig=config, prometheus_url=None
        ) as made:
            made.sandbox.__dict__["cluster"] = sandbox
            yield made


@pytest.fixture
def ctx(stage: DemoEnvironment) -> Context:
    return Context(stage.bot.deps, "R-1/a", "production", began=stage.bot.deps.clock.now())


async def test_scaling_is_shown_done_and_undone(ctx: Context) -> None:
    before = await ctx.kubernetes.workloads.replicas(XR, "tamv-prod")
    with dry_run() as recorder:
        shown = await k.scale(ctx, XR, before + 2)
    assert [effect.key for effect in recorder.effects] == ["kubernetes.scale"]
    assert (shown.before, shown.after) == (before, before + 2)
    assert await ctx.kubernetes.workloads.replicas(XR, "tamv-prod") == before
    done = await k.scale(ctx, XR, before + 2)
    assert done == shown
    assert (await k.rollout_status(ctx, XR)).replicas == before + 2
    await k.restore_replicas(ctx, done)
    assert await ctx.kubernetes.workloads.replicas(XR, "tamv-prod") == before


async def test_more_replicas_than_a_quota_has_room_for_are_refused_with_how_many_fit(
    stage: DemoEnvironment, ctx: Context
) -> None:
    before = await ctx.kubernetes.workloads.replicas(XR, "tamv-prod")
    cluster = stage.sandbox.__dict__["cluster"].kubernetes
    pods = len(await ctx.kubernetes.pods.list("tamv-prod"))
    quota = {"metadata": {"name": "small", "namespace": "tamv-prod"}, "spec": {"hard": {"pods": str(pods + 2)}}}
    made = cluster.writer.create(RESOURCE_QUOTA, quota)
    cluster.cluster.settle()
    with dry_run():
        with pytest.raises(WrongState) as refused:
            await k.scale(ctx, XR, before + 3)
        await k.scale(ctx, XR, before + 2)
    assert refused.value.key == "quota_too_small"
    for words in ctx.deps.words_by_locale.values():
        told = words.error(refused.value)
        assert f"/ops scale {XR} {before + 2}" in told and "`small`" in told and "2 " in told
    cluster.writer.update(RESOURCE_QUOTA, made, lambda one: one["spec"]["hard"].update(pods="1"))
    cluster.cluster.settle()
    with dry_run(), pytest.raises(WrongState) as refused:
        await k.scale(ctx, XR, before + 1)
    for words in ctx.deps.words_by_locale.values():
        assert "/ops scale" not in words.error(refused.value), "none fits"


async def test_a_rollback_is_undone_by_rolling_forward_once(ctx: Context) -> None:
    workloads = ctx.kubernetes.workloads
    newest = await workloads.revision(XR, "tamv-prod")
    done = await k.rollout_undo(ctx, XR)
    assert done.before == newest
    forward = await k.roll_forward(ctx, done)
    assert (forward.before, forward.after) == (done.after, done.before)
    at = await workloads.revision(XR, "tamv-prod")
    await k.roll_forward(ctx, done)
    assert await workloads.revision(XR, "tamv-prod") == at


async def test_a_rollback_that_is_tried_again_goes_back_once(ctx: Context) -> None:
    workloads = ctx.kubernetes.workloads
    for value in ("1", "2"):
        await k.set_env(ctx, XR, {"A": value})
    with dry_run():
        shown = await k.rollout_undo(ctx, XR)
    planned = replace(ctx, planned={"before": shown.before, "after": shown.after})
    assert shown == await k.rollout_undo(planned, XR) == await k.rollout_undo(planned, XR)
    assert (await workloads.env(XR, "tamv-prod"))[1]["A"] == "1"
    with dry_run() as recorder:  # a look at what is left of it
        await k.rollout_undo(planned, XR)
    assert not recorder.effects


async def test_undo_does_not_go_over_somebody_elses_change(ctx: Context) -> None:
    done = await k.scale(ctx, XR, 5)
    await ctx.kubernetes.workloads.scale(XR, "tamv-prod", 6, 5)
    with pytest.raises(WrongState) as changed:
        await k.restore_replicas(ctx, done)
    assert changed.value.key == "changed_since"


async def test_variables_and_selector_show_a_diff_and_come_back(ctx: Context) -> None:
    with dry_run() as recorder:
        await k.set_env(ctx, XR, {"EXPERIMENTAL_FEATURES": "true"})
        await k.set_node_selector(ctx, XR, {"node-type": "gpu-high-memory"})
    assert "EXPERIMENTAL_FEATURES" in recorder.effects[0].diff
    assert "+        node-type: gpu-high-memory" in recorder.effects[1].diff
    done = await k.set_env(ctx, XR, {"EXPERIMENTAL_FEATURES": "true"})
    assert (await ctx.kubernetes.workloads.env(XR, "tamv-prod"))[1]["EXPERIMENTAL_FEATURES"] == "true"
    await k.restore_env(ctx, done)
    assert (await ctx.kubernetes.workloads.env(XR, "tamv-prod"))[1].get("EXPERIMENTAL_FEATURES") == done.before[
        "EXPERIMENTAL_FEATURES"
    ]


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda ctx: k.scale(ctx, XR, 500), "too_many_replicas"),
        (lambda ctx: k.scale(ctx, "xr-engin", 5), "unknown_service"),
        (lambda ctx: k.scale(ctx, XR, 5, "kube-system"), "namespace_not_allowed"),
        (lambda ctx: k.set_env(ctx, XR, {"DB_PASSWORD": "x"}), "secret_in_env"),
        (lambda ctx: k.scale(ctx, "postgres", 5), "protected_name"),
    ],
)
async def test_out_of_bounds_is_refused_before_anything_is_done(ctx: Context, call: Any, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        await call(ctx)
    assert refused.value.key == key


async def test_reading(ctx: Context) -> None:
    pods = await k.pods(ctx, XR)
    assert pods.rows and all(row["name"].startswith(XR) for row in pods.rows)


async def test_a_missing_right_is_named(stage: DemoEnvironment, tmp_path: Path) -> None:
    from bot.integrations.kubernetes.kubernetes import Kubernetes

    cluster: Sandbox = stage.sandbox.__dict__["cluster"]
    cluster.kubernetes.accounts.add("reader", "reader", [Rule(["get", "list"], ["*"])])
    url = cluster.slack.base_url.removesuffix("/slack")
    async with Kubernetes(kubeconfig(tmp_path, url, "reader")) as reader:
        with pytest.raises(Refused) as forbidden:
            await reader.workloads.scale(XR, "tamv-prod", 5, 3)
        facts = forbidden.value.facts
        assert (facts["verb"], facts["namespace"]) == ("patch", "tamv-prod")
        with pytest.raises(NotFound):
            await reader.workloads.replicas("nothing", "tamv-prod")
