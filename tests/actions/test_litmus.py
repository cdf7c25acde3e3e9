"""Experiments by Litmus: shown with their targets, limited, watched by the team's figures, stopped, and judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BotError, NotConfigured, WrongState
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import BOT
from bot.domain.policy import Risk
from bot.integrations.prometheus import Prometheus
from bot.messages.results import result_sentence
from bot.messages.run import line
from bot.store.migrate import upgrade
from bot.team import MaintenanceWindow
from sandbox.deadline import deadline
from sandbox.kubernetes.objects import Object, name_of
from sandbox.kubernetes.resources.litmus import CHAOS_ENGINE, CHAOS_EXPERIMENT, CHAOS_RESULT, experiment
from sandbox.kubernetes.resources.pods import POD
from sandbox.server import Sandbox
from sandbox.world.scenario import StartFault
from tests.harness.actor import ROOT, Actor, in_cluster, parts

XR, PROD = "xr-engine", "tamv-prod"
SHIPPED = ROOT / "teams/tamv/manifests/chaos"
DELETE = {"manifest": "chaos/pod-delete.yaml", "service": XR}
LATENCY = {"manifest": "chaos/network-latency.yaml", "service": XR}


@dataclass
class Place:
    sandbox: Sandbox
    actor: Actor
    folder: Path

    def engines(self) -> list[Object]:
        return self.sandbox.kubernetes.store.all(CHAOS_ENGINE, PROD)

    def pods(self) -> set[str]:
        pods = self.sandbox.kubernetes.store.all(POD, PROD)
        return {name_of(pod) for pod in pods if pod["metadata"]["labels"].get("app") == XR}

    def write(self, name: str = "pod-delete", **changes: Any) -> dict[str, str]:
        """Write a manifest of its own like the shipped one, with these environment variables and fields of `spec`."""
        body = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text("utf-8"))
        environment = body["spec"]["experiments"][0]["spec"]["components"]["env"]
        for variable, value in changes.pop("env", {}).items():
            environment[:] = [one for one in environment if one["name"] != variable]
            environment.append({"name": variable, "value": value})
        body["spec"] |= changes
        (self.folder / "chaos" / "own.yaml").write_text(yaml.safe_dump(body))
        return {"manifest": "chaos/own.yaml", "service": XR}

    async def declare(self, *, drill: bool = False) -> str:
        now = self.sandbox.clock.now()
        said = Declaration("Pagos caídos", Severity.SEV1, BOT, now, drill=drill)
        store = self.actor.deps.store.incidents
        incident, _ = await store.declare(lambda id: Incident.declare(id, said), now, idempotency_key=None)
        return incident.id

    async def begun(self) -> None:
        """Wait until Litmus has begun to break something."""
        async with deadline(20):
            while not self.sandbox.kubernetes.store.all(CHAOS_RESULT, PROD):  # noqa: ASYNC110 - it is another program
                await asyncio.sleep(0.02)

    async def refused(self, given: dict[str, str], key: str) -> BotError:
        with pytest.raises(BotError) as refused:
            await self.actor.rehearse("litmus.run", **given)
        assert refused.value.key == key, refused.value.facts
        for words in self.actor.deps.words_by_locale.values():
            assert "{{" not in (said := words.error(refused.value)) and "chaos_" not in said, said
        assert not self.engines(), "nothing was broken"
        return refused.value


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    upgrade(f"sqlite:///{tmp_path / 'bot.db'}")
    manifests = tmp_path / "manifests"
    (manifests / "chaos").mkdir(parents=True)
    for file in SHIPPED.iterdir():
        (manifests / "chaos" / file.name).write_text(file.read_text("utf-8"))
    async with in_cluster(tmp_path) as (sandbox, url, kubernetes):
        made = parts(tmp_path, sandbox.clock, kubernetes=kubernetes, prometheus=Prometheus(f"{url}/prometheus"))
        team = made.team.model_copy(update={"manifests": str(manifests), "schedules": type(made.team.schedules)()})
        yield Place(sandbox, Actor(replace(made, team=team)), manifests)


async def test_it_is_shown_with_its_targets_done_once_and_judged_by_the_teams_figures(place: Place) -> None:
    before = place.pods()
    (effect,), shown = await place.actor.rehearse("litmus.run", **DELETE)
    assert not place.engines() and (shown.outcome, set(shown.pods)) == ("awaited", before)
    facts = {**effect.facts, **effect.facts["aim"]}
    assert (facts["namespace"], facts["label"], facts["experiment"]) == (PROD, "app=xr-engine", "pod-delete")
    assert (facts["seconds"], facts["affected"], set(facts["pods"])) == (180.0, 1, before)
    assert facts["probes"] == ["latency_p95", "error_rate", "gpu_utilization", "frame_rate"]
    assert "kind: ChaosEngine" in effect.diff and "criteria: <=" in effect.diff
    for words in place.actor.deps.words_by_locale.values():
        said = line(effect, words)
        assert all(part in said for part in ("app=xr-engine", "pod-delete", "3 min", *before)), said
    done = await place.actor.perform("litmus.run", **DELETE)
    assert done.outcome == "held" and done.success == 100.0 and all(one.held for one in done.probes)
    assert set(done.targets) & before and place.pods() != before
    assert await place.actor.perform("litmus.run", **DELETE) == done, "the same step again is the same experiment"
    (engine,) = place.engines()
    assert name_of(engine) == done.engine == shown.engine
    told = {"outcome": "held", "label": done.label, "experiment": done.experiment, "seconds": 180.0}
    probes = [{"query": one.query, "title": one.title} for one in done.probes]
    for words in place.actor.deps.words_by_locale.values():
        sentence = result_sentence("litmus.run", {**told, "probes": probes, "targets": done.targets}, words)
        assert "app=xr-engine" in sentence and "✅" in sentence, sentence
    await place.actor.undo("litmus.run", done)
    assert place.engines() == [engine], "it is over: there is nothing to stop"


async def test_a_figure_that_breaks_ends_it_and_is_named(place: Place) -> None:
    given = place.write("network-latency", env={"NETWORK_LATENCY": "4000", "PODS_AFFECTED_PERC": "67"})
    await place.actor.rehearse("litmus.run", **given)
    with pytest.raises(WrongState) as broke:
        await place.actor.perform("litmus.run", **given)
    first = str(broke.value.facts["broken"]).partition("'")[2].partition("'")[0]
    limits = ("latency_p95 (max 500 ms)", "error_rate (max 2 %)", "frame_rate (min 60 fps)")
    assert broke.value.key == "chaos_broke" and first in limits
    for words in place.actor.deps.words_by_locale.values():
        assert first in words.error(broke.value)
    (engine,) = place.engines()
    assert engine["status"]["engineStatus"] == "stopped"
    assert not place.sandbox.world.deployments[XR].faults


async def test_an_incident_that_opens_stops_it_and_a_drill_does_not(place: Place) -> None:
    await place.declare(drill=True)
    await place.actor.rehearse("litmus.run", **LATENCY)
    running = asyncio.create_task(place.actor.perform("litmus.run", **LATENCY))
    await place.begun()
    incident = await place.declare()
    with pytest.raises(WrongState) as stopped:
        await running
    assert (stopped.value.key, stopped.value.facts["incident"]) == ("chaos_stopped_for_incident", incident)
    (engine,) = place.engines()
    assert (engine["spec"]["engineState"], engine["status"]["engineStatus"]) == ("stop", "stopped")
    assert not place.sandbox.world.deployments[XR].faults


async def test_undoing_it_stops_it(place: Place) -> None:
    _, shown = await place.actor.rehearse("litmus.run", **LATENCY)
    running = asyncio.create_task(place.actor.perform("litmus.run", **LATENCY))
    await place.begun()
    await place.actor.undo("litmus.run", shown)
    with pytest.raises(WrongState, match="chaos_stopped"):
        await running
    (engine,) = place.engines()
    assert engine["status"]["engineStatus"] == "stopped"


@pytest.mark.parametrize(("frozen", "state"), [(False, "active"), (True, "stop")])
async def test_a_bot_that_is_stopped_leaves_it_and_a_freeze_stops_it(place: Place, frozen: bool, state: str) -> None:
    running = asyncio.create_task(place.actor.perform("litmus.run", **LATENCY))
    await place.begun()
    if frozen:
        await place.actor.deps.store.kill_switch.freeze("espera", BOT, place.sandbox.clock.now(), "k")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (engine,) = place.engines()
    assert engine["spec"]["engineState"] == state


async def test_a_verdict_that_does_not_come_is_not_known(place: Place) -> None:
    place.sandbox.kubernetes.cluster.start([])  # nobody plays Litmus any more
    with pytest.raises(WrongState, match="chaos_unknown"):
        await place.actor.perform("litmus.run", **LATENCY, wait="1m")
    (engine,) = place.engines()
    assert engine["spec"]["engineState"] == "stop"


async def test_what_the_team_does_not_allow_is_refused_before_anything_is_done(place: Place) -> None:
    deps = place.actor.deps
    await place.refused(place.write(env={"TOTAL_CHAOS_DURATION": "301"}), "chaos_too_long")
    await place.refused(place.write(env={"TARGET_PODS": "postgres-0"}), "manifest_wrong")
    await place.refused({**DELETE, "manifest": "drills/../../team.yaml"}, "manifest_outside")
    await place.refused({**DELETE, "service": "tamv-core"}, "chaos_other_pods")
    assert deps.team.chaos
    staging = deps.team.chaos.model_copy(update={"namespaces": ["tamv-staging"]})
    place.actor.deps = replace(deps, team=deps.team.model_copy(update={"chaos": staging}))
    await place.refused(DELETE, "chaos_not_there")
    place.actor.deps = replace(deps, team=deps.team.model_copy(update={"chaos": None}))
    with pytest.raises(NotConfigured, match="chaos_off"):
        await place.actor.rehearse("litmus.run", **DELETE)


async def test_a_target_that_is_not_there_is_said_with_what_there_is(place: Place) -> None:
    missing = await place.refused(place.write(appinfo={"applabel": "app=xr-motor"}), "chaos_no_target")
    assert "app=xr-engine" in str(missing.facts["known"])


async def test_an_experiment_that_is_not_there_or_too_wide_is_refused(place: Place) -> None:
    store = place.sandbox.kubernetes
    drain = store.store.get(CHAOS_EXPERIMENT, PROD, "pod-delete")
    assert drain
    store.writer.delete(CHAOS_EXPERIMENT, drain)
    unknown = await place.refused(DELETE, "no_experiment")
    assert unknown.facts["known"] == ["pod-cpu-hog", "pod-network-latency"]
    store.writer.create(CHAOS_EXPERIMENT, experiment("pod-delete", PROD, "Cluster"))
    await place.refused(DELETE, "chaos_too_wide")


async def test_an_account_that_is_not_there_is_refused_before_litmus_waits_for_it(place: Place) -> None:
    missing = await place.refused(place.write(chaosServiceAccount="pod-deleter"), "no_chaos_account")
    assert (missing.facts["account"], missing.facts["namespace"]) == ("pod-deleter", PROD)


async def test_a_cluster_without_litmus_says_what_to_apply(place: Place) -> None:
    for kind in (CHAOS_RESULT, CHAOS_ENGINE):
        del place.sandbox.kubernetes.kinds[kind.key]
    missing = await place.refused(DELETE, "litmus_missing")
    assert missing.facts["missing"] == ["chaosengines.litmuschaos.io", "chaosresults.litmuschaos.io"]


async def test_nothing_is_broken_on_purpose_while_something_else_is_going_on(place: Place) -> None:
    deps, now = place.actor.deps, place.sandbox.clock.now()
    window = MaintenanceWindow(title={"en": "RDS"}, begins=now - timedelta(minutes=5), lasts=timedelta(hours=9))
    schedules = deps.team.schedules.model_copy(update={"maintenance": {"rds": window}})
    place.actor.deps = replace(deps, team=deps.team.model_copy(update={"schedules": schedules}))
    await place.refused(DELETE, "chaos_in_window")
    place.actor.deps = deps
    place.sandbox.world.act([StartFault(do="fault", service=XR, name="x", errors=0.5)])
    place.sandbox.clock.speed = 1000
    async with deadline(20):
        while place.sandbox.clock.now() < now + timedelta(minutes=6):  # noqa: ASYNC110 - the world's time passes
            await asyncio.sleep(0.02)
    steady = await place.refused(DELETE, "chaos_not_steady")
    assert "error_rate" in str(steady.facts["broken"])
    await deps.store.kill_switch.freeze("espera", BOT, now, "k")
    await place.refused(DELETE, "frozen")
    await place.declare()
    await place.refused(DELETE, "chaos_during_incident")


async def test_what_was_shown_is_what_is_done(place: Place) -> None:
    given = place.write()
    await place.actor.rehearse("litmus.run", **given)
    place.write(env={"CHAOS_INTERVAL": "5"})
    with pytest.raises(WrongState, match="changed_since"):
        await place.actor.perform("litmus.run", **given)
    assert not place.engines()


@pytest.mark.parametrize(("percent", "risk"), [("30", Risk.DISRUPTIVE), ("100", Risk.DESTRUCTIVE)])
async def test_an_experiment_on_every_pod_is_as_destructive_as_a_shutdown(
    place: Place, percent: str, risk: Risk
) -> None:
    effects, _ = await place.actor.rehearse("litmus.run", **place.write(env={"PODS_AFFECTED_PERC": percent}))
    assert ACTIONS.get("litmus.run").risk_of(effects) is risk


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.iterdir()))
async def test_the_shipped_experiments_are_ones_that_the_cluster_takes(place: Place, name: str) -> None:
    effects, _ = await place.actor.rehearse("litmus.run", manifest=f"chaos/{name}.yaml", service=XR)
    assert [effect.key for effect in effects] == ["litmus.start"]
