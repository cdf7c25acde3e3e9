"""Jobs of the repository's manifests: what is run is what was shown, and a run that is cancelled leaves none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, Refused, WrongState
from bot.messages.run import line
from bot.store.migrate import upgrade
from sandbox.deadline import deadline
from sandbox.kubernetes.backend import Kubernetes as Backend
from sandbox.kubernetes.containers import Behaviour
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.resources.batch import CRON_JOB, JOB
from tests.harness.actor import ROOT, Actor, in_cluster, parts

STAGING = "tamv-staging"
MIGRATE = "jobs/migrate.yaml"
SHIPPED = sorted(path.name for path in (ROOT / "teams/tamv/manifests" / "jobs").glob("*.yaml"))


@dataclass
class Cluster:
    backend: Backend
    actor: Actor

    def job(self, name: str) -> Object | None:
        return self.backend.store.get(JOB, STAGING, name)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    upgrade(f"sqlite:///{tmp_path / 'bot.db'}")
    async with in_cluster(tmp_path) as (sandbox, _, kubernetes):
        made = parts(tmp_path, sandbox.clock, kubernetes=kubernetes)
        yield Cluster(sandbox.kubernetes, Actor(made, "staging"))


async def refused(cluster: Cluster, **given: Any) -> str:
    with pytest.raises((BadInput, WrongState)) as wrong:
        await cluster.actor.rehearse("kubernetes.run_job", **given)
    for words in cluster.actor.deps.words_by_locale.values():
        assert "{{" not in words.error(wrong.value)
    return wrong.value.key


@pytest.mark.parametrize("name", SHIPPED)
async def test_the_shipped_jobs_are_ones_that_the_cluster_takes(cluster: Cluster, name: str) -> None:
    effects, shown = await cluster.actor.rehearse("kubernetes.run_job", manifest=f"jobs/{name}")
    assert [effect.key for effect in effects] == ["kubernetes.run_job"]
    assert "kind: Job" in effects[0].diff and cluster.job(shown.job) is None


async def test_variables_and_the_tag_go_over_the_manifests(cluster: Cluster) -> None:
    log = tuple(f"ALTER TABLE users ADD COLUMN c{number} text;" for number in range(7))
    cluster.backend.behaviours.set("*/tamv-core:v2.5.0 sh -c*migrate:up*", Behaviour(start=1, run=5, log=log))
    given: dict[str, Any] = {"manifest": MIGRATE, "tag": "v2.5.0", "variables": {"MIGRATE": "--dry-run"}, "log": 5}
    effects, _ = await cluster.actor.rehearse("kubernetes.run_job", **given)
    assert "registry.tamv.world/tamv-core:v2.5.0" in effects[0].diff
    done = await cluster.actor.perform("kubernetes.run_job", **given)
    assert (len(done.lines), done.lines[-1], done.cut) == (5, log[-1], True)
    job = cluster.job(done.job)
    assert job and job["metadata"]["name"].startswith("migrate-")
    environment = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["MIGRATE"] == "--dry-run" and "PGOPTIONS" in environment


async def test_when_the_cron_job_runs_one_by_itself_is_said_with_its_time_zone(cluster: Cluster) -> None:
    found = cluster.backend.store.get(CRON_JOB, STAGING, "db-maintenance")
    assert found

    async def said(locale: str) -> str:
        (effect,), _ = await cluster.actor.rehearse("kubernetes.run_job", cron_job="db-maintenance")
        return line(effect, cluster.actor.deps.words_by_locale[locale])

    assert "`30 3 * * 0`, in the time zone of the control plane" in await said("en")
    for spec, english, spanish in (
        ({"timeZone": "America/Mexico_City"}, "`30 3 * * 0`, America/Mexico_City", "`30 3 * * 0`, America/Mexico_City"),
        ({"suspend": True}, "suspended and runs none", "suspendido y no lanza ninguno"),
    ):
        cluster.backend.writer.update(CRON_JOB, found, lambda one, spec=spec: one["spec"].update(spec))  # type: ignore[misc]
        assert english in await said("en") and spanish in await said("es")


async def test_what_is_run_is_what_was_shown(cluster: Cluster) -> None:
    await cluster.actor.rehearse("kubernetes.run_job", manifest=MIGRATE, tag="v2.5.0")
    with pytest.raises(WrongState) as other:
        await cluster.actor.perform("kubernetes.run_job", manifest=MIGRATE, tag="v2.5.1")
    assert other.value.key == "changed_since"
    names = [job["metadata"]["name"] for job in cluster.backend.store.all(JOB, STAGING)]
    assert [name for name in names if not name.startswith("db-maintenance-")] == []  # those come by the time of day


async def test_a_job_is_said_in_one_way_and_holds_no_secret(cluster: Cluster) -> None:
    assert await refused(cluster) == "one_of_these"
    assert await refused(cluster, cron_job="db-maintenance", manifest=MIGRATE) == "one_of_these"
    assert await refused(cluster, manifest="../runbooks/x.yaml") == "manifest_outside"
    assert await refused(cluster, manifest="drills/block-s3.yaml") == "manifest_kind"
    assert await refused(cluster, manifest=MIGRATE, variables={"DATABASE_URL": "x"}) == "secret_in_env"


async def test_a_failed_job_says_its_last_line(cluster: Cluster) -> None:
    lines = ("migrating", "error: lock timeout")
    cluster.backend.behaviours.set("*/tamv-core:*", Behaviour(start=1, run=3, exit_code=1, log=lines))
    with pytest.raises(Refused) as failed:
        await cluster.actor.perform("kubernetes.run_job", manifest=MIGRATE)
    assert (failed.value.key, failed.value.facts["line"]) == ("job_failed", lines[-1])


async def test_a_bot_that_is_stopped_leaves_the_job_running(cluster: Cluster) -> None:
    cluster.backend.behaviours.set("*/tamv-core:*", Behaviour(start=1, run=100_000))
    running = asyncio.create_task(cluster.actor.perform("kubernetes.run_job", manifest=MIGRATE))
    async with deadline(10):
        while not cluster.backend.store.all(JOB, STAGING):  # noqa: ASYNC110 - the cluster is another program
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cluster.backend.store.all(JOB, STAGING), "its run goes on with it later"
