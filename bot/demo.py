"""`tamv-bot demo`: the sandbox and the bot on one port, and a scripted responder who plays an incident to its end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from bot.assembly import running
from bot.domain.incident import Milestone
from bot.domain.run import Run, RunState
from bot.domain.snapshot import Snapshot, Verdict
from bot.services.bot import Bot
from bot.settings import Locale, Settings, load_settings
from bot.workflows.snapshot import AT_MILESTONES
from handlers.server import Server
from sandbox import aws
from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.clock import Clock
from sandbox.exercise import RUN_TIMEOUT, load_exercises, play_exercise
from sandbox.github.backend import WEBHOOK_SECRET as GITHUB_SECRET
from sandbox.github.state import TOKEN as GITHUB_TOKEN
from sandbox.kubernetes.seed import write_charts
from sandbox.pagerduty.backend import WEBHOOK_SECRET as PAGERDUTY_SECRET
from sandbox.pagerduty.state import API_TOKEN as PAGERDUTY_TOKEN
from sandbox.pagerduty.state import BOT as PAGERDUTY_BOT
from sandbox.responder import SignMissing, respond
from sandbox.server import Sandbox, serving
from sandbox.vault import BOT_TOKEN as VAULT_TOKEN
from sandbox.world.scenario import load_scenario, scenario_names

ENOUGH = 120.0  # seconds after which a scenario played at SPEED is given up; on two idle cores it takes half a minute
SPEED = 90.0  # seconds of the world in one of ours
PERSONS_SPEED = 10.0  # the same while a person responds
TO_OPEN_THE_PAGE = 5.0  # seconds until it begins


@dataclass(frozen=True)
class Stage:
    """A sandbox and a bot that serve on one address and know each other."""

    url: str
    sandbox: Sandbox
    bot: Bot


@asynccontextmanager
async def staged(
    sandbox: Sandbox,
    database: str,
    *,
    locale: str = "es",
    port: int = 0,
    cluster: Path | None = None,
    **settings: object,
) -> AsyncIterator[Stage]:
    """The bot on `database` in this sandbox, both on one port of the loopback interface; `settings` go over its own."""
    front = Starlette(lifespan=sandbox.lifespan)
    async with serving(front, port) as url:
        sandbox.slack.base_url = f"{url}/slack"
        sandbox.slack.bot_url = url
        sandbox.slack.subscriptions = {"app_home_opened", "reaction_added"}  # as app.yaml says
        if cluster:
            kubeconfig = cluster / "kubeconfig"
            kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
            settings["kubeconfig"] = str(kubeconfig)
        given = sandbox_settings(url, sandbox, database, locale, **settings)
        async with running(given, sandbox.clock) as bot:
            server = Server(bot, given)
            front.routes.extend([*server.routes(), Route("/", _to_console), Mount("/", app=sandbox.app)])
            async with server.attending():
                sandbox.send_webhooks_to(url)
                yield Stage(url, sandbox, bot)


async def play(*, auto: bool, out: Path, port: int, locale: Locale, speed: float, scenario: str) -> int:
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
        async with staged(sandbox, database, locale=locale, port=free, cluster=Path(folder), bot_config=team) as stage:
            words = stage.bot.parts.words
            console = f"{stage.url}/console/?lang={locale}"
            if not auto:
                _say(words.part("demo", "welcome", console=console))
                await asyncio.sleep(TO_OPEN_THE_PAGE)
                _say(_begun(stage, scenario))
                await asyncio.Event().wait()
            return await _played(stage, scenario, out)


def lacks_helm(scenario: str) -> bool:
    """Whether it needs helm, which is neither on PATH nor where HELM says."""
    exercise = load_exercises().get(scenario)
    return bool(exercise and exercise.helm) and not shutil.which(os.environ.get("HELM") or "helm")


def _team_with_charts(team: Path, folder: Path) -> Path:
    """The team's file with the charts of the sandbox's releases, which lie in this folder with it."""
    write_charts(folder / "charts")
    told = yaml.safe_load(team.read_text("utf-8"))
    for service in told["services"].values():
        service["chart"] = str(folder / service["chart"])
    written = folder / "tamv.yaml"
    written.write_text(yaml.safe_dump(told, allow_unicode=True), "utf-8")
    return written


def sandbox_settings(url: str, sandbox: Sandbox, database: str, locale: str = "es", **settings: object) -> Settings:
    """The settings that point every client at the sandbox; there is nothing else that the bot could tell it by."""
    credentials = sandbox.slack.credentials
    ours: dict[str, object] = {
        "_env_file": None,
        "slack_bot_token": credentials.bot_token,
        "slack_signing_secret": credentials.signing_secret,
        "slack_api_url": f"{url}/slack/api/",
        "database_url": database,
        "locale": locale,
        "prometheus_url": f"{url}/prometheus",
        "alertmanager_url": f"{url}/alertmanager",
        "alertmanager_webhook_token": WEBHOOK_TOKEN,
        "aws_region": aws.REGION,
        "aws_endpoint_url": f"{url}/aws/",
        "aws_access_key_id": aws.KEY_ID,
        "aws_secret_access_key": aws.SECRET_KEY,
        "vault_addr": f"{url}/vault",
        "vault_token": VAULT_TOKEN,
        "tempo_url": f"{url}/tempo",
        "health_gateway_url": f"{url}/health",
        "pagerduty_api_token": PAGERDUTY_TOKEN,
        "pagerduty_routing_key": sandbox.pagerduty.routing_key("equipo-SRE-TAMV"),
        "pagerduty_from": PAGERDUTY_BOT.email,
        "pagerduty_api_url": f"{url}/pagerduty/api",
        "pagerduty_events_url": f"{url}/pagerduty/events",
        "pagerduty_webhook_secrets": [PAGERDUTY_SECRET],
        "github_token": GITHUB_TOKEN,
        "github_repository": sandbox.company.github.repository,
        "github_api_url": f"{url}/github/api",
        "github_webhook_secret": GITHUB_SECRET,
    }
    return load_settings(**ours | settings)


async def _played(stage: Stage, scenario: str, out: Path) -> int:
    words = stage.bot.parts.words
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
        _say(words.part("demo", "too_slow", seconds=round(enough)))
        return 1
    there = await _leave(stage.bot, incident_id, out)
    # An exercise wakes nobody and may end badly on purpose, which the people who play it have looked at.
    exercise = load_exercises().get(scenario)
    asked = ("asked",) if exercise and exercise.approvers else ()
    demanded = ("status", "runs_ended", *asked) if exercise else tuple(what for what in there if what != "asked")
    wrong = [what for what in demanded if not there[what]]
    for what in wrong:
        _say(words.part("demo", "wrong", what=what))
    _say(words.part("demo", "left", out=out, incident_id=incident_id))
    return 1 if wrong else 0


def _begun(stage: Stage, scenario: str) -> str:
    """Let it begin for a person at the web page; gives what there is to try."""
    words, world = stage.bot.parts.words, stage.sandbox.world
    if exercise := load_exercises().get(scenario):
        exercise.prepare(stage.sandbox)
        return words.part("demo", "practise", first=exercise.begin, then=exercise.run)
    if world.scenario is None:  # nobody has pressed the page's button
        world.play(load_scenario(scenario))
    return words.part("demo", "begun")


async def _leave(bot: Bot, incident_id: str, out: Path) -> dict[str, bool]:
    """Write what came of the incident into `out`; gives what should be there, and whether it is."""
    store = bot.parts.store
    incident = await store.incidents.get(incident_id)
    written = await bot.reports.render(incident_id)
    report = out / f"{incident_id}.md"
    report.write_text(written.markdown, encoding="utf-8")
    report.with_suffix(".html").write_text(written.html, encoding="utf-8")
    charts = [name for name in await store.documents.names(incident_id) if name.startswith("charts/")]
    for name in charts:
        if document := await store.documents.read(incident_id, name):
            (out / name).write_bytes(document.content)
    followups = await store.followups.of(incident_id)
    pages = await store.pages.of(incident_id)
    runs = await store.runs.of(incident_id)
    asked = [await store.runs.approval(run.id, step.id) for run in runs for step in run.steps]
    approvals = [one for one in asked if one]
    snapshots = await store.snapshots.of(incident_id)
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
        "runs": [_told(run) for run in runs],
        "approvals": [
            {"run": one.run_id, "step": one.step_id, "digest": one.digest, "state": one.state.value}
            | {"by": [said.person for said in one.decisions]}
            for one in approvals
        ],
        "followups": [
            {"title": one.title, "url": one.url, "owner": one.owner, "due": one.due and one.due.isoformat()}
            for one in followups
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
        "figures": bool(figures) and all(one.verdict in (Verdict.OK, Verdict.NO_THRESHOLD) for one in figures),
        "charts": bool(charts),
        "runs": all(run.state is RunState.SUCCEEDED for run in runs),
        "runs_ended": bool(runs) and all(run.state.ended for run in runs),
        "asked": bool(approvals),
        "approvals": all(one.decisions for one in approvals),
        "followups": bool(followups) and all(one.url for one in followups),
    }


def _told(run: Run) -> dict[str, Any]:
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


async def _to_console(request: object) -> RedirectResponse:
    return RedirectResponse("/console/")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
