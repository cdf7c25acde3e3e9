"""`tamv-bot demo`: a scenario, played by a person in the console or by a scripted responder."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.domain.incident import Milestone
from bot.domain.run import Run, RunState
from bot.domain.snapshot import Snapshot, Verdict
from bot.services.bot import Bot
from bot.shipped import EXAMPLE_TEAM
from bot.workflows.incidents.event_handlers import NOT_POSTED
from bot.workflows.incidents.snapshot import AT_MILESTONES
from demo.environment import DemoEnvironment, demo_environment, sandbox_settings
from sandbox.clock import LoadAwareClock
from sandbox.company import Company, load_company
from sandbox.deadline import deadline
from sandbox.exercise import RUN_TIMEOUT, load_exercises, play_exercise
from sandbox.forecast import PLAY_TIMEOUT, load_forecasts, play_forecast, wait_for_forecast
from sandbox.kubernetes.seed import write_charts
from sandbox.responder import (
    ROUGH_NIGHT,
    SIGN_TIMEOUT,
    SignMissing,
    Story,
    begin_rough_night,
    play_rough_night,
    respond,
)
from sandbox.server import Sandbox
from sandbox.world.scenario import load_scenario, scenario_names

log = logging.getLogger(__name__)

SCENARIO_TIMEOUT_SECONDS = 120.0  # for a scenario at SPEED; it takes half a minute on two idle cores
SPEED = 90.0  # simulated seconds per real second
INTERACTIVE_SPEED = 10.0  # when a person responds
RESPONDERS = ("ana", "bruno")
START_DELAY_SECONDS = 5.0  # time to open the page


async def play(*, auto: bool, out: Path, port: int, locale: str, speed: float, scenario: str) -> int:
    """Serve the demo; with `auto` play the scenario and return 0 only if everything expected happened.

    Raises OSError if the port is taken or `out` is not writable.
    """
    sandbox = Sandbox(company_speaking(locale), clock=LoadAwareClock(speed=speed))
    if auto:
        (out / "charts").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/demo.db"
        team_folder = sandbox_settings("http://localhost", sandbox, database).team_folder
        team = await asyncio.to_thread(_team_with_charts, team_folder, Path(folder) / "team")
        free_port = 0 if auto else port
        async with demo_environment(
            sandbox, database, locale=locale, port=free_port, cluster=Path(folder), team_dir=team, bot_config=None
        ) as environment:
            words = environment.bot.deps.words
            console = f"{environment.url}/console/?lang={locale}"
            if not auto:
                _say(words.render_block("demo", "welcome", console=console, **_begins(scenario, locale)))
                await asyncio.sleep(START_DELAY_SECONDS)
                _say(_start_incident(environment, scenario))
                if scenario == ROUGH_NIGHT:
                    with suppress(SignMissing):  # somebody has ended it before
                        await begin_rough_night(sandbox, Story(sandbox.clock, scenario, locale, _say))
                if scenario in load_forecasts():
                    with suppress(SignMissing):
                        await wait_for_forecast(sandbox, Story(sandbox.clock, scenario, locale, _say))
                await asyncio.Event().wait()
            return await _play_scenario(environment, scenario, out)


def lacks_helm(scenario: str) -> bool:
    """Return True if the scenario needs helm, which is neither on PATH nor where HELM points."""
    exercise = load_exercises().get(scenario)
    return bool(exercise and exercise.helm) and not shutil.which(os.environ.get("HELM") or "helm")


def lacks_moto(scenario: str) -> bool:
    """Return True if the scenario needs AWS, which the sandbox plays by moto, and moto is not installed."""
    exercise = load_exercises().get(scenario)
    words = " ".join(filter(None, (exercise.begin, exercise.run))) if exercise else ""
    runbook = re.search(r"/runbook run ([a-z0-9-]+)|/drill start ([a-z0-9-]+)", words)
    path = EXAMPLE_TEAM / "runbooks" / f"{(runbook[1] or f'drill-{runbook[2]}') if runbook else ''}.yaml"
    uses_aws = path.is_file() and "uses: aws." in path.read_text("utf-8")
    return uses_aws and importlib.util.find_spec("moto") is None


def _team_with_charts(team: Path, folder: Path) -> Path:
    """Copy the team's folder, and write the charts of the sandbox's releases into the copy."""
    shutil.copytree(team, folder)
    write_charts(folder / "charts")
    return folder


async def _play_scenario(environment: DemoEnvironment, scenario: str, out: Path) -> int:
    words = environment.bot.deps.words
    timeout = SCENARIO_TIMEOUT_SECONDS
    if scenario in load_exercises():
        timeout += RUN_TIMEOUT
    if scenario in load_forecasts():
        timeout += 2 * PLAY_TIMEOUT
    scaled_timeout = timeout * max(1.0, SPEED / environment.sandbox.clock.speed)
    try:
        async with deadline(scaled_timeout):
            if scenario in load_forecasts():
                await play_forecast(environment.sandbox, scenario, say=_say, language=words.locale)
                return await _write_forecast(environment, out)
            incident_id = await _incident_of_play(environment.sandbox, scenario, words.locale)
    except SignMissing as missed:
        _say(str(missed))
        return 1
    except TimeoutError:
        _say(words.render_block("demo", "too_slow", seconds=round(scaled_timeout)))
        return 1
    results = await _write_files(environment.bot, incident_id, out)
    results["one_incident"] = await environment.bot.deps.store.incidents.count() == 1
    results["told_once"] = await told_once(environment.bot, environment.sandbox, incident_id)
    # An exercise pages nobody and may fail on purpose, which its players have checked.
    exercise = load_exercises().get(scenario)
    approvals = ("asked",) if exercise and exercise.approvers else ()
    required = ("status", "runs_ended", *approvals) if exercise else tuple(what for what in results if what != "asked")
    missing = [what for what in required if not results[what]]
    for what in missing:
        _say(words.render_block("demo", "wrong", what=what))
    _say(words.render_block("demo", "left", out=out, incident_id=incident_id))
    return 1 if missing else 0


async def _write_forecast(environment: DemoEnvironment, out: Path) -> int:
    """Write what was foreseen and its charts into `out`. Returns 1 if it became an incident all the same, else 0."""
    deps, slack = environment.bot.deps, environment.sandbox.slack
    incidents = await deps.store.incidents.count()
    summary = {
        "incidents": incidents,
        "predictions": [
            {"id": one.id, "service": one.service, "query": one.query, "outcome": one.outcome.value, "run": one.run}
            | {"at": _moment(one.at), "crosses_at": _moment(one.crosses_at)}
            for one in await deps.store.forecasts.since(datetime.fromtimestamp(0, UTC))
        ],
        "runs": [_run_summary(run) for run in await deps.store.runs.recent()],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    for file in slack.files.values():
        if file.name.endswith(".png"):
            (out / "charts" / file.name).write_bytes(file.content or b"")
    if incidents:
        _say(deps.words.render_block("demo", "wrong", what="incidents"))
    _say(deps.words.render_block("demo", "left_forecast", out=out))
    return 1 if incidents else 0


async def _incident_of_play(sandbox: Sandbox, scenario: str, language: str) -> str:
    """Play a scenario and return its incident's id. Raises SignMissing."""
    if scenario == ROUGH_NIGHT:
        return await play_rough_night(sandbox, say=_say, language=language)
    play = play_exercise if scenario in load_exercises() else respond
    return await play(sandbox, scenario, say=_say, language=language)


