"""Who acts in a terminal is who the operating system says, and what is done there is seen in Slack."""

from __future__ import annotations

from pathlib import Path

import yaml

from bot.domain.run import RunState
from demo.environment import sandbox_settings
from sandbox.clock import Clock
from sandbox.server import Sandbox
from tests.actions.test_kubernetes import kubeconfig
from tests.architecture.tree import ROOT
from tests.harness.command_line import environment, tamv_bot
from tests.harness.lamp import until
from tests.harness.scene import Scene, scene


async def test_a_name_in_the_environment_is_nobodys_identity(tmp_path: Path) -> None:
    async with scene(tmp_path, locale="en") as stage:
        env = _environment(stage, tmp_path)
        for names in ({"LOGNAME": "bruno-diaz", "USER": "bruno-diaz"}, {"SUDO_USER": "bruno-diaz"}):
            refused = await tamv_bot("ops", "pods", "xr-engine", env=env | names)
            assert refused.code == 1 and "bruno" not in refused.err.partition("--as")[0]
        assert await stage.bot.deps.store.runs.recent() == []


async def test_only_whom_the_team_file_allows_acts_for_others(tmp_path: Path) -> None:
    team = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    team["policy"]["act_for_others"] = ["somebody-else"]
    path = tmp_path / "team.yaml"
    path.write_text(yaml.safe_dump(team), "utf-8")
    async with scene(tmp_path, locale="en") as stage:
        env = _environment(stage, tmp_path) | {"BOT_CONFIG": str(path)}
        refused = await tamv_bot("ops", "scale", "xr-engine", "5", "--as", "ana-torres", env=env)
        assert refused.code == 1 and "may not act for Ana Torres" in refused.err
        assert await stage.bot.deps.store.runs.recent() == []


async def test_what_is_asked_for_and_approved_in_a_terminal_says_so_everywhere(tmp_path: Path) -> None:
    cluster = Sandbox(clock=Clock(speed=60))
    async with cluster.serving() as url, scene(tmp_path, locale="en", kubeconfig=kubeconfig(tmp_path, url)) as stage:
        channel = await stage.incident()
        incident = await stage.record(channel)
        env = _environment(stage, tmp_path, kubeconfig=kubeconfig(tmp_path, url))
        asking = await stage.person("ana").run("/ops cordon gpu-node-1", channel.name)
        assert asking
        (approval,) = await until(stage.bot.deps.store.runs.waiting)
        given = (approval.run_id, approval.step_id, approval.digest, "--as", "bruno-diaz")
        done = await tamv_bot("runbook", "approve", *given, env=env)
        assert done.code == 0, done.err
        run = await stage.bot.deps.store.runs.get(approval.run_id)
        assert run.state is RunState.SUCCEEDED
        await stage.told(channel, "<@U0BRUNO002>", "terminal: uid ", run.id, "approved")
        report = (await stage.bot.reports.render(incident.id)).markdown
        assert "Approved by Bruno Díaz (terminal: uid " in report
        assert "**Bruno Díaz**" in report.partition("## Who did what")[2]


def _environment(stage: Scene, folder: Path, **more: str) -> dict[str, str]:
    database = f"sqlite:///{folder}/bot.db"
    return environment(sandbox_settings(stage.url, stage.sandbox, database, "en", prometheus_url=None, **more))
