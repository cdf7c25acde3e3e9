"""What suites measure of a version in staging: beside the version before, and kept for the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.run import RunState
from sandbox.kubernetes.containers import Behaviour
from tests.harness.play import Play, playing, story
from tests.runbooks.test_rollbacks import in_staging

UNHURRIED = 60.0  # seconds of the world in one of ours: Helm beside an incident's charts has its time
CORE, FIRST, SECOND = "tamv-core", "v2.5.0", "v2.6.0"


def deploy(tag: str) -> str:
    return f"deploy-staging service={CORE} tag={tag}"


def measuring(stage: Play, suite: str, *log: str) -> None:
    """From now on the suite's job writes this."""
    stage.cluster.behaviours.set(f"*/{suite}:*", Behaviour(start=1, run=5, log=log))


async def test_a_version_is_measured_beside_the_one_before_and_goes_back_if_it_is_worse(stage: Play) -> None:
    first = await stage.play(deploy(FIRST), approvers=())
    assert first.state is RunState.SUCCEEDED, story(first)
    kept = first.step("performs").result
    assert kept and (kept["since"], kept["measures"][0]["name"]) == ("", "p95_ms")
    assert "no hay versión anterior" in await stage.shown(first, "queda guardado")

    measuring(stage, "performance", "INFO warm", '{"measures": {"p95_ms": 320, "errors_percent": 0.1}}', "INFO done")
    worse = await stage.play(deploy(SECOND), approvers=())
    assert (worse.state, worse.step("performs").error) == (RunState.UNDONE, "measured_worse"), story(worse)
    assert worse.step("looks").result and worse.step("looks").result["since"] == FIRST  # type: ignore[index]
    assert in_staging(stage) == FIRST
    assert "p95_ms 212.5 → 320" in await stage.shown(worse, "mide peor que")

    wanted = await stage.play(f"{deploy(SECOND)} despite='cifra los datos'", approvers=())
    assert wanted.state is RunState.SUCCEEDED, story(wanted)
    assert in_staging(stage) == SECOND
    shown = await stage.shown(wanted, "cifra los datos")
    assert f"p95_ms 320 (`{FIRST}`: 212" in shown


@pytest.mark.parametrize(
    "log",
    [
        (),
        ("INFO 41 screens",),
        ('{"measures": {"screens_changed": 0',),
        ('{"measures": {"screens_changed": "none"}}',),
        ('{"measures": {"screens_changed": NaN}}',),
        ('{"measures": {}}',),
    ],
)
async def test_a_job_without_measures_is_no_good_measure(stage: Play, log: tuple[str, ...]) -> None:
    measuring(stage, "visual-regression", *log)
    run = await stage.play(deploy(FIRST), approvers=())
    assert (run.state, run.step("looks").error) == (RunState.UNDONE, "no_measures"), story(run)
    assert in_staging(stage) != FIRST
    said = await stage.shown(run, "p95_ms")
    last = log[-1] if log else "{no line"
    assert (last[:20] in said) is (bool(log) and last.startswith("{")), said


@pytest.mark.parametrize(
    ("locale", "title", "worse"),
    [
        ("es", "Lo que midieron las pruebas", f"peor que {FIRST}: p95_ms 212.5 → 320"),
        ("en", "What the tests measured", f"worse than {FIRST}: p95_ms 212.5 → 320"),
    ],
)
async def test_the_report_has_what_was_measured(tmp_path: Path, locale: str, title: str, worse: str) -> None:
    async with playing(tmp_path, locale=locale, speed=UNHURRIED) as stage:
        channel = await stage.incident(sev="SEV3", service=CORE)
        await stage.play(deploy(FIRST), channel, approvers=())
        measuring(stage, "performance", '{"measures": {"p95_ms": 320, "errors_percent": 0.1}}')
        await stage.play(deploy(SECOND), channel, approvers=())
        (incident,) = await stage.bot.deps.store.incidents.list_open()
        report = (await stage.bot.reports.render(incident.id)).markdown.replace("\\_", "_")
    _, _, measured = report.partition(f"## {title}")
    lines = [line for line in measured.partition("\n## ")[0].splitlines() if line.strip()]
    assert [line[:3] for line in lines] == ["- ✅", "- ✅", "- ✅", "- ❌"], lines
    assert worse in lines[-1]
    assert "p95_ms 212" in lines[1] and FIRST in lines[1]