def company_speaking(locale: str) -> Company:
    """Return the sandbox's company; those as whom one responds speak the demo's language."""
    company = load_company()
    people = (replace(one, locale=locale) if one.handle in RESPONDERS else one for one in company.people)
    return replace(company, people=tuple(people))


def _begins(scenario: str, locale: str) -> dict[str, str]:
    """Return what a person is told before a scenario: its story, but of an incident no word of its cause."""
    if known := load_exercises().get(scenario) or load_forecasts().get(scenario):
        return {"title": getattr(known.title, locale), "story": getattr(known.story, locale)}
    return {"title": getattr(load_scenario(scenario).title, locale), "story": ""}


def _start_incident(environment: DemoEnvironment, scenario: str) -> str:
    """Start the scenario for a person in the console. Returns what to try."""
    words, world = environment.bot.deps.words, environment.sandbox.world
    if exercise := load_exercises().get(scenario):
        exercise.prepare(environment.sandbox)
        return words.render_block("demo", "practise", first=exercise.begin, then=exercise.run)
    if forecast := load_forecasts().get(scenario):
        forecast.prepare(environment.sandbox)
        return words.render_block("demo", "foresee")
    if scenario != ROUGH_NIGHT and world.scenario is None:  # not started by the page's button
        world.play(load_scenario(scenario))
    return words.render_block("demo", "begun")


