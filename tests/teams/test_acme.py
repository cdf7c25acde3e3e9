"""Another team's folder plays an incident from the alert to the report: its names, its one language, no code of its
own; nothing of the shipped example shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from demo.environment import demo_environment, sandbox_settings
from sandbox.clock import LoadAwareClock
from sandbox.company import load_company
from sandbox.kubernetes.access import ADMIN
from sandbox.server import Sandbox
from tests.harness import alerts
from tests.harness.command_line import environment, tamv_bot
from tests.harness.scene import Scene

ACME = Path(__file__).parent / "acme"
HOME = "acme-incidents"
FAST = 20.0  # seconds of the world in one of ours

EXAMPLE = r"(?<!x-)tamv(?!-bot)|xr-engine|isabella|\bana\b|bruno|equipo|render"
SPANISH = (
    r"[áéíóúñ¿¡]|\b(?:incidente|latencia|servicio|guardia|est[aá]|para|con|del|los|las|una|por|quién|escriba|escribe)\b"
)
UNPREFIXED = r"(?<![\w/.-])/(?:incident|runbook|ops|snapshot|page|oncall|drill|why)(?![\w/-])"
URL = r"https?://\S+|data:image/[^\s\"')]+"
FOREIGN = re.compile(f"{EXAMPLE}|{SPANISH}|{UNPREFIXED}", re.IGNORECASE)


def workload(kind: str, name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": name, "image": f"registry.example/{name}:1.0.0"}]}
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


async def furnish(url: str, sandbox: Sandbox) -> None:
    """Put Acme's workloads into the cluster, and its figures into Prometheus."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with aiohttp.ClientSession(f"{url}/kubernetes/", headers=headers, raise_for_status=True) as http:
        await http.post("api/v1/namespaces", json={"metadata": {"name": "pay"}})
        apps = "apis/apps/v1/namespaces/pay"
        await http.post(f"{apps}/statefulsets", json=workload("StatefulSet", "ledger-db", 2))
        await http.post(f"{apps}/deployments", json=workload("Deployment", "checkout", 2))
    now = round(sandbox.clock.now().timestamp() * 1000)
    for job in ("ledger", "checkout"):
        common = {"job": job, "http_response_status_code": "200"}
        for name, labels, rate in (
            ("http_server_request_duration_seconds_bucket", common | {"le": "0.5"}, 10),
            ("http_server_request_duration_seconds_bucket", common | {"le": "2.5"}, 90),
            ("http_server_request_duration_seconds_bucket", common | {"le": "+Inf"}, 90),
            ("http_server_request_duration_seconds_count", common, 90),
        ):
            series = sandbox.world.tsdb.series(name, {**labels, "__name__": name})
            for number, back in enumerate(range(3600, -600, -15)):
                series.append(now - back * 1000, float(rate * number))


def ledger(status: str) -> bytes:
    said = {"alertname": "LedgerLatency", "service": "ledger", "severity": "critical"}
    alert = alerts.alert(status=status, summary="p99 over 2 s", **said)
    return alerts.notification(alert, groupKey='{}:{service="ledger"}', groupLabels={"service": "ledger"})


def shown(scene: Scene) -> Iterator[str]:
    """Everything that anybody has been shown."""
    for channel in scene.slack.channels.values():
        yield f"{channel.name} {channel.topic}"
        for message in channel.messages.values():
            if message.bot_id or message.ephemeral_to:
                yield f"{message.text}\n{message.all_text()}"
    for view in [*scene.slack.homes.values(), *(view for views in scene.slack.modals.values() for view in views)]:
        yield json.dumps(view.view if hasattr(view, "view") else vars(view), ensure_ascii=False, default=str)
    yield from (file.title for file in scene.slack.files.values())
    for issue in scene.sandbox.github.issues.values():
        yield f"{issue.title}\n{issue.body}"


