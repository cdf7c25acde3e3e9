"""A change that something else puts back some minutes later is told once: in the channel, the run and the report."""

from __future__ import annotations

from pathlib import Path

from bot.domain.timeline import Kind
from sandbox.kubernetes.objects import Object, deep_copy
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from tests.harness.play import LONG, Play, playing
from tests.harness.scene import TEAM, words

QUANTUM, PROD = "quantum-processor", "tamv-prod"


def change(stage: Play, *, replicas: int | None = None, labels: dict[str, str] | None = None) -> None:
    """Change the deployment as somebody else does."""
    found = stage.cluster.store.get(DEPLOYMENT, PROD, QUANTUM)
    assert found
    after: Object = deep_copy(found)
    after["metadata"]["labels"] |= labels or {}
    if replicas is not None:
        after["spec"]["replicas"] = replicas
    stage.cluster.writer.replace(DEPLOYMENT, found, after)
    stage.cluster.cluster.settle()


async def test_what_is_put_back_minutes_later_is_told_once_wherever_the_run_is_shown(tmp_path: Path) -> None:
    async with playing(tmp_path) as stage:
        change(stage, labels={"kustomize.toolkit.fluxcd.io/name": "apps"})
        channel = await stage.incident(service=QUANTUM)
        await stage.person("ana").run(f"/ops scale {QUANTUM} 3", channel.name)
        (run,) = await stage.until(stage.bot.deps.store.runs.recent)
        async with stage.approving(run, "bruno"):
            run = await stage.ended(run)
        assert not [text for text in stage.own(channel) if "No ha durado" in text]
        change(stage, replicas=2)
        told = await stage.told(channel, "No ha durado", run.id, "Flux (`apps`)", "réplicas 2 → 3", seconds=LONG)
        assert "⚠" not in words(told), "what is said before a change is not said of what is gone"
        await stage.shown(run, "no ha durado")

        first = await stage.ops(f"scale {QUANTUM} 4")  # without an incident
        await stage.ops(f"scale {QUANTUM} 5")  # which is no reversal of the first
        change(stage, replicas=2)
        told = await stage.told(TEAM, "No ha durado", "réplicas 2 → 5", seconds=LONG)
        assert first.id not in words(told)

        await stage.quiet(LONG)
        assert sum("*No ha durado*" in text for text in (*stage.own(channel), *stage.own(TEAM))) == 2
        record = await stage.record(channel)
        timeline = await stage.bot.deps.store.incidents.timeline(record.id)
        assert [event.facts["owner"]["kind"] for event in timeline if event.kind is Kind.CHANGE_REVERTED] == ["flux"]
        report = (await stage.bot.reports.render(record.id)).markdown
        assert "**No ha durado**" in report and "otro lo revirtió" in report
