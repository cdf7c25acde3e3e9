"""The actions of releases on a cluster with real helm: what is kept, what is taken back, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import BadInput, NotFound, Refused, WrongState
from bot.integrations.helm import Helm, image_tag
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.manifests import manifest_diff
from bot.messages.run import line
from bot.team import PRODUCTION
from sandbox.clock import Clock
from sandbox.kubernetes import charts
from sandbox.kubernetes.resources.basic import SECRET
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.server import Sandbox
from sandbox.world.services import NAMESPACE, SERVICES
from tests.harness.actor import Actor, parts
from tests.real import helm

XR = "xr-engine"


@dataclass
class World:
    sandbox: Sandbox
    actor: Actor
    kubernetes: Kubernetes

    async def do(self, name: str, key: str, **given: Any) -> Any:
        """Rehearse and perform, as a run does."""
        await self.actor.rehearse(f"helm.{name}", key, release=XR, **given)
        return await self.actor.perform(f"helm.{name}", key, release=XR, **given)

    async def history(self) -> Any:
        return await self.actor.perform("helm.history", release=XR)

    async def replicas(self) -> int:
        return await self.kubernetes.workloads.replicas(XR, NAMESPACE)

    def versions(self) -> set[str]:
        world = self.sandbox.world
        return {pod.template.version for pod in world.pods(XR) if pod.is_ready(world.at)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    program = str(await asyncio.to_thread(helm.helm))
    clock = Clock(speed=100)
    sandbox = Sandbox(clock=clock)
    service = next(one for one in SERVICES if one.name == XR)
    charts.write(service, service.replicas, tmp_path)
    async with sandbox.serving() as url:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        async with Kubernetes(str(kubeconfig)) as kubernetes:
            made = parts(tmp_path, clock, kubernetes=kubernetes, helm=Helm(str(kubeconfig), program))
            known = made.team.services[XR].model_copy(update={"chart": str(tmp_path / XR)})
            team = made.team.model_copy(update={"services": {**made.team.services, XR: known}})
            yield World(sandbox, Actor(replace(made, team=team)), kubernetes)


async def test_a_new_version_keeps_the_replicas_that_somebody_has_scaled_to(world: World) -> None:
    await world.kubernetes.workloads.scale(XR, NAMESPACE, 7, 3)
    (effect,), _ = await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0")
    assert "replicas=7" in line(effect, world.actor.deps.words)
    done = await world.do("upgrade", "R-1/a", tag="v4.2.0")
    assert (done.before, done.after, await world.replicas()) == (3, 4, 7)
    assert world.versions() == {"v4.2.0"}
    await world.kubernetes.workloads.scale(XR, NAMESPACE, 5, 7)
    assert (await world.do("canary", "R-2/a", tag="v4.3.0", weight=50)).after == 5
    assert await world.replicas() == 5


async def test_what_else_was_changed_by_hand_is_taken_back_and_said_before(world: World) -> None:
    deployments = world.kubernetes.workloads
    await deployments.set_env(XR, NAMESPACE, XR, {"ADVANCED_RENDERING": "false"})
    await deployments.set_node_selector(XR, NAMESPACE, {"node-type": "gpu-high-memory"})
    (effect,), _ = await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0")
    told = line(effect, world.actor.deps.words)
    assert "ADVANCED_RENDERING=false, node-type=gpu-high-memory" in told
    await world.actor.perform("helm.upgrade", release=XR, tag="v4.2.0")
    assert (await deployments.env(XR, NAMESPACE))[1]["ADVANCED_RENDERING"] == "true"
    assert await deployments.node_selector(XR, NAMESPACE) == {"node-type": "gpu"}


async def test_the_stages_of_a_canary_are_undone_one_by_one_and_none_is_gone_back_to(world: World) -> None:
    world.actor.environment = "staging"  # where nobody has to have watched it
    there = {"namespace": NAMESPACE}
    stages = [
        ("canary", await world.do("canary", "R-1/a", tag="v4.2.0", weight=10, **there)),
        ("promote", await world.do("promote", "R-1/b", weight=50, **there)),
        ("promote", await world.do("promote", "R-1/c", weight=100, **there)),
    ]
    done = stages[-1][1]
    assert await world.actor.perform("helm.promote", "R-1/c", release=XR, weight=100, **there) == done  # after a crash
    world.actor.environment = PRODUCTION
    assert world.versions() == {"v4.2.0"}
    seen = await world.history()
    assert (seen.last_good, seen.last_good_tag) == (3, "v4.1.0")  # not the stage of 50 %
    for name, done in reversed(stages):
        await world.actor.undo(f"helm.{name}", done)
    assert world.versions() == {"v4.1.0"}
    again = await world.actor.undo("helm.canary", stages[0][1])
    assert again.before == again.after  # it is done already
    assert (await world.history()).last_good == 2  # what was gone back from was not good


async def test_a_field_that_never_changes_is_refused_before_anybody_is_asked(world: World) -> None:
    path = Path(str(world.actor.deps.team.services[XR].chart)) / "templates" / "deployment.yaml"
    path.write_text(path.read_text().replace("track: stable}", "track: stable, tier: web}"))
    with pytest.raises(Refused) as refused:
        await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0")
    for words in world.actor.deps.words_by_locale.values():
        assert "xr-engine: selector" in words.error(refused.value)
    deployment = world.sandbox.kubernetes.store.get(DEPLOYMENT, NAMESPACE, XR)
    assert deployment
    world.sandbox.kubernetes.writer.delete(DEPLOYMENT, deployment)  # as it says
    await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0")


async def test_what_was_uninstalled_with_its_history_is_installed_and_removed_again(world: World) -> None:
    helm = world.actor.deps.helm
    assert helm
    await helm.uninstall(XR, NAMESPACE, keep_history=True)
    done = await world.do("upgrade", "R-1/a", tag="v4.2.0")
    assert (done.before, done.after, world.versions()) == (0, 4, {"v4.2.0"})
    await world.actor.undo("helm.upgrade", done)
    assert world.sandbox.kubernetes.store.get(DEPLOYMENT, NAMESPACE, XR) is None
    assert [(one["revision"], one["status"]) for one in (await world.history()).revisions][-1] == (4, "uninstalled")


async def test_what_was_uninstalled_with_its_history_is_rolled_back_to_what_it_was(world: World) -> None:
    helm, deps = world.actor.deps.helm, world.actor.deps
    assert helm
    await helm.uninstall(XR, NAMESPACE, keep_history=True)
    (effect,), _ = await world.actor.rehearse("helm.rollback", release=XR)
    assert effect.diff.splitlines()[1:] and all(line[0] in "+@" for line in effect.diff.splitlines()), effect.diff
    assert "uninstalled" in line(effect, deps.words_by_locale["en"])
    assert "desinstalado" in line(effect, deps.words_by_locale["es"])
    done = await world.do("rollback", "R-1/a")
    assert (done.before, done.after, done.to, world.versions()) == (0, 4, 3, {"v4.1.0"})
    assert await world.actor.perform("helm.rollback", "R-1/a", release=XR) == done, "as after a crash"
    await world.actor.undo("helm.rollback", done)
    assert [(one["revision"], one["status"]) for one in (await world.history()).revisions][-1] == (4, "uninstalled")


async def test_a_release_may_have_another_name_than_its_service(world: World) -> None:
    deps = world.actor.deps
    named = deps.team.services[XR].model_copy(update={"release": "render", "deployment": "render"})
    team = deps.team.model_copy(update={"services": {**deps.team.services, XR: named}})
    world.actor.deps = replace(deps, team=team)
    assert (await world.do("upgrade", "R-1/a", tag="v4.2.0")).release == "render"
    await world.do("canary", "R-2/a", tag="v4.3.0", weight=50)
    found = await world.actor.perform("kubernetes.pods", service=XR)
    assert {row["name"].rsplit("-", 2)[0] for row in found.rows} == {"render", "render-canary"}
    done = await world.do("rollback", "R-3/a")
    assert (done.release, done.to, (await world.history()).release) == ("render", 1, "render")
    apps = world.sandbox.kubernetes.store
    deployment = apps.get(DEPLOYMENT, NAMESPACE, "render")
    assert deployment and deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":v4.2.0")
    assert apps.get(DEPLOYMENT, NAMESPACE, "render-canary") is None
    assert world.versions() == {"v4.1.0"}, "the release that is called as the service is another one"


async def test_nothing_is_promoted_without_a_canary(world: World) -> None:
    with pytest.raises(WrongState) as refused:
        await world.actor.rehearse("helm.promote", release=XR, weight=100)
    assert refused.value.key == "no_canary"


async def test_what_somebody_has_deployed_since_is_not_undone(world: World) -> None:
    done = await world.do("upgrade", "R-1/a", tag="v4.2.0")
    await world.do("upgrade", "R-2/a", tag="v4.3.0")
    with pytest.raises(WrongState) as refused:
        await world.actor.undo("helm.upgrade", done)
    assert refused.value.key == "changed_since"
    assert world.versions() == {"v4.3.0"}


async def test_a_fresh_deployment_is_recent(world: World) -> None:
    assert not (await world.history()).recent
    await world.do("upgrade", "R-1/a", tag="v4.2.0")
    assert (await world.history()).recent


async def test_a_rollback_is_compared_with_what_runs_and_the_drift_is_said(world: World) -> None:
    apps = world.sandbox.kubernetes
    found = apps.store.get(DEPLOYMENT, NAMESPACE, XR)
    assert found
    found["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.tamv.world/xr-engine:v4.1.1-hotfix"
    apps.writer.update(DEPLOYMENT, found, lambda latest: latest.update(spec=found["spec"]))
    (effect,), _ = await world.actor.rehearse("helm.rollback", release=XR)
    assert "-        image: registry.tamv.world/xr-engine:v4.1.1-hotfix" in effect.diff.replace("- image", "  image")
    for words in world.actor.deps.words_by_locale.values():
        assert "image=registry.tamv.world/xr-engine:v4.1.1-hotfix" in line(effect, words)


async def test_a_rollback_that_is_tried_again_goes_back_once_and_to_what_was_approved(world: World) -> None:
    await world.do("upgrade", "R-1/a", tag="v4.2.0")
    done = await world.do("rollback", "R-2/a")
    assert done == await world.actor.perform("helm.rollback", "R-2/a", release=XR)
    assert (done.to, world.versions()) == (3, {"v4.1.0"})
    assert len((await world.history()).revisions) == done.after


async def test_a_value_has_the_type_that_it_has_now_or_is_refused(world: World) -> None:
    helm = world.actor.deps.helm
    assert helm
    chart, at = world.actor.deps.team.services[XR].chart, (XR, NAMESPACE)
    now = {"on": True, "list": [{"name": "a"}], "labels": {"app.kubernetes.io/x": "1"}, "image": "whole/image:v1"}
    await helm.upgrade(*at, str(chart), {"more": now, "canary": {"enabled": "yes", "weight": "10%"}}, "by hand")
    given = {
        "more.on": ("False", False),
        "more.list[0].name": ("true", "true"),
        "more.list": ("[1]", [1]),
        r"more.labels.app\.kubernetes\.io/x": ("2", "2"),
        "commit": ("12345678901234567890", "12345678901234567890"),
        "count": ("-3", -3),
        "other": ("1_000", "1_000"),
        "gone": ("null", None),
    }
    typed = {path: text for path, (text, _) in given.items()}
    _, foreseen = await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0", values=typed)
    assert foreseen.values == {"image.tag": "v4.2.0", **{path: value for path, (_, value) in given.items()}}
    for path, text in (("more.on", "no"), ("more.list", "a,b"), ("more.labels", "[]")):
        with pytest.raises(BadInput) as refused:
            await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0", values={path: text})
        assert refused.value.facts["value"] == text
    assert (await world.history()).last_good == 3  # a share of 10 %, however it is written, is not all of the traffic


async def test_text_stays_text_through_every_later_upgrade(world: World) -> None:
    done = await world.do("upgrade", "R-1/a", tag="20260131", values={"env.VERSION": "1.10", "replicas": "4"})
    assert done.values == {"image.tag": "20260131", "env.VERSION": "1.10", "replicas": 4}
    await world.do("upgrade", "R-2/a", tag="0123")
    helm = world.actor.deps.helm
    assert helm
    values = await helm.values(XR, NAMESPACE)
    assert (values["image"]["tag"], values["env"]["VERSION"], values["replicas"]) == ("0123", "1.10", 4)
    _, env = await world.kubernetes.workloads.env(XR, NAMESPACE)
    assert (env["VERSION"], world.versions()) == ("1.10", {"0123"})


async def test_a_first_install_is_done_and_removed_again(world: World) -> None:
    helm = world.actor.deps.helm
    assert helm
    await helm.uninstall(XR, NAMESPACE)
    (effect,), foreseen = await world.actor.rehearse("helm.upgrade", release=XR, tag="v4.2.0")
    assert foreseen.before == 0 and "+kind: Deployment" in effect.diff
    done = await world.actor.perform("helm.upgrade", release=XR, tag="v4.2.0")
    assert (done.before, done.after) == (0, 1)
    await world.actor.undo("helm.upgrade", done)
    assert await helm.version()
    with pytest.raises(NotFound):
        await helm.history(XR, NAMESPACE)


async def test_a_first_install_that_was_cut_off_names_the_way_out(world: World) -> None:
    helm = world.actor.deps.helm
    assert helm
    await helm.uninstall(XR, NAMESPACE)
    service, at = next(one for one in SERVICES if one.name == XR), world.sandbox.clock.now()
    secret = charts.revision(XR, NAMESPACE, 1, "v4.2.0", charts.values(service, 3), "pending-install", at, at)
    world.sandbox.kubernetes.writer.create(SECRET, secret)
    for name, given in (("helm.upgrade", {"tag": "v4.2.0"}), ("helm.rollback", {})):
        with pytest.raises(WrongState) as refused:
            await world.actor.rehearse(name, release=XR, **given)
        for words in world.actor.deps.words_by_locale.values():
            assert f"helm -n {NAMESPACE} uninstall {XR}" in words.error(refused.value)


@pytest.mark.parametrize(
    ("values", "tag"),
    [
        ({"image": {"tag": 20260131}}, "20260131"),
        ({"image": "registry:5000/xr:v4.2.0@sha256:9f86"}, "v4.2.0"),
        ({"image": "registry:5000/xr"}, None),
        ({"image": None}, None),
        ({}, None),
    ],
)
def test_the_tag_is_read_however_a_chart_writes_its_image(values: dict[str, Any], tag: str | None) -> None:
    assert image_tag(values) == tag


def test_of_a_secret_only_the_keys_that_change_are_shown() -> None:
    secret = "kind: Secret\nmetadata: {{name: s}}\nstringData: {{same: {0}, password: {1}}}\n"
    shown = manifest_diff(secret.format("stays-secret", "old-secret"), secret.format("stays-secret", "new-secret"))
    assert "secret" not in shown.replace("kind: Secret", "") and "password" in shown
    assert "-  password" in shown and "+  password" in shown and "-  same" not in shown
