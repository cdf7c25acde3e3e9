"""A change of what Argo CD or Flux owns as a pull request: by a button, once, told, applied when merged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from bot.domain.timeline import Kind
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.world.scenario import GitOps
from tests.harness.play import LONG, playing

QUANTUM, PROD = "quantum-processor", "tamv-prod"
FILE = f"deploy/{PROD}/{QUANTUM}/deployment.yaml"


@pytest.mark.parametrize(("by", "name"), [("argocd", "Argo CD"), ("flux", "Flux")])
async def test_the_button_opens_one_pull_request_that_is_applied_when_merged(
    tmp_path: Path, by: Literal["argocd", "flux"], name: str
) -> None:
    async with playing(tmp_path) as stage:
        github, cluster = stage.sandbox.github, stage.cluster
        stage.world.act([GitOps(do="gitops", service=QUANTUM, by=by)])
        channel, store = await stage.incident(service=QUANTUM), stage.bot.deps.store

        async def handled() -> bool:
            return not await store.deliveries.count_pending() and not await store.outbox.pending()

        await stage.person("ana").run(f"/ops scale {QUANTUM} 3", channel.name)
        (run,) = await stage.until(store.runs.recent)
        run = await stage.ended(run)
        await stage.told(channel, "No ha durado", name, seconds=LONG)
        message = await stage.button(run, "propose_change")
        await stage.person("emma").join(channel.name)
        await stage.person("emma").press(message, "propose_change")
        await stage.until(handled)
        assert not github.pulls, "she may not run it"
        for who in ("ana", "bruno"):
            await stage.person(who).press(message, "propose_change")
        told = await stage.told(channel, "PR #", FILE, seconds=LONG)
        await stage.quiet(LONG)
        ((number, pull),) = github.pulls.items()
        assert f"PR #{number}" in told.all_text()
        title, body = pull.issue.title, pull.issue.body or ""
        assert title.endswith("réplicas 2 → 3 (INC-2026-0001)"), title
        assert run.id in body and f"{name} aplica este archivo" in body, body
        assert not [text for text in stage.own(channel) if "No se abrió" in text], "two presses at once are one"
        before, after = (github.files(branch)[1] for branch in ("HEAD", pull.head))
        assert after == {**before, FILE: before[FILE].replace("replicas: 2  #", "replicas: 3  #")} != before
        record = await stage.record(channel)
        timeline = await store.incidents.timeline(record.id)
        assert [one.facts["number"] for one in timeline if one.kind is Kind.CHANGE_PROPOSED] == [number]
        assert f"PR #{number}" in (await stage.bot.reports.render(record.id)).markdown

        await github.person("carla").approve(pull)
        github.code.squash(pull, "carla-mendez", title=None, expected=pull.head_sha)

        async def applied() -> bool:
            found = cluster.store.get(DEPLOYMENT, PROD, QUANTUM)
            return found is not None and found["spec"]["replicas"] == 3

        await stage.until(applied, LONG)