async def _write_files(bot: Bot, incident_id: str, out: Path) -> dict[str, bool]:
    """Write report, charts and summary into `out`. Returns the expected results, and whether each was reached."""
    store = bot.deps.store
    incident = await store.incidents.get(incident_id)
    rendered = await bot.reports.render(incident_id)
    report = out / f"{incident_id}.md"
    report.write_text(rendered.markdown, encoding="utf-8")
    report.with_suffix(".html").write_text(rendered.html, encoding="utf-8")
    charts = [name for name in await store.documents.names(incident_id) if name.startswith("charts/")]
    for name in charts:
        if document := await store.documents.read(incident_id, name):
            (out / name).write_bytes(document.content)
    followups = await store.followups.list_by_incident(incident_id)
    pages = await store.pages.list_by_incident(incident_id)
    runs = await store.runs.list_by_incident(incident_id)
    step_approvals = [await store.runs.approval(run.id, step.id) for run in runs for step in run.steps]
    approvals = [approval for approval in step_approvals if approval]
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
        "runs": [_run_summary(run) for run in runs],
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
    metrics = Snapshot.from_json(list(snapshots.values())[-1]).figures if snapshots else ()
    return {
        "status": not incident.status.is_open,
        "milestones": set(incident.milestones) == set(Milestone),
        "page": bool(pages) and all(page.state == "resolved" for page in pages),
        "snapshots": len(snapshots) >= len(AT_MILESTONES),
        "figures": bool(metrics) and all(metric.verdict in (Verdict.OK, Verdict.NO_THRESHOLD) for metric in metrics),
        "charts": bool(charts),
        "runs": all(run.state is RunState.SUCCEEDED for run in runs),
        "runs_ended": bool(runs) and all(run.state.ended for run in runs),
        "asked": bool(approvals),
        "approvals": all(approval.decisions for approval in approvals),
        "followups": bool(followups) and all(followup.url for followup in followups),
    }


async def told_once(bot: Bot, sandbox: Sandbox, incident_id: str) -> bool:
    """Return True if each event of the timeline that people are to see stands in the channel once, and in order.

    Waits for those that are on their way.
    """
    try:
        async with deadline(SIGN_TIMEOUT):
            while True:
                wanted, told = await _told(bot, sandbox, incident_id)
                if told == wanted:
                    return True
                await asyncio.sleep(0.1)
    except TimeoutError:
        log.warning("to be told: %s; the channel has: %s", ", ".join(wanted), ", ".join(told))
        return False


async def _told(bot: Bot, sandbox: Sandbox, incident_id: str) -> tuple[list[str], list[str]]:
    """Return the keys of the events that people are to see, and those of their messages in the channel."""
    incident = await bot.deps.store.incidents.get(incident_id)
    timeline = await bot.deps.store.incidents.timeline(incident_id)
    wanted = [f"{incident_id}/{event.seq}" for event in timeline if event.kind not in NOT_POSTED]
    metadata = [message.metadata or {} for message in sandbox.slack.channels[incident.channel or ""].messages.values()]
    keys = [entry.get("event_payload", {}).get("key") for entry in metadata]
    return wanted, [key for key in keys if key in set(wanted)]


def _run_summary(run: Run) -> dict[str, Any]:
    steps = [
        {"id": step.id, "uses": step.uses, "state": step.state.value, "verified": step.verified}
        | {"verdict": step.verdict.value if step.verdict else None, "digest": step.digest}
        for step in run.steps
    ]
    return {"id": run.id, "runbook": run.runbook, "state": run.state.value, "steps": steps}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def scenarios() -> list[str]:
    """Return the names of all scenarios."""
    return [*scenario_names(), *load_exercises(), *load_forecasts()]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
