"""Looking into a pod: only what the team's file allows, without secrets, and never longer than it may take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BadInput, BotError, NotFound, Refused
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.messages.translations import load_translations
from bot.team import PodRequest
from sandbox.kubernetes.access import Rule
from sandbox.server import Sandbox
from tests.harness.actor import Actor, in_cluster, parts

CORE = "tamv-core"


@dataclass
class Place:
    sandbox: Sandbox
    url: str
    actor: Actor
    folder: Path
    seen: list[Mapping[str, Any]] = field(default_factory=list)

    def allows(self, **of_service: Any) -> None:
        """Let the team's file allow more in the pods of the service."""
        team = self.actor.deps.team
        service = team.services[CORE].model_copy(update=of_service)
        self.actor.deps.team = team.model_copy(update={"services": {**team.services, CORE: service}})


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with in_cluster(tmp_path) as (sandbox, url, kubernetes):
        yield Place(sandbox, url, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes)), tmp_path)


async def test_an_allowed_program_runs_in_a_ready_pod_and_not_in_a_dry_run(place: Place) -> None:
    effects, _ = await place.actor.rehearse("kubernetes.exec", service=CORE, program="disk")
    programs = place.sandbox.kubernetes.programs
    assert (effects, programs.commands) == ([], [])
    done = await place.actor.perform("kubernetes.exec", service=CORE, program="disk")
    assert programs.commands == [["df", "-h"]]
    assert done.pod.startswith(CORE) and "overlay" in done.lines[1] and not done.cut


@pytest.mark.parametrize(
    ("action", "given", "error", "says"),
    [
        ("kubernetes.exec", {"program": "bash"}, BadInput, "unknown_program"),
        ("kubernetes.exec", {"program": "dsk"}, BadInput, "unknown_program"),
        ("kubernetes.exec", {"program": "disk", "service": "nobody"}, BadInput, "unknown_service"),
        ("kubernetes.exec", {"program": "disk", "pod": "xr-engine-1"}, NotFound, "no_such_pod"),
        ("kubernetes.curl", {"request": "/admin"}, BadInput, "unknown_request"),
    ],
)
async def test_anything_else_is_refused_before_it_is_asked(
    place: Place, action: str, given: dict[str, str], error: type[BotError], says: str
) -> None:
    with pytest.raises(error) as refused:
        await place.actor.perform(action, **{"service": CORE, **given})
    assert refused.value.key == says
    assert place.sandbox.kubernetes.programs.commands == []
    for words in load_translations().values():
        assert words.error(refused.value)


async def test_what_a_program_writes_is_bounded_and_without_secrets(place: Place) -> None:
    place.allows(programs={"long": ["echo", "x" * 20_000], "leak": ["echo", "password=hunter2hunter2"]})
    cut = await place.actor.perform("kubernetes.exec", service=CORE, program="long")
    assert cut.cut and sum(map(len, cut.lines)) == 16 * 1024
    leak = await place.actor.perform("kubernetes.exec", service=CORE, program="leak")
    assert leak.lines and "hunter2" not in leak.lines[0]


async def test_a_program_that_is_not_there_or_fails_says_so(place: Place) -> None:
    place.allows(programs={"missing": ["htop"], "fails": ["false"]})
    for program, code in (("missing", None), ("fails", 1)):
        with pytest.raises(Refused) as failed:
            await place.actor.perform("kubernetes.exec", service=CORE, program=program)
        assert (failed.value.key, failed.value.facts["code"]) == ("program_failed", code)


async def test_a_pod_is_asked_through_the_api_server(place: Place) -> None:
    done = await place.actor.perform("kubernetes.curl", service=CORE, request="health")
    assert done.status == 200 and '"ok"' in done.lines[0]
    place.allows(
        requests={"closed": PodRequest(port=8080, path="/health"), "gone": PodRequest(port=3000, path="/metrics/all")}
    )
    closed = await place.actor.perform("kubernetes.curl", service=CORE, request="closed")
    assert closed.status is None and "connection refused" in closed.why
    gone = await place.actor.perform("kubernetes.curl", service=CORE, request="gone")
    assert (gone.status, gone.lines) == (404, ["404 page not found"])


async def test_a_missing_right_is_named(place: Place) -> None:
    accounts = place.sandbox.kubernetes.accounts
    accounts.add("reader", "tamv-bot", [Rule(["get", "list"], ["pods", "deployments"], ["", "apps"])])
    config = place.folder / "reader"
    config.write_text(place.sandbox.kubernetes.kubeconfig(f"{place.url}/kubernetes", "reader"))
    async with Kubernetes(str(config)) as reader:
        actor = Actor(parts(place.folder, place.sandbox.clock, kubernetes=reader))
        with pytest.raises(Refused) as refused:
            await actor.perform("kubernetes.curl", service=CORE, request="health")
    assert (refused.value.key, refused.value.facts["resource"]) == ("kubernetes_forbidden", "pods/proxy")


async def test_what_is_not_there_names_what_is(place: Place) -> None:
    words = {language: words.error for language, words in load_translations().items()}
    asked: list[tuple[str, dict[str, str], str, str]] = [
        ("kubernetes.cordon", {"node": "gpu-node-9"}, "node/gpu-node-9", "gpu-node-1"),
        ("kubernetes.describe", {"kind": "node", "name": "gpu-node-9"}, "node/gpu-node-9", "gpu-node-1"),
        ("kubernetes.describe", {"kind": "pod", "name": "tamv-core"}, "pod/tamv-core", "tamv-core-"),
        ("kubernetes.describe", {"kind": "job", "name": "x"}, "job/x", "There is none at all"),
        ("kubernetes.logs", {"service": CORE, "container": "tamv-cor"}, "tamv-cor", "Did you mean `tamv-core`?"),
    ]
    for name, given, wrong, right in asked:
        with pytest.raises(NotFound) as missing:
            await place.actor.rehearse(name, **given)
        said = words["en"](missing.value)
        assert wrong in said and right in said and wrong in words["es"](missing.value), said
        assert len(missing.value.facts["known"]) <= 5  # type: ignore[arg-type]


async def test_a_log_is_followed_in_the_runs_message_until_the_time_is_over(place: Place) -> None:
    async def report(sees: Mapping[str, Any]) -> None:
        place.seen.append(sees)

    action, clock = ACTIONS.get("kubernetes.logs"), place.sandbox.clock
    given = action.parameters.model_validate({"service": CORE, "tail": 50, "follow": "2m"})
    clock.speed, began = 20, clock.now()  # the log is read several times meanwhile
    done = await action.execute(
        replace(place.actor.context("R-1/a"), report=report),
        **{name: getattr(given, name) for name in action.parameters.model_fields},
    )
    assert clock.now() - began >= timedelta(minutes=2)
    assert len(place.seen) > 1 and all(0 < len(sees["lines"]) <= 8 for sees in place.seen)
    assert place.seen[0]["lines"] != place.seen[-1]["lines"], "it shows what is new"
    assert place.seen[0]["left"] > place.seen[-1]["left"] > 0
    newest = max(line for lines in done.lines.values() for line in lines)
    assert newest > place.seen[0]["lines"][-1][6:]
    for words in load_translations().values():
        assert "```" in words.render_block("run", "sees", **place.seen[0])


@pytest.mark.parametrize("given", [{"follow": "11m"}, {"follow": "1d"}])
def test_a_log_is_followed_ten_minutes_at_most(given: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refused:
        ACTIONS.get("kubernetes.logs").read({"service": CORE, **given})
    assert refused.value.facts["limit"] == "10m"
