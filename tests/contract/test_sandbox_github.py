"""The sandbox's GitHub, held against GitHub's published description, webhook schemas, recordings and client."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import github
import pytest
from github.Auth import Token
from openapi_core.validation.response.exceptions import InvalidData

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.github.backend import GitHub
from sandbox.github.state import TOKEN
from tests.contract.github_contract import (
    CONTRACTS,
    OPENAPI,
    check_answer,
    check_webhook,
    needs_openapi,
    needs_webhooks,
)
from tests.harness.receiver import Receiver
from tests.sandbox.github_client import REPO, Client, serving_github
from tests.sandbox.github_story import everything

EXAMPLES = CONTRACTS / "github" / "webhook-examples"


async def webhooks() -> list[tuple[str, Any]]:
    """The events and payloads of a story with everything in it."""
    backend = GitHub(load_company(), Clock())
    async with Receiver().serving() as receiver:
        backend.add_hook(receiver.url, "secret")
        await everything(backend)
        async with deadline(5):
            await backend.deliverer.idle()
    await backend.aclose()
    return [(received.headers["x-github-event"], received.json) for received in receiver.received]


@needs_webhooks
async def test_every_webhook_fits_the_published_schema() -> None:
    told = await webhooks()
    for event, payload in told:
        check_webhook(event, payload)
    assert len(told) == 16


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"{EXAMPLES} is missing: set CONTRACTS_DIR")
@pytest.mark.parametrize("event", ["issues", "pull_request", "workflow_run"])
async def test_webhooks_have_what_recorded_ones_have(event: str) -> None:
    """What is in every recording of an action is in ours; recordings of different years differ in the rest."""
    recorded = json.loads((EXAMPLES / f"{event}.json").read_text(encoding="utf-8"))
    compared = 0
    for kind, payload in await webhooks():
        same = [one for one in recorded if one["action"] == payload.get("action")] if kind == event else []
        if same:
            compared += 1
            always = set.intersection(*(paths(one) for one in same))
            # Only apps have an installation; that an issue is no draft goes without saying by now.
            gone = {"installation", "issue.draft"}
            assert {path for path in always - paths(payload) if path.split(".")[0] not in gone} - gone == set()
    assert compared


def paths(value: Any, depth: int = 2) -> set[str]:
    """The names in an object and in the objects inside it."""
    if not isinstance(value, dict) or not depth:
        return set()
    return {
        path
        for name, content in value.items()
        for path in ({name} | {f"{name}.{inner}" for inner in paths(content, depth - 1)})
    }


@needs_openapi
async def test_what_the_description_has_and_the_sandbox_serves_fits() -> None:
    """One call of each path that is in both; the other tests hold all that they ask against it as well."""
    async with serving_github() as client:
        await world_with_one_of_each(client)
        deployment, run = next(iter(client.backend.deployments)), next(iter(client.backend.runs))
        sha = client.backend.branches["main"]
        asked = [
            "/user",
            "/rate_limit",
            "/orgs/tamv",
            "/orgs/tamv/teams/sreteam",
            REPO,
            f"{REPO}/issues",
            f"{REPO}/issues/1",
            f"{REPO}/issues/1/comments",
            f"{REPO}/issues/1/labels",
            f"{REPO}/labels",
            f"{REPO}/labels/bug",
            f"{REPO}/milestones",
            f"{REPO}/milestones/1",
            f"{REPO}/contents/.github/CODEOWNERS",
            f"{REPO}/branches/main",
            f"{REPO}/git/ref/heads/main",
            f"{REPO}/commits",
            f"{REPO}/commits/{sha}",
            f"{REPO}/pulls",
            f"{REPO}/pulls/2",
            f"{REPO}/pulls/2/requested_reviewers",
            f"{REPO}/deployments",
            f"{REPO}/deployments/{deployment}/statuses",
            f"{REPO}/actions/workflows",
            f"{REPO}/actions/workflows/cd_canary.yml",
            f"{REPO}/actions/runs",
        ]
        client.checked.clear()
        for path in asked:
            assert (await client.call("GET", path)).status == 200, path
        await client.call("GET", "/search/issues", q="x")
        assert client.checked == [f"GET {path} 200" for path in (*asked, "/search/issues")]
        assert (await client.call("GET", f"{REPO}/actions/runs/{run}")).status == 200


async def world_with_one_of_each(client: Client) -> None:
    github = client.backend
    await client.call("POST", f"{REPO}/milestones", {"title": "2026-Q4"})
    await client.call("POST", f"{REPO}/issues", {"title": "x", "labels": ["bug"], "milestone": 1})
    await client.call("POST", f"{REPO}/issues/1/comments", {"body": "y"})
    github.code.add_branch("hotfix", github.branches["main"])
    content = base64.b64encode(b"x").decode()
    await client.call("PUT", f"{REPO}/contents/x", {"message": "x", "content": content, "branch": "hotfix"})
    await client.call("POST", f"{REPO}/pulls", {"title": "x", "head": "hotfix", "base": "main"})
    await client.call("POST", f"{REPO}/pulls/2/requested_reviewers", {"reviewers": ["ana-torres"]})
    github.actions.deploy("main", "production", "ana-torres")
    github.actions.dispatch(github.workflows[0], "main", {}, "ana-torres")


@needs_openapi
def test_an_answer_that_does_not_fit_is_found() -> None:
    with pytest.raises(InvalidData):
        check_answer("GET", "/repos/tamv/tamv-platform/issues", {}, 200, [{"number": 1}])
    assert not check_answer("GET", "/repos/tamv/tamv-platform/no/such/path", {}, 200, {})
    assert OPENAPI.exists()


async def test_githubs_client_reads_and_writes() -> None:
    async with serving_github() as client:
        url = f"{client.base}/github/api"

        def work() -> None:
            pygithub = github.Github(auth=Token(TOKEN), base_url=url, seconds_between_writes=0, per_page=2)
            assert pygithub.get_user().login == "tamv-bot"
            repo = pygithub.get_repo("tamv/tamv-platform")
            label = repo.create_label("incident-followup", "b60205")
            milestone = repo.create_milestone("2026-Q4")
            for number in range(5):
                repo.create_issue(f"x {number}", labels=[label], milestone=milestone, assignee="ana-torres")
            assert [issue.number for issue in repo.get_issues(labels=["incident-followup"])] == [5, 4, 3, 2, 1]
            issue = repo.get_issue(1)
            issue.create_comment("done")
            issue.add_to_assignees("bruno-diaz", "nobody")
            issue.edit(state="closed", state_reason="not_planned")
            assert (issue.state, issue.comments) == ("closed", 1)
            assert pygithub.search_issues("repo:tamv/tamv-platform is:closed").totalCount == 1
            main = repo.get_branch("main").commit.sha
            repo.create_git_ref("refs/heads/hotfix", main)
            repo.create_file("charts/x.yaml", "Edit", "x: 1\n", branch="hotfix")
            pull = repo.create_pull(base="main", head="hotfix", title="Hotfix")
            pull.create_review_request(reviewers=["bruno-diaz"], team_reviewers=["sreteam"])
            assert [file.filename for file in pull.get_files()] == ["charts/x.yaml"]
            with pytest.raises(github.GithubException) as refused:
                pull.merge(merge_method="squash")
            assert refused.value.status == 405
            client.backend.code.review(client.backend.pulls[6], "bruno-diaz", "APPROVED")
            assert pull.merge(merge_method="squash").merged
            assert repo.get_workflow("cd_canary.yml").create_dispatch("main", {"image_tag": "v1"})
            assert next(iter(repo.get_workflow_runs())).status == "queued"
            repo.create_deployment("main").create_status("success")
            assert [one.state for one in repo.get_deployments()[0].get_statuses()] == ["success", "queued"]
            assert pygithub.get_organization("tamv").get_team_by_slug("sreteam").members_count == 2
            with pytest.raises(github.UnknownObjectException):
                repo.get_issue(99).complete()

        await asyncio.to_thread(work)
        assert set(client.backend.issue(1).assignees) == {"ana-torres", "bruno-diaz"}