@pytest.mark.timeout(230)
async def test_a_team_of_its_own_plays_an_incident_from_the_alert_to_the_report(tmp_path: Path) -> None:
    sandbox = Sandbox(load_company(ACME / "company.yaml"), clock=LoadAwareClock())
    database = f"sqlite:///{tmp_path}/bot.db"
    given: dict[str, Any] = {"team_dir": ACME, "grafana_url": "https://grafana.acme.example"}
    async with demo_environment(sandbox, database, locale="en", cluster=tmp_path, **given) as made:
        scene = Scene(made.url, made.bot, sandbox, tmp_path / "bot.db")
        await furnish(made.url, sandbox)
        assert (await scene.post(alerts.PATH, ledger("firing"), alerts.BEARER))[0] < 300
        channel = await scene.opened()
        await scene.told(channel, "Latency p99", "2.48 s")
        incident = await scene.record(channel)

        async def type_(command: str, sign: str) -> None:
            await scene.person("priya").run(command, channel.name)
            await scene.told(channel, sign)

        await type_("/acme-incident ack", "Acknowledged")
        await scene.person("priya").run("/acme-runbook run slow-ledger", channel.name)

        async def ended() -> Any:
            runs = await made.bot.deps.store.runs.list_by_incident(incident.id)
            return runs and runs[0].state.ended and runs[0]

        sandbox.clock.speed = FAST  # a StatefulSet starts one pod after the other
        run = await scene.until(ended, 60)
        sandbox.clock.speed = 1
        assert [step.error for step in run.steps] == [None, None], run.steps
        assert run.state.value == "succeeded"
        await scene.person("priya").run("/acme-incident followup Alert earlier owner=Payments", channel.name)
        await scene.person("priya").run("/acme-incident note The queue is drained", channel.name)
        await scene.person("priya").run("/acme-snapshot", channel.name)
        assert (await scene.post(alerts.PATH, ledger("resolved"), alerts.BEARER))[0] < 300
        await scene.person("priya").run("/acme-incident mitigate", channel.name)
        await scene.person("priya").run("/acme-incident resolve", channel.name)

        async def resolved() -> bool:
            return not (await made.bot.deps.store.incidents.get(incident.id)).status.is_open

        await scene.until(resolved, 30)
        for command in ("/acme-incident help", "/acme-incident help ack", "/acme-incident bogus",
                        "/acme-incident stats",
                        "/acme-runbook help", "/acme-ops help", "/acme-oncall", "/acme-drill list",
                        "/acme-incident list", "/acme-runbook show slow-ledger"):  # fmt: skip
            await scene.answer(command, "tom", HOME)  # Slack says that he speaks Spanish; the team does not
        await scene.person("tom").open_home()
        await scene.quiet()
        await no_foreign_words(shown(scene))
        report = await made.bot.reports.render(incident.id)
        await no_foreign_words([report.markdown, report.html.split("</style>")[-1]])
        settings = sandbox_settings(made.url, sandbox, database, "", **given)
        settings_of_a_shell = environment(settings) | {"TEAM_DIR": str(ACME), "GRAFANA_URL": ""}  # nobody answers there
        for command in ("incident list", f"incident show {incident.id}", "runbook list", "runbook validate", "doctor"):
            ran = await tamv_bot(*command.split(), env=settings_of_a_shell)
            assert ran.code == 0, f"{command}\n{ran.out}{ran.err}"
            await no_foreign_words([(ran.out + ran.err).replace(str(ACME.parents[2]), "")])


async def no_foreign_words(texts: Iterator[str] | list[str]) -> None:
    found = [(match[0], text[max(0, match.start() - 60) : match.end() + 60])
             for text in texts for match in FOREIGN.finditer(re.sub(URL, "", text))]  # fmt: skip
    assert found == []


def test_what_looks_foreign_is_found() -> None:
    for text in ("La latencia sube", "Type /incident ack", "#tamv-incidents", "xr-engine"):
        assert FOREIGN.search(text)
    assert not FOREIGN.search("Type /acme-incident ack; see /runbooks/x and tamv-bot doctor")
