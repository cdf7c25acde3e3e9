"""A hotfix from its branch to the 30 minutes of watching, with people and pipelines at GitHub; and what stops it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from bot.domain.run import Run, RunState, StepState
from sandbox.github.backend import GitHub
from sandbox.github.state import Conclusion, Pull
from sandbox.world.deployments import Version
from tests.harness.play import Play, story
from tests.harness.scene import TEAM

T = TypeVar("T")

CORE, BRANCH, FILE = "tamv-core", "hotfix/cve", "services/login.ts"
HOTFIX = f"hotfix service={CORE} criterion=security branch=cve title='Token sin caducidad'"


@dataclass
class Others:
    """Those at GitHub whom the run waits for: who reviews, what checks, builds and deploys. Each may fail."""

    stage: Play
    checks: Conclusion = "success"
    reviewer: str | None = "carla"
    build: Conclusion = "success"

    @property
    def github(self) -> GitHub:
        return self.stage.sandbox.github

    @property
    def pull(self) -> Pull:
        return next(iter(self.github.pulls.values()))

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        working = asyncio.create_task(self._work(), name="people and pipelines at GitHub")
        try:
            yield
            if working.done():
                working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self) -> None:
        await self._once(lambda: self.github.pulls)
        self.github.code.check(BRANCH, "tests", self.checks)
        await self._once(lambda: self.pull.team_reviewers)
        if self.reviewer is None:
            return
        await self.github.person(self.reviewer).approve(self.pull)
        build = await self._once(lambda: next((one for one in self.github.runs.values()), None))
        self.github.actions.complete(build, self.build)
        deploy = await self._once(lambda: next((o for o in self.github.runs.values() if o.inputs), None))
        helm = self.stage.bot.deps.helm
        assert helm
        chart = str(self.stage.bot.deps.team.services[CORE].chart)
        with self.stage.slowly(60):  # helm takes seconds of ours, which are no half hour
            await helm.upgrade(CORE, "tamv-prod", chart, {"image.tag": deploy.inputs["image_tag"]}, "cd_canary")
        self.github.actions.complete(deploy)

    async def _once(self, true: Callable[[], T | None]) -> T:
        while not (found := true()):  # noqa: ASYNC110 - the bot asks GitHub, and tells nobody
            await asyncio.sleep(0.02)
        return found


async def begin(stage: Play) -> Run:
    """Ana runs it, writes the fix into the branch, and says in the form what it changes."""
    run = await stage.start(HOTFIX)
    card = await stage.button(run, "answer")
    with stage.slowly():
        code, ana = stage.sandbox.github.code, stage.person("ana")
        code.put_file(FILE, "expires: 1h\n", "Expire tokens", "ana-torres", branch=BRANCH, replaces=None)
        await ana.press(card, "answer")
        await stage.see(lambda: ana.view)
        await ana.submit({"answer": "El token caduca en una hora"})
        await stage.see(lambda: not any(e["action_id"] == "answer" for _, e in card.elements()))
    return run


async def finish(stage: Play, run: Run, others: Others) -> Run:
    async with others.at_work(), stage.approving(run, "bruno"):
        return await stage.ended(run)


async def test_from_the_branch_to_the_watched_canary(stage: Play) -> None:
    others = Others(stage)
    run = await finish(stage, await begin(stage), others)
    assert run.state is RunState.SUCCEEDED, story(run)
    pull, merged = others.pull, others.pull.merge_commit
    assert merged and pull.merged_at
    tag = f"hotfix-{pull.merged_at:%Y%m%d}-{merged[:7]}"
    assert (pull.issue.title, pull.team_reviewers) == ("HOTFIX: Token sin caducidad", ["devteam", "aiteam"])
    assert "El token caduca en una hora" in (pull.issue.body or "") and "security" in (pull.issue.body or "")
    (deploy,) = [one for one in stage.sandbox.github.runs.values() if one.inputs]
    assert deploy.inputs == {"image_tag": tag, "environment": "production"}
    assert stage.versions(CORE) == {tag}
    watched = run.step("watch").result
    assert watched and watched["seconds"] >= 30 * 60
    assert run.step("roll-back").state is StepState.SKIPPED


async def test_when_the_figures_break_afterwards_it_goes_back_to_what_was_there(stage: Play) -> None:
    others = Others(stage)
    run = await begin(stage)
    worse = Version(errors=0.4)

    class Worse(dict[str, Version]):
        def get(self, image: str, default: Version | None = None) -> Version | None:  # type: ignore[override]
            return worse if ":hotfix-" in image else super().get(image, default)

    stage.world.images = Worse(stage.world.images)
    run = await finish(stage, run, others)
    assert (run.state, run.step("well").error) == (RunState.FAILED, "condition_failed"), story(run)
    assert run.step("watch").error == "figures_broke" and run.step("roll-back").verified is True
    assert stage.versions(CORE) == {"v2.4.0"}


async def test_nobody_approves_in_30_minutes_and_the_owners_are_reminded(stage: Play) -> None:
    others = Others(stage, reviewer=None)
    run = await finish(stage, await begin(stage), others)
    assert (run.state, run.step("approved").error) == (RunState.FAILED, "owner_missing"), story(run)
    reminders = [text for text in stage.own(TEAM) if "⏰" in text]
    assert reminders and all("S0DEVTEAM2" in text and "S0AITEAM03" in text for text in reminders)
    assert others.pull.merge_commit is None and others.pull.issue.state == "open"  # people can still go on with it


async def test_red_checks_are_not_merged(stage: Play) -> None:
    others = Others(stage, checks="failure")
    run = await finish(stage, await begin(stage), others)
    assert (run.state, run.step("approved").error) == (RunState.FAILED, "checks_missing"), story(run)
    assert others.pull.merge_commit is None


async def test_an_image_that_is_not_built_is_not_deployed(stage: Play) -> None:
    others = Others(stage, build="failure")
    run = await finish(stage, await begin(stage), others)
    assert (run.state, run.step("image").error) == (RunState.FAILED, "workflow_failed"), story(run)
    assert stage.versions(CORE) == {"v2.4.0"}


@pytest.mark.parametrize("criterion", ["convenience", ""])
async def test_any_other_reason_can_wait(stage: Play, criterion: str) -> None:
    line = HOTFIX.replace("criterion=security", f"criterion={criterion}" if criterion else "")
    answer = await stage.answer(f"/runbook run {line}")
    assert "criterion" in answer and stage.sandbox.github.branches.keys() == {"main"}
