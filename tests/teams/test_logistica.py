"""A team that has next to nothing: one language that is not English, one DaemonSet, one severity, no figures, no pages,
no issues. It plays an incident from the alert to the report, and whatever is asked for that it does not have says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from demo.environment import demo_environment, sandbox_settings
from sandbox.clock import LoadAwareClock
from sandbox.company import load_company
from sandbox.kubernetes.access import ADMIN
from sandbox.server import Sandbox
from tests.end_to_end.test_command_line import SCOPES
from tests.end_to_end.test_init import missed
from tests.harness import alerts
from tests.harness.command_line import environment, tamv_bot
from tests.harness.scene import Scene
from tests.teams.test_acme import shown, workload

LOGISTICA = Path(__file__).parent / "logistica"
HOME = "incidencias"
NOTHING: dict[str, Any] = dict.fromkeys(
    ("prometheus_url", "alertmanager_url", "aws_region", "vault_addr", "tempo_url", "pagerduty_api_token",
     "pagerduty_routing_key", "pagerduty_from", "github_token", "github_repository")
)  # fmt: skip
ENGLISH = re.compile(
    r"\b(?:the|is|are|was|has|have|of|and|nobody|nothing|waiting|waits|acknowledged|resolved|declared)\b"
    r"|(?<![\w/.-])/(?:incident|runbook)(?![\w/-])|tamv(?!-bot)",
    re.IGNORECASE,
)
UNEXPECTED = re.compile(r"inesperado|unexpected|None|\{\{|Traceback", re.IGNORECASE)


async def furnish(url: str) -> None:
    """Put the DaemonSet into the cluster."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    made = workload("DaemonSet", "agente-reparto", 1)
    del made["spec"]["replicas"]
    async with aiohttp.ClientSession(f"{url}/kubernetes/", headers=headers, raise_for_status=True) as http:
        await http.post("api/v1/namespaces", json={"metadata": {"name": "rutas"}})
        await http.post("apis/apps/v1/namespaces/rutas/daemonsets", json=made)


def stopped(status: str) -> bytes:
    said = {"alertname": "RutasParadas", "service": "reparto", "severity": "critical"}
    alert = alerts.alert(status=status, summary="12 rutas paradas", **said)
    return alerts.notification(alert, groupKey='{}:{service="reparto"}', groupLabels={"service": "reparto"})


@pytest.mark.timeout(230)
async def test_a_team_with_next_to_nothing_plays_an_incident_from_the_alert_to_the_report(tmp_path: Path) -> None:
    sandbox = Sandbox(load_company(LOGISTICA / "company.yaml"), clock=LoadAwareClock())
    database = f"sqlite:///{tmp_path}/bot.db"
    given: dict[str, Any] = {**NOTHING, "team_dir": LOGISTICA}
    async with demo_environment(sandbox, database, locale="", cluster=tmp_path, **given) as made:
        scene = Scene(made.url, made.bot, sandbox, tmp_path / "bot.db")
        await furnish(made.url)
        assert (await scene.post(alerts.PATH, stopped("firing"), alerts.BEARER))[0] < 300
        channel = await scene.opened()
        incident = await scene.record(channel)
        await scene.person("lucia").run("/incidencia ack", channel.name)
        await scene.person("lucia").run("/receta run reinicio", channel.name)

        def card() -> tuple[Any, str] | None:
            return next(((message, element["value"]) for message in channel.messages.values()
                         for _, element in message.elements() if element["action_id"] == "approve"), None)  # fmt: skip

        message, value = await scene.see(card)
        await scene.person("inigo").press(message, "approve", value)

        async def ended() -> Any:
            runs = await made.bot.deps.store.runs.list_by_incident(incident.id)
            return runs and runs[0].state.ended and runs[0]

        sandbox.clock.speed = 20
        run = await scene.until(ended, 60)
        sandbox.clock.speed = 1
        assert run.state.value == "succeeded", run.steps
        for command in ("/snapshot", "/snapshot reparto", "/oncall", "/page @Rutas ayuda", "/why", "/incidencia stats",
                        "/incidencia followup Avisar antes", "/incidencia timeline", "/incidencia status",
                        "/incidencia help", "/receta help", "/receta list", "/drill list", "/ops help",
                        "/ops rollout reparto", "/ops history reparto", "/ops top pods", "/ops health"):  # fmt: skip
            said = await scene.answer(command, "inigo", channel.name)
            assert not UNEXPECTED.search(said), f"{command}\n{said}"
        assert (await scene.post(alerts.PATH, stopped("resolved"), alerts.BEARER))[0] < 300
        await scene.person("lucia").run("/incidencia mitigate", channel.name)
        await scene.person("lucia").run("/incidencia resolve", channel.name)

        async def resolved() -> bool:
            return not (await made.bot.deps.store.incidents.get(incident.id)).status.is_open

        await scene.until(resolved, 30)
        await scene.person("inigo").open_home()
        await scene.quiet()
        report = await made.bot.reports.render(incident.id)
        texts = [*shown(scene), report.markdown, report.html.split("</style>")[-1]]
        found = [(match[0], text[max(0, match.start() - 80) : match.end() + 60])
                 for text in texts for pattern in (ENGLISH, UNEXPECTED)
                 for match in pattern.finditer(re.sub(r"https?://\S+|data:image/[^\s\"')]+", "", text))]  # fmt: skip
        assert found == []


async def test_init_finds_a_daemon_set_and_doctor_has_nothing_against_the_folder(tmp_path: Path) -> None:
    sandbox = Sandbox(load_company(LOGISTICA / "company.yaml"))
    sandbox.slack.scopes = set(SCOPES)
    async with sandbox.serving() as url:
        (tmp_path / "kubeconfig").write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        await furnish(url)
        settings = sandbox_settings(
            url, sandbox, f"sqlite:///{tmp_path}/bot.db", "es", kubeconfig=str(tmp_path / "kubeconfig"), **NOTHING
        )
        env = environment(settings) | {"TEAM_DIR": "", "LOCALE": "es", "INCIDENT_CHANNEL": ""}
        written = await tamv_bot("init", "sur", "--yes", "--namespace", "rutas", env=env, cwd=tmp_path)
        assert written.code == 0 and missed(written.out) == [], written
        text = (tmp_path / "sur/team.yaml").read_text("utf-8")
        assert 'workload: "daemonset/agente-reparto"' in text and 'incident_channel: "#incidencias"' in text
        tried = await tamv_bot("runbook", "validate", "--team", "sur", env=env, cwd=tmp_path)
        assert tried.code == 0, tried
