"""The sandbox's GitHub over HTTP: files, branches, pull requests, checks, deployments, workflows, the app."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.deadline import deadline
from tests.sandbox.github_client import REPO, Client, serving_github


@pytest.fixture
async def github() -> AsyncIterator[Client]:
    async with serving_github() as client:
        yield client


async def hotfix(github: Client) -> Any:
    """A branch with one commit and a pull request for it."""
    main = (await github.call("GET", f"{REPO}/git/ref/heads/main")).json["object"]["sha"]
    await github.call("POST", f"{REPO}/git/refs", {"ref": "refs/heads/hotfix/slow", "sha": main})
    content = base64.b64encode(b"replicas: 10\n").decode()
    file = {"message": "Scale", "content": content, "branch": "hotfix/slow"}
    assert (await github.call("PUT", f"{REPO}/contents/charts/xr.yaml", file)).status == 201
    wanted = {"title": "Scale xr-engine", "head": "hotfix/slow", "base": "main", "body": "INC-2026-0001"}
    return (await github.call("POST", f"{REPO}/pulls", wanted)).json


async def test_codeowners_is_where_it_belongs(github: Client) -> None:
    found = await github.call("GET", f"{REPO}/contents/.github/CODEOWNERS")
    text = base64.b64decode(found.json["content"]).decode()
    assert text == github.backend.company.github.codeowners
    for path in ("CODEOWNERS", "docs/CODEOWNERS"):
        assert (await github.call("GET", f"{REPO}/contents/{path}")).status == 404
    # the description picks among kinds of contents by their `type`, which a list has not
    listed = (await github.call("GET", f"{REPO}/contents/.github", described=False)).json
    assert [entry["path"] for entry in listed] == [".github/CODEOWNERS"]


async def test_a_branch_is_made_from_a_commit(github: Client) -> None:
    branch = (await github.call("GET", f"{REPO}/branches/main")).json
    ref = {"ref": "refs/heads/hotfix/slow", "sha": branch["commit"]["sha"]}
    assert (await github.call("POST", f"{REPO}/git/refs", ref)).json["ref"] == "refs/heads/hotfix/slow"
    again = await github.call("POST", f"{REPO}/git/refs", ref)
    assert (again.status, again.json["message"]) == (422, "Reference already exists")
    assert (await github.call("POST", f"{REPO}/git/refs", {"ref": "x", "sha": "0" * 40})).status == 422
    assert (await github.call("GET", f"{REPO}/branches/hotfix/slow")).status == 200
    assert (await github.call("DELETE", f"{REPO}/git/refs/heads/hotfix/slow")).status == 204
    assert (await github.call("GET", f"{REPO}/branches/hotfix/slow")).status == 404


async def test_a_file_is_changed_only_by_who_knows_it(github: Client) -> None:
    change = {"message": "Edit", "content": base64.b64encode(b"new").decode()}
    path = f"{REPO}/contents/README.md"
    assert (await github.call("PUT", path, change)).status == 422
    # a plain conflict fits both of the errors of which the description wants exactly one
    assert (await github.call("PUT", path, {**change, "sha": "0" * 40}, described=False)).status == 409
    sha = (await github.call("GET", path)).json["sha"]
    made = await github.call("PUT", path, {**change, "sha": sha})
    assert made.json["commit"]["message"] == "Edit"
    commits = (await github.call("GET", f"{REPO}/commits")).json
    assert [commit["commit"]["message"] for commit in commits] == ["Edit", "Start"]
    assert (await github.call("GET", f"{REPO}/commits/main")).json["sha"] == made.json["commit"]["sha"]


async def test_a_pull_request_is_merged_once_it_is_approved_and_green(github: Client) -> None:
    pull = await hotfix(github)
    one = f"{REPO}/pulls/{pull['number']}"
    assert (pull["mergeable_state"], pull["commits"], pull["changed_files"]) == ("blocked", 1, 1)
    squash = {"merge_method": "squash"}
    assert (await github.call("PUT", f"{one}/merge", {"merge_method": "merge"})).status == 405
    assert "approving review" in (await github.call("PUT", f"{one}/merge", squash)).json["message"]

    asked = await github.call(
        "POST", f"{one}/requested_reviewers", {"reviewers": ["ana-torres"], "team_reviewers": ["sreteam"]}
    )
    assert [user["login"] for user in asked.json["requested_reviewers"]] == ["ana-torres"]
    assert [team["slug"] for team in asked.json["requested_teams"]] == ["sreteam"]
    own = await github.call("POST", f"{one}/reviews", {"event": "APPROVE"})
    assert own.status == 422
    await github.backend.person("ana").approve(pull["number"])
    github.backend.code.check("hotfix/slow", "test", None)
    assert "status check" in (await github.call("PUT", f"{one}/merge", squash)).json["message"]
    github.backend.code.check("hotfix/slow", "test", "success")
    assert (await github.call("PUT", f"{one}/merge", {**squash, "sha": "0" * 40})).status == 409

    merged = await github.call("PUT", f"{one}/merge", {**squash, "sha": pull["head"]["sha"]})
    assert merged.json["merged"] is True
    after = (await github.call("GET", one)).json
    assert (after["merged"], after["state"], after["merged_by"]["login"]) == (True, "closed", "tamv-bot")
    assert (await github.call("GET", f"{REPO}/contents/charts/xr.yaml")).status == 200
    assert (await github.call("PUT", f"{one}/merge", squash)).status == 405


async def test_what_belongs_to_a_pull_request(github: Client) -> None:
    pull = await hotfix(github)
    one = f"{REPO}/pulls/{pull['number']}"
    await github.backend.person("ana").request_changes(pull["number"], "ten is too many")
    assert [r["state"] for r in (await github.call("GET", f"{one}/reviews")).json] == ["CHANGES_REQUESTED"]
    assert [f["filename"] for f in (await github.call("GET", f"{one}/files")).json] == ["charts/xr.yaml"]
    assert [c["commit"]["message"] for c in (await github.call("GET", f"{one}/commits")).json] == ["Scale"]
    github.backend.code.check("hotfix/slow", "test", "failure")
    checks = (await github.call("GET", f"{REPO}/commits/hotfix/slow/check-runs")).json
    assert [(c["name"], c["conclusion"]) for c in checks["check_runs"]] == [("test", "failure")]
    assert (await github.call("GET", f"{REPO}/commits/{pull['head']['sha']}/status")).json["statuses"] == []
    again = await github.call("POST", f"{REPO}/pulls", {"title": "x", "head": "hotfix/slow", "base": "main"})
    assert "already exists" in again.json["errors"][0]["message"]
    assert len((await github.call("GET", f"{REPO}/pulls", head="tamv:hotfix/slow")).json) == 1
    assert "pull_request" in (await github.call("GET", f"{REPO}/issues")).json[0]
    await github.call("PATCH", one, {"state": "closed"})
    assert (await github.call("GET", f"{REPO}/pulls")).json == []


async def test_deployments_and_how_they_went(github: Client) -> None:
    github.backend.actions.deploy("main", "staging", "bruno-diaz")
    made = await github.call(
        "POST", f"{REPO}/deployments", {"ref": "main", "environment": "production", "description": "v2"}
    )
    statuses = f"{REPO}/deployments/{made.json['id']}/statuses"
    assert (await github.call("POST", statuses, {"state": "failure"})).status == 201
    assert [s["state"] for s in (await github.call("GET", statuses)).json] == ["failure", "queued"]
    listed = (await github.call("GET", f"{REPO}/deployments", environment="production")).json
    assert [d["description"] for d in listed] == ["v2"]
    assert (await github.call("POST", statuses, {"state": "great"})).status == 422
    assert (await github.call("GET", f"{REPO}/deployments/1/statuses")).status == 404


async def test_a_workflow_is_dispatched_and_runs(github: Client) -> None:
    path = f"{REPO}/actions/workflows/cd_canary.yml"
    assert (await github.call("GET", path)).json["name"] == "Canary"
    wrong_ref = await github.call("POST", f"{path}/dispatches", {"ref": "no-such"})
    assert (wrong_ref.status, wrong_ref.json["message"]) == (422, "No ref found for: no-such")
    wrong_input = await github.call("POST", f"{path}/dispatches", {"ref": "main", "inputs": {"colour": "red"}})
    assert "Unexpected inputs" in wrong_input.json["message"]
    inputs = {"image_tag": "v2", "environment": "production"}
    assert (await github.call("POST", f"{path}/dispatches", {"ref": "main", "inputs": inputs})).status == 204
    [run] = (await github.call("GET", f"{REPO}/actions/runs", event="workflow_dispatch")).json["workflow_runs"]
    assert (run["status"], run["conclusion"]) == ("queued", None)
    github.backend.actions.complete(github.backend.runs[run["id"]], "failure")
    again = (await github.call("GET", f"{REPO}/actions/runs/{run['id']}")).json
    assert (again["status"], again["conclusion"]) == ("completed", "failure")
    assert (await github.call("GET", f"{path}/runs", status="success")).json["total_count"] == 0
    names = [one["name"] for one in (await github.call("GET", f"{REPO}/actions/workflows")).json["workflows"]]
    assert names == ["Canary", "CI"]


async def test_a_merge_starts_a_build_of_its_commit(github: Client) -> None:
    code, bruno = github.backend.code, github.backend.person("bruno")
    code.add_branch("fix", github.backend.branches["main"])
    code.put_file("x.yaml", "x: 1\n", "Fix", "ana-torres", branch="fix", replaces=None)
    pull = code.open_pull("Fix", None, "fix", "main", "ana-torres")
    await bruno.approve(pull)
    await bruno.merge(pull)
    path = f"{REPO}/actions/workflows/ci.yml/runs"
    [run] = (await github.call("GET", path, head_sha=github.backend.branches["main"])).json["workflow_runs"]
    assert (run["event"], run["head_sha"]) == ("push", pull.merge_commit)


async def test_a_run_ends_by_itself_on_the_worlds_clock(github: Client) -> None:
    github.backend.actions.run_seconds = 600
    github.backend.clock.speed = 100_000
    workflow = github.backend.workflow("cd_canary.yml")
    run = github.backend.actions.dispatch(workflow, "main", {}, "ana-torres")
    async with deadline(5):
        while run.status != "completed":
            await github.call("GET", f"{REPO}/actions/runs/{run.id}")
    assert run.conclusion == "success"


async def test_an_app_signs_in_for_its_installation(github: Client) -> None:
    claims = base64.urlsafe_b64encode(b'{"iss":"4242"}').decode().rstrip("=")
    app = {"Authorization": f"Bearer e30.{claims}.signature"}
    assert (await github.call("GET", f"{REPO}/installation")).status == 401
    installation = (await github.call("GET", f"{REPO}/installation", headers=app)).json
    path = f"/app/installations/{installation['id']}/access_tokens"
    token = (await github.call("POST", path, headers=app)).json["token"]
    mine = {"Authorization": f"token {token}"}
    assert (await github.call("GET", f"{REPO}/issues", headers=mine)).status == 200
    assert (await github.call("GET", "/app", headers=app)).json["slug"] == "tamv-bot"
