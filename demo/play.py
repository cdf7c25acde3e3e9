"""`tamv-bot demo`: a scenario played by a person in the console, or by a scripted responder to its end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bot.domain.incident import Milestone
from bot.domain.run import Run, RunState
from bot.domain.snapshot import Snapshot, Verdict
from bot.services.bot import Bot
from bot.workflows.incidents.snapshot import AT_MILESTONES
from demo.environment import DemoEnvironment, demo_environment, sandbox_settings
from sandbox.clock import Clock
from sandbox.exercise import RUN_TIMEOUT, load_exercises, play_exercise
from sandbox.kubernetes.seed import write_charts
from sandbox.responder import SignMissing, respond
from sandbox.server import Sandbox
from sandbox.world.scenario import load_scenario, scenario_names

ENOUGH = 120.0  # seconds after which a scenario played at SPEED is given up; on two idle cores it takes half a minute
SPEED = 90.0  # seconds of the world in one of ours
PERSONS_SPEED = 10.0  # the same while a person responds
TO_OPEN_THE_PAGE = 5.0  # seconds until it begins


async def play(*, auto: bool, out: Path, port: int, locale: str, speed: float, scenario: str) -> int:
    """Serve the demo; with `auto` play it and give 0 only if all of it came about.

    Raises OSError when the port is taken or `out` cannot be written to.
    """
    sandbox = Sandbox(clock=Clock(speed=speed))
    if auto:
        (out / "charts").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/demo.db"
        shipped = sandbox_settings("http://localhost", sandbox, database).bot_config
        team = await asyncio.to_thread(_team_with_charts, shipped, Path(folder))
        free = 0 if auto else port
        async with demo_environment(
            sandbox, database, locale=locale, port=free, cluster=Path(folder), bot_config=team
        ) as stage:
            words = stage.bot.deps.words
            console = f"{stage.url}/console/?lang={locale}"
            if not auto:
                _say(words.render_block("demo", "welcome", console=console))
                await asyncio.sleep(TO_OPEN_THE_PAGE)
                _say(_start_incident(stage, scenario))
                await asyncio.Event().wait()
            return await _play_scenario(stage, scenario, out)


def lacks_helm(scenario: str) -> bool:
    """Whether it needs helm, which is neither on PATH nor where HELM says."""
    exercise = load_exercises().get(scenario)
    return bool(exercise and exercise.helm) and not shutil.which(os.environ.get("HELM") or "helm")


def _team_with_charts(team: Path, folder: Path) -> Path:
    """The team's file with the charts of the sandbox's releases, which lie in this folder with it."""
    write_charts(folder / "charts")
    content = yaml.safe_load(team.read_text("utf-8"))
    for service in content["services"].values():
        service["chart"] = str(folder / service["chart"])
    written = folder / "tamv.yaml"
    written.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return written


async def _play_scenario(stage: DemoEnvironment, scenario: str, out: Path) -> int:
    words = stage.bot.deps.words
    longest = RUN_TIMEOUT + ENOUGH if scenario in load_exercises() else ENOUGH
    enough = longest * max(1.0, SPEED / stage.sandbox.clock.speed)
    try:
        played = (play_exercise if scenario in load_exercises() else respond)(
            stage.sandbox, scenario, say=_say, language=words.locale
        )
        async with asyncio.timeout(enough):
            incident_id = await played
    except SignMissing as missed:
        _say(str(missed))
        return 1
    except TimeoutError:
        _say(words.render_block("demo", "too_slow", seconds=round(enough)))
        return 1
    there = await _write_files(stage.bot, incident_id, out)
    # An exercise wakes nobody and may end badly on purpose, which the people who play it have looked at.
    exercise = load_exercises().get(scenario)
    requested = ("asked",) if exercise and exercise.approvers else ()
    demanded = ("status", "runs_ended", *requested) if exercise else tuple(what for what in there if what != "asked")
    wrong = [what for what in demanded if not there[what]]
    for what in wrong:
        _say(words.render_block("demo", "wrong", what=what))
    _say(words.render_block("demo", "left", out=out, incident_id=incident_id))
    return 1 if wrong else 0


def _start_incident(stage: DemoEnvironment, scenario: str) -> str:
    """Let it begin for a person at the web page; gives what there is to try."""
    words, world = stage.bot.deps.words, stage.sandbox.world
    if exercise := load_exercises().get(scenario):
        exercise.prepare(stage.sandbox)
        return words.render_block("demo", "practise", first=exercise.begin, then=exercise.run)
    if world.scenario is None:  # nobody has pressed the page's button
        world.play(load_scenario(scenario))
    return words.render_block("demo", "begun")


async def _write_files(bot: Bot, incident_id: str, out: Path) -> dict[str, bool]:
    """Write what came of the incident into `out`; gives what should be there, and whether it is."""
    store = bot.deps.store
    incident = await store.incidents.get(incident_id)
    written = await bot.reports.render(incident_id)
    report = out / f"{incident_id}.md"
    report.write_text(written.markdown, encoding="utf-8")
    report.with_suffix(".html").write_text(written.html, encoding="utf-8")
    charts = [name for name in await store.documents.names(incident_id) if name.startswith("charts/")]
    for name in charts:
        if document := await store.documents.read(incident_id, name):
            (out / name).write_bytes(document.content)
    followups = await store.followups.list_by_incident(incident_id)
    pages = await store.pages.list_by_incident(incident_id)
    runs = await store.runs.list_by_incident(incident_id)
    maybe = [await store.runs.approval(run.id, step.id) for run in runs for step in run.steps]
    approvals = [approval for approval in maybe if approval]
    snapshots = await store.snapshots.list_by_incident(incident_id)
    summary: dict[str, Any] = {
        "incident": {
            "id": incident.id,
            "title": incident.title,
            "severity": incident.severity.value,
            "status": incident.status.value,
            "channel": incident.channel,
        },
        "milestones": {milestone.value: _moment(at) for milestone, at in incident.milestones.items()},
        "page": pages[0].key if pages else None,
        "snapshots": list(snapshots),
        "runs": [_narrate(run) for run in runs],
        "approvals": [
            {"run": approval.run_id, "step": approval.step_id, "digest": approval.digest, "state": approval.state.value}
            | {"by": [decision.person for decision in approval.decisions]}
            for approval in approvals
        ],
        "followups": [
            {
                "title": followup.title,
                "url": followup.url,
                "owner": followup.owner,
                "due": followup.due and followup.due.isoformat(),
            }
            for followup in followups
        ],
        "report": str(report),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    figures = Snapshot.from_json(list(snapshots.values())[-1]).figures if snapshots else ()
    return {
        "status": not incident.status.is_open,
        "milestones": set(incident.milestones) == set(Milestone),
        "page": bool(pages) and all(page.state == "resolved" for page in pages),
        "snapshots": len(snapshots) >= len(AT_MILESTONES),
        "figures": bool(figures) and all(metric.verdict in (Verdict.OK, Verdict.NO_THRESHOLD) for metric in figures),
        "charts": bool(charts),
        "runs": all(run.state is RunState.SUCCEEDED for run in runs),
        "runs_ended": bool(runs) and all(run.state.ended for run in runs),
        "asked": bool(approvals),
        "approvals": all(approval.decisions for approval in approvals),
        "followups": bool(followups) and all(followup.url for followup in followups),
    }


def _narrate(run: Run) -> dict[str, Any]:
    steps = [
        {"id": step.id, "uses": step.uses, "state": step.state.value, "verified": step.verified}
        | {"verdict": step.verdict.value if step.verdict else None, "digest": step.digest}
        for step in run.steps
    ]
    return {"id": run.id, "runbook": run.runbook, "state": run.state.value, "steps": steps}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def scenarios() -> list[str]:
    """What can go wrong, by name."""
    return [*scenario_names(), *load_exercises()]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
