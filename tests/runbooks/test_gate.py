"""The gate before production: what a version has behind it is said, and where the team demands it, nothing is done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.domain.run import Run, RunState, StepState
from tests.architecture.tree import ROOT
from tests.harness.play import Play, playing, story

CORE, NEW = "tamv-core", "v2.5.0"
DEPLOY = f"deploy-production service={CORE} tag={NEW}"


def tagged(stage: Play, **checks: str | None) -> None:
    """Let GitHub know the tag, as one of main's commit, with these checks."""
    github = stage.sandbox.github
    github.tags[NEW] = github.branches["main"]
    for name, conclusion in checks.items():
        github.code.check("main", name, conclusion)  # type: ignore[arg-type]


def found(run: Run) -> Mapping[str, Any]:
    result = run.step("it").result
    assert result is not None, story(run)
    return result


async def card_of(stage: Play, run: Run) -> str:
    return (await stage.button(run)).all_text()


async def test_a_version_that_nobody_has_tried_is_said_to_be_so_where_it_is_approved(stage: Play) -> None:
    with stage.slowly():
        run = await stage.start(DEPLOY)
        card = await card_of(stage, run)
    assert f"{NEW} no ha pasado por staging" in card
    assert "no se conoce ningún commit" in card, card
    gate = (await stage.known(run)).step("gate")
    assert gate.result and gate.result["doubts"] == ["staging", "checks"]


@pytest.mark.parametrize(
    "line", [f"deploy {CORE} tag={NEW}", f"canary {CORE} tag={NEW}", f"bluegreen.start {CORE} tag={NEW}"]
)
async def test_without_the_runbook_it_is_said_all_the_same_before_it_is_approved(stage: Play, line: str) -> None:
    dry = await stage.ops(f"{line} dry_run=true")
    assert f"{NEW} no ha pasado por staging" in await stage.shown(dry, "staging")
    with stage.slowly():
        run = await stage.start_ops(line)
        card = await card_of(stage, run)
    assert f"⚠ {NEW} no ha pasado por staging" in card
    assert "no se conoce ningún commit" in card, card
    async with stage.approving(run, "bruno"):
        done = await stage.ended(run)
    assert done.state is RunState.SUCCEEDED, story(done)
    assert f"{NEW} no ha pasado por staging" in await stage.shown(done, "✅")


async def test_what_goes_to_staging_has_no_gate_and_what_passed_there_no_doubt(stage: Play) -> None:
    tagged(stage, lint="success")
    staged = await stage.ops(f"deploy {CORE} tag={NEW} environment=staging")
    assert found(staged)["gate"] is None, story(staged)
    await stage.play(f"deploy-staging service={CORE} tag={NEW}")
    with stage.slowly():
        run = await stage.start_ops(f"deploy {CORE} tag={NEW}")
        card = await card_of(stage, run)
    assert "staging" not in card and "⚠" not in card


async def test_after_staging_and_green_checks_nothing_speaks_against_it(stage: Play) -> None:
    tagged(stage, lint="success", trivy="success")
    tried = await stage.play(f"deploy-staging service={CORE} tag={NEW}")
    assert tried.state is RunState.SUCCEEDED, story(tried)
    with stage.slowly():
        run = await stage.start(DEPLOY)
        card = await card_of(stage, run)
    assert "staging" not in card and "⚠" not in card
    assert f"`{NEW}` pasó por staging, sana y con su prueba de humo ({tried.id})" in await stage.shown(run, "en verde")


async def test_what_github_deployed_to_staging_counts_and_what_failed_there_too(stage: Play) -> None:
    tagged(stage, lint=None)
    github = stage.sandbox.github.actions
    github.deploy(NEW, "staging", "ana-torres", payload={"service": CORE})
    passed = await stage.ops(f"pipeline.gate {CORE} tag={NEW}")
    assert found(passed)["staging"] == "passed"
    assert "aún corren: lint" in await stage.shown(passed, "lint")
    github.deploy(NEW, "staging", "ana-torres", "failure", payload={"service": CORE})
    failed = await stage.ops(f"pipeline.gate {CORE} tag={NEW}")
    assert found(failed)["staging"] == "failed"


async def test_without_github_it_is_said_that_nobody_knows(stage: Play) -> None:
    stage.sandbox.faults.add("github", "status", times=None, status=500)
    run = await stage.ops(f"pipeline.gate {CORE} tag={NEW}")
    assert (found(run)["staging"], found(run)["checks"]) == ("unknown", "unknown")
    assert "GitHub no contesta" in await stage.shown(run, "no se sabe")


async def test_where_the_team_demands_it_nothing_is_done_but_in_an_emergency_with_a_reason(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "teams" / "tamv", tmp_path / "team")
    file = tmp_path / "team" / "team.yaml"
    file.write_text(file.read_text("utf-8").replace("staging: warn", "staging: require"), "utf-8")
    async with playing(tmp_path) as stage:
        run = await stage.ended(await stage.start(DEPLOY))
        assert (run.state, run.step("gate").error) == (RunState.FAILED, "gate_closed"), story(run)
        assert run.step("canary").state is StepState.PENDING
        assert f"/runbook run deploy-staging service={CORE} tag={NEW}" in await stage.shown(run, "lo exige")

        for line in (f"canary {CORE} tag={NEW}", f"deploy {CORE} tag={NEW}", f"bluegreen.start {CORE} tag={NEW}"):
            alone = await stage.ops(line)
            assert (alone.state, alone.step("it").error) == (RunState.FAILED, "gate_closed"), story(alone)

        calm = await stage.ended(await stage.start(f"{DEPLOY} despite='hay prisa'"))
        assert calm.step("gate").error == "no_break_glass", story(calm)

        channel = await stage.incident(sev="SEV1", service=CORE)
        with stage.slowly():
            urgent = await stage.start(f"{DEPLOY} despite='sin esto no entra nadie'", channel)
            card = await card_of(stage, urgent)
        assert "sin esto no entra nadie" in card and f"{NEW} no ha pasado por staging" in card
