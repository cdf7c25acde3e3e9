"""The files under deploy/, checked by the real tools, and the world scraped by a real Prometheus."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.clock import Clock
from sandbox.prometheus.rules import Rules
from sandbox.world.api import exposition, routes
from sandbox.world.world import World
from tests.harness.serving import served
from tests.real.parts import installed, require
from tests.real.prometheus import prometheus

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "tamv.rules.yaml"
BOT_RULES = DEPLOY / "prometheus" / "bot.rules.yaml"
UP = 'up{job="tamv-bot"}'
FAILED = 'tamv_bot_deliveries_total{job="tamv-bot",source="alertmanager",outcome="failed"}'
REFUSED = 'tamv_bot_team_reloads_total{job="tamv-bot",outcome="refused"}'
RUNS, OUTBOX, DELIVERIES, TAKEOVERS, OLDEST = (
    f'tamv_bot_{name}{{job="tamv-bot"}}'
    for name in ("engine_runs", "outbox", "deliveries_waiting", "takeovers_total", "slack_waiting_seconds")
)


def ready(check: str) -> str:
    return f'tamv_bot_ready{{job="tamv-bot",check="{check}"}}'


CHECKS = ("database", "engine", "slack", "socket_mode")
HEALTHY: dict[str, int | str] = {
    **{UP: 1, RUNS: 2, OUTBOX: 0, DELIVERIES: 0, TAKEOVERS: 2, FAILED: 0, OLDEST: 0},
    **{ready(check): 1 for check in CHECKS},
}
KEPT = {UP, OUTBOX, DELIVERIES, *map(ready, CHECKS)}  # whose labels their alerts keep


def check(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ask(base: str, path: str, **parameters: str) -> Any:
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback address
        return json.load(answer)["data"]


def wait_for(base: str, query: str) -> Any:
    """The query's answer as soon as there is one."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if found := ask(base, "query", query=query)["result"]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no answer to {query}")


@pytest.mark.real("prometheus")
def test_promtool_accepts_the_rules_the_configuration_and_the_worlds_metrics() -> None:
    require("prometheus")
    promtool = str(installed("promtool"))
    check(promtool, "check", "rules", str(RULES), str(BOT_RULES))
    check(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))
    check(promtool, "check", "metrics", text=exposition(World(Clock())))


@pytest.mark.real("prometheus")
@pytest.mark.parametrize(
    ("fault", "fires"),
    [
        ({}, None),
        ({UP: 0}, "IncidentBotDown"),
        ({ready("database"): 0}, "IncidentBotDatabaseNotWritable"),
        ({ready("engine"): 0}, "IncidentBotEngineNotRunning"),
        ({RUNS: 0}, "IncidentBotEngineNotRunning"),
        ({ready("slack"): 0}, "IncidentBotSlackTokenRefused"),
        ({ready("socket_mode"): 0}, "IncidentBotSocketClosed"),
        ({TAKEOVERS: "0+1"}, "IncidentBotReplicasDie"),
        ({FAILED: "0+1"}, "IncidentBotDeliveriesFail"),
        ({OUTBOX: 3}, "IncidentBotWorkWaits"),
        ({DELIVERIES: 3}, "IncidentBotWorkWaits"),
        ({OLDEST: 300}, "IncidentBotMessagesWait"),
        ({REFUSED: "0+1"}, "IncidentBotTeamFolderRefused"),
    ],
)
def test_each_fault_of_the_bot_itself_fires_its_alert_and_no_other(
    tmp_path: Path, fault: dict[str, int | str], fires: str | None
) -> None:
    require("prometheus")
    rules = yaml.safe_load(BOT_RULES.read_text("utf-8"))["groups"][0]["rules"]
    series = [{"series": name, "values": f"{value}x10"} for name, value in (HEALTHY | fault).items()]
    ours = {"job": "tamv-bot"}
    expected = []
    for rule in rules:
        alerts = []
        if rule["alert"] == fires:
            (name,) = fault
            labels = dict(rule["labels"]) | (ours if name in KEPT else {})
            labels |= {"check": name.split('"')[3]} if name.startswith("tamv_bot_ready") else {}
            labels |= {"source": "alertmanager"} if name == FAILED else {}
            said = {
                key: text.replace("{{ $value | humanizeDuration }}", "5m 0s").replace(
                    "{{ $labels.source }}", "alertmanager"
                )
                for key, text in rule["annotations"].items()
            }
            alerts = [{"exp_labels": labels, "exp_annotations": said}]
        expected.append({"eval_time": "8m", "alertname": rule["alert"], "exp_alerts": alerts})
    test = {
        "rule_files": [str(BOT_RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": expected}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test), "utf-8")
    check(str(installed("promtool")), "test", "rules", str(file))


@pytest.mark.real("alertmanager")
def test_amtool_accepts_the_configuration() -> None:
    require("alertmanager")
    file = DEPLOY / "alertmanager" / "alertmanager.yaml"
    check(str(installed("amtool")), "check-config", str(file))
    (receiver,) = yaml.safe_load(file.read_text("utf-8"))["receivers"]
    authorization = receiver["webhook_configs"][0]["http_config"]["authorization"]
    assert set(authorization) == {"type", "credentials_file"}, "no secret stands in a file"


@pytest.mark.real("prometheus")
def test_a_real_prometheus_scrapes_the_world_and_evaluates_our_rules() -> None:
    require("prometheus")
    world = World(Clock())
    with served(Starlette(routes=[Mount("/world", routes=routes(world))])) as base:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "world",
                    "honor_labels": True,
                    "metrics_path": "/world/metrics",
                    "static_configs": [{"targets": [base.removeprefix("http://")]}],
                }
            ],
        }
        with prometheus(config) as real:
            gpus = wait_for(real, 'nvidia_gpu_utilization_gpu{instance=~".*gpu.*"}')
            assert {each["metric"]["instance"] for each in gpus} == {"gpu-node-1", "gpu-node-2", "gpu-node-3"}
            (frames,) = wait_for(real, 'avg(xr_frame_rate{service="xr-engine"})')
            assert float(frames["value"][1]) == pytest.approx(88, abs=3)
            (latency,) = wait_for(
                real,
                "histogram_quantile(0.95, sum by (le) "
                '(rate(http_request_duration_seconds_bucket{service="xr-engine"}[5m]))) < 0.28',  # once it has enough
            )
            assert float(latency["value"][1]) == pytest.approx(0.18, abs=0.1)
            theirs, ours = ask(real, "rules")["groups"], Rules.load(RULES).as_json()["groups"]
            assert [group["name"] for group in ours] == [group["name"] for group in theirs]
            for group, other in zip(ours, theirs, strict=True):
                assert set(group) >= set(other) - {"limit"}
                for rule, told in zip(group["rules"], other["rules"], strict=True):
                    assert set(rule) >= set(told)
                    for key in ("name", "duration", "labels", "annotations", "type"):
                        assert rule[key] == told[key]
