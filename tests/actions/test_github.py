"""The way of a hotfix by the bot's actions, over HTTP to the sandbox's GitHub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.actions.github import Dispatched, Merged
from bot.domain.errors import BadInput, NotFound, Refused, Unavailable, WrongState
from bot.integrations.github.github import GitHub
from bot.messages.results import result_sentence
from bot.messages.translations import load_translations
from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.github.api import routes
from sandbox.github.backend import GitHub as Host
from sandbox.github.state import TOKEN, Pull, Request
from sandbox.server import serving
from tests.contract.github_contract import OPENAPI, check_request
from tests.harness.actor import Actor, parts

HOTFIX = "hotfix/slow-render"
CHART = "charts/xr-engine.yaml"


@dataclass
class World:
    host: Host
    faults: Faults
    actor: Actor

    async def do(self, name: str, key: str = "R-1/a", **given: Any) -> Any:
        """Rehearse and perform, as a run does."""
        await self.actor.rehearse(f"github.{name}", key, **given)
        return await self.actor.perform(f"github.{name}", key, **given)

    def commit(self, path: str = CHART, branch: str = HOTFIX) -> None:
        files = self.host.commit_of(branch).files
        self.host.code.put_file(
            path, f"replicas: {len(files)}\n", "Scale", "carla-mendez", branch=branch, replaces=None
        )

    async def proposed(self, path: str = CHART) -> int:
        """The number of a pull request that changes this file."""
        await self.do("create_branch", branch=HOTFIX)
        self.commit(path)
        return int((await self.do("open_pull_request", branch=HOTFIX, title="HOTFIX: slow")).number)

    async def ready(self) -> int:
        """The same, green and approved by an owner."""
        number = await self.proposed()
        self.host.code.check(HOTFIX, "tests", "success")
        await self.host.person("bruno").approve(number)
        return number


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock(speed=50)
    host, faults = Host(load_company(), clock), Faults()
    app = Starlette(
        routes=[Mount("/github", routes=routes(host))],
        middleware=[Middleware(FaultsMiddleware, faults=faults)],
    )
    async with serving(app) as base:
        client = GitHub(TOKEN, "tamv/tamv-platform", f"{base}/github/api", 8.0, seconds_between_writes=0)
        yield World(host, faults, Actor(parts(tmp_path, clock, github=client)))
        if OPENAPI.exists():
            for request in host.requests:
                check_request(request.method, request.path.removeprefix("/api"), request.query, request.body)
    await host.aclose()


async def test_a_rehearsal_changes_nothing_there(world: World) -> None:
    number = await world.ready()
    before = changes(world.host)
    given: list[tuple[str, dict[str, Any]]] = [
        ("create_issue", {"title": "Alert earlier"}),
        ("create_branch", {"branch": "hotfix/other"}),
        ("open_pull_request", {"branch": HOTFIX, "base": "main", "title": "again"}),
        ("request_review", {"number": number}),
        ("merge", {"number": number}),
        ("dispatch_workflow", {"workflow": "cd_canary.yml", "inputs": {"image_tag": "v1", "environment": "staging"}}),
    ]
    effects = [len((await world.actor.rehearse(f"github.{name}", **with_))[0]) for name, with_ in given]
    assert effects == [1, 1, 0, 1, 1, 1]  # the pull request is there already
    assert changes(world.host) == before


def changes(host: Host) -> list[Request]:
    """The requests that change something: GraphQL asks by POST, too."""
    return [
        one
        for one in host.requests
        if one.method != "GET" and not (one.body or {}).get("query", "").startswith("\nquery")
    ]


async def test_an_issue_is_filed_once_and_closed_by_the_undo(world: World) -> None:
    filed = await world.do("create_issue", title="Alert earlier", labels="monitoring, render")
    assert await world.actor.perform("github.create_issue", title="Alert earlier") == filed
    assert "monitoring" in world.host.issue(filed.number).labels
    await world.actor.undo("github.create_issue", filed)
    assert world.host.issue(filed.number).state == "closed"


async def test_a_branch_is_made_once_and_deleted_while_it_is_empty(world: World) -> None:
    made = await world.do("create_branch", branch=HOTFIX)
    assert made.made and world.host.branches[HOTFIX] == made.sha
    assert await world.actor.perform("github.create_branch", branch=HOTFIX) == made  # its answer was lost
    other = await world.do("create_branch", key="R-2/a", branch=HOTFIX)
    assert not other.made
    await world.actor.undo("github.create_branch", other)
    assert HOTFIX in world.host.branches
    await world.actor.undo("github.create_branch", made)
    await world.actor.undo("github.create_branch", made)
    assert HOTFIX not in world.host.branches


async def test_a_branch_that_somebody_has_filled_is_not_deleted(world: World) -> None:
    made = await world.do("create_branch", branch=HOTFIX)
    world.commit()
    with pytest.raises(WrongState) as changed:
        await world.actor.undo("github.create_branch", made)
    assert changed.value.key == "changed_since"
    with pytest.raises(NotFound):
        await world.do("create_branch", key="R-2/a", branch="x", base="nowhere")


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "a b", "a//b", "a.lock", "a/", "x" * 300, "a@{b"])
async def test_a_branch_that_git_refuses_is_refused_at_once(world: World, branch: str) -> None:
    with pytest.raises(BadInput):
        await world.do("create_branch", branch=branch)


async def test_a_pull_request_is_opened_once_and_closed_by_the_undo(world: World) -> None:
    await world.do("create_branch", branch=HOTFIX)
    world.commit()
    world.actor.incident = "INC-2026-0001"
    given: dict[str, Any] = {"branch": HOTFIX, "title": "HOTFIX", "body": "Escala"}
    opened = await world.do("open_pull_request", **given)
    assert await world.actor.perform("github.open_pull_request", **given) == opened
    pull = world.host.pull(opened.number)
    assert pull.issue.body == "Escala\n\nINC-2026-0001\n\ntamv-bot R-1/a"
    theirs = await world.do("open_pull_request", key="R-2/a", **given)
    await world.actor.undo("github.open_pull_request", theirs)  # it was there before
    states = [pull.issue.state]
    await world.actor.undo("github.open_pull_request", opened)
    assert [*states, pull.issue.state] == ["open", "closed"]


async def test_the_owners_of_what_is_changed_are_asked(world: World) -> None:
    number = await world.proposed()
    asked = await world.do("request_review", number=number)
    assert asked.teams == ["sreteam", "devteam"] and asked.reviewers == []
    named = await world.do("request_review", number=number, reviewers="@ana-torres, tamv/AITeam, tamv-bot")
    assert (named.reviewers, named.teams) == (["ana-torres"], ["aiteam"])  # nobody reviews what is their own
    pull = world.host.pull(number)
    assert (pull.reviewers, pull.team_reviewers) == (["ana-torres"], ["sreteam", "devteam", "aiteam"])


async def test_merged_only_when_green_and_approved_by_an_owner(world: World) -> None:
    number = await world.proposed()

    async def missing() -> tuple[str, Any]:
        with pytest.raises(WrongState) as refused:
            await world.actor.rehearse("github.merge", number=number)
        return refused.value.key, refused.value.facts

    assert (await missing())[0] == "checks_missing"
    world.host.code.check(HOTFIX, "tests")
    assert (await missing())[1]["checks"] == ["tests"]
    failed = world.host.code.check(HOTFIX, "tests", "failure")
    namesake = replace(failed, id=world.host.new_id(), conclusion="success")  # of another workflow
    world.host.checks.append(namesake)
    assert (await missing())[1]["checks"] == ["tests"]
    world.host.code.check(HOTFIX, "tests", "success")
    key, facts = await missing()
    assert (key, facts["path"], facts["owners"]) == ("owner_missing", CHART, ["@tamv/SRETeam", "@tamv/DevTeam"])
    await world.host.person("emma").approve(number)  # of the product team, who does not own charts
    assert (await missing())[0] == "owner_missing"
    await world.host.person("ana").request_changes(number, "no")
    assert (await missing())[0] == "changes_requested"
    await world.host.person("ana").approve(number)
    merged = await world.do("merge", number=number)
    assert merged.approved_by == ["ana-torres", "emma-clark"]
    assert world.host.commit_of("main").message == f"HOTFIX: slow (#{number})"
    assert await world.actor.perform("github.merge", number=number) == merged  # its answer was lost
    assert world.host.commit_of("main").files[CHART]


async def test_a_merge_queue_is_used_where_there_is_one_and_waited_for(world: World) -> None:
    number = await world.ready()
    pull = world.host.pull(number)
    world.host.has_merge_queue = True
    with pytest.raises(Refused) as directly:
        await world.actor.deps.github.code.merge(number, "x", pull.head_sha, "main")  # type: ignore[union-attr]
    assert "merge queue" in str(directly.value.facts["why"])
    effects, foreseen = await world.actor.rehearse("github.merge", number=number)
    assert [effect.key for effect in effects] == ["github.enqueue"] and world.host.queue == []
    merging = asyncio.create_task(world.actor.perform("github.merge", number=number))
    await in_queue(world, pull)
    merging.cancel()
    await asyncio.gather(merging, return_exceptions=True)
    merging = asyncio.create_task(world.actor.perform("github.merge", number=number))  # after a crash: it is in it
    world.host.code.end_queue(pull, merged=True)
    assert await merging == foreseen
    assert world.host.commit_of("main").files[CHART]


async def test_what_leaves_the_merge_queue_or_waits_too_long_in_it_is_said(world: World) -> None:
    number = await world.ready()
    pull = world.host.pull(number)
    world.host.has_merge_queue = True
    merging = asyncio.create_task(world.do("merge", number=number))
    await in_queue(world, pull)
    world.host.code.end_queue(pull, merged=False)
    with pytest.raises(WrongState) as left:
        await merging
    assert left.value.key == "left_merge_queue" and pull.merge_commit is None
    with pytest.raises(WrongState) as slow:
        await world.do("merge", key="R-2/a", number=number, within="20s")
    assert (slow.value.key, slow.value.facts["position"]) == ("merge_queue_slow", 1)
    for language, word in (("es", "número 1 de la cola"), ("en", "number 1 in the merge queue")):
        assert word in load_translations()[language].error(slow.value)
    merged = Merged(number, "", pull.head_sha, [])
    await world.actor.undo("github.merge", merged)
    assert world.host.queue == []
    await world.actor.undo("github.merge", merged)


async def in_queue(world: World, pull: Pull) -> None:
    async with deadline(10):
        while pull not in world.host.queue:  # noqa: ASYNC110 - it is put there in another thread
            await asyncio.sleep(0.01)


async def test_an_approval_is_for_the_commit_that_was_looked_at(world: World) -> None:
    number = await world.ready()
    await world.actor.rehearse("github.merge", number=number)
    world.commit("charts/more.yaml")
    with pytest.raises(WrongState) as moved:
        await world.actor.perform("github.merge", number=number)
    assert moved.value.key == "changed_since"
    world.host.code.check(HOTFIX, "tests", "success")
    with pytest.raises(WrongState) as stale:
        await world.actor.rehearse("github.merge", number=number)
    assert stale.value.key == "owner_missing"
    assert world.host.pull(number).merge_commit is None


async def test_a_file_without_owner_needs_anybody_else(world: World) -> None:
    number = await world.proposed("README2.md")
    world.host.code.check(HOTFIX, "tests", "success")
    with pytest.raises(WrongState) as alone:
        await world.actor.rehearse("github.merge", number=number)
    assert alone.value.facts["owners"] == []
    await world.host.person("emma").approve(number)
    await world.do("merge", number=number)
    assert world.host.pull(number).merge_commit


async def test_a_merge_is_taken_back_by_a_pull_request(world: World) -> None:
    merged = await world.do("merge", number=await world.ready())
    one = await world.actor.undo("github.merge", merged)
    assert (await world.actor.undo("github.merge", merged)).number == one.number
    pull = world.host.pull(one.number)
    assert (pull.issue.title, pull.head) == ('Revert "HOTFIX: slow"', f"revert-{merged.number}-{HOTFIX}")
    assert CHART not in world.host.commit_of(pull.head).files


async def test_a_workflow_is_started_once_and_waited_for(world: World) -> None:
    world.host.actions.run_seconds = 0.2
    given: dict[str, Any] = {
        "workflow": "cd_canary.yml",
        "inputs": {"image_tag": "hotfix-20260101-abc", "environment": "production"},
    }
    done = await world.do("dispatch_workflow", **given)
    assert (done.conclusion, done.branch, len(world.host.runs)) == ("success", "main", 1)
    assert await world.actor.perform("github.dispatch_workflow", **given) == done  # only its record was lost
    assert len(world.host.runs) == 1
    await world.do("dispatch_workflow", key="R-2/a", **given)
    assert len(world.host.runs) == 2
    status = await world.do("workflow_status", workflow="cd_canary.yml")
    assert (status.newest.conclusion, status.newest.branch) == ("success", "main")


async def test_a_lost_answer_starts_no_second_run(world: World) -> None:
    world.host.actions.run_seconds = 0.1
    given: dict[str, Any] = {"workflow": "cd_canary.yml", "inputs": {"image_tag": "v1", "environment": "staging"}}
    await world.actor.rehearse("github.dispatch_workflow", **given)
    world.faults.add("github", "drop_after", "POST */dispatches")
    with pytest.raises(Unavailable):
        await world.actor.perform("github.dispatch_workflow", **given)
    somebody = world.host.workflow("cd_canary.yml")
    world.host.actions.dispatch(somebody, "main", {}, "bruno-diaz")
    done = await world.actor.perform("github.dispatch_workflow", **given)
    assert world.host.runs[done.run].actor == "tamv-bot" and len(world.host.runs) == 2


async def test_a_workflow_that_fails_or_is_slow_is_a_mistake_and_is_cancelled(world: World) -> None:
    given: dict[str, Any] = {"workflow": "cd_canary.yml", "inputs": {"image_tag": "v1", "environment": "staging"}}
    world.actor.deps.clock.speed = 50  # type: ignore[misc]
    _, foreseen = await world.actor.rehearse("github.dispatch_workflow", within="20s", **given)
    with pytest.raises(WrongState) as slow:
        await world.actor.perform("github.dispatch_workflow", within="20s", **given)
    assert slow.value.key == "workflow_slow"
    assert isinstance(foreseen, Dispatched) and foreseen.run == 0
    await world.actor.undo("github.dispatch_workflow", foreseen)
    (run,) = world.host.runs.values()
    assert run.conclusion == "cancelled"
    waiting = asyncio.create_task(world.do("dispatch_workflow", key="R-2/a", **given))
    async with deadline(10):
        while len(world.host.runs) < 2:  # noqa: ASYNC110 - it is started in another thread
            await asyncio.sleep(0.01)
    world.host.actions.complete(list(world.host.runs.values())[1], "failure")
    with pytest.raises(WrongState) as failed:
        await waiting
    assert failed.value.facts["conclusion"] == "failure"


async def test_what_github_does_not_know_it_refuses(world: World) -> None:
    with pytest.raises(Refused):
        await world.do("workflow_status", workflow="nothing.yml")
    with pytest.raises(Refused) as unexpected:
        await world.do("dispatch_workflow", workflow="cd_canary.yml", inputs={"colour": "red"})
    assert "Unexpected inputs" in str(unexpected.value.facts["why"])
    with pytest.raises(Refused):
        await world.do("merge", number=99)


def test_what_was_found_has_words(world: World) -> None:
    words = world.actor.deps.words
    assert "nunca" in result_sentence("github.workflow_status", {"workflow": "cd.yml", "newest": None}, words)
    url = "https://github.com/tamv/tamv-platform/pull/4"
    assert "#4" in result_sentence("github.merge", {"number": 4, "url": url, "sha": "0", "approved_by": ["ana"]}, words)
