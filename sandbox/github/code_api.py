"""The API of files, branches, commits, pull requests, reviews and checks."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.routing import BaseRoute

from sandbox.github import code_shapes, shapes
from sandbox.github.account_api import REPO
from sandbox.github.backend import GitHub
from sandbox.github.code import blob_sha
from sandbox.github.code_records import Judgement, Pull
from sandbox.github.endpoint import Call, Page, paged, route
from sandbox.github.records import NOT_FOUND, Problem

PULL = f"{REPO}/pulls/{{number:int}}"
STATES: dict[Any, Judgement] = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}


def routes(github: GitHub) -> list[BaseRoute]:
    return [
        route(github, "GET", f"{REPO}/contents/{{path:path}}", contents),
        route(github, "PUT", f"{REPO}/contents/{{path:path}}", put_contents, status=201),
        route(github, "GET", f"{REPO}/branches/{{branch:path}}", branch),
        route(github, "GET", f"{REPO}/git/ref/heads/{{branch:path}}", ref),
        route(github, "GET", f"{REPO}/git/refs/heads/{{branch:path}}", ref),
        route(github, "POST", f"{REPO}/git/refs", add_ref, status=201),
        route(github, "DELETE", f"{REPO}/git/refs/heads/{{branch:path}}", remove_ref),
        route(github, "GET", f"{REPO}/commits", commits),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}/check-runs", check_runs),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}/status", combined_status),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}", commit),
        route(github, "GET", f"{REPO}/pulls", pulls),
        route(github, "POST", f"{REPO}/pulls", open_pull, status=201),
        route(github, "GET", PULL, pull),
        route(github, "PATCH", PULL, edit_pull),
        route(github, "PUT", f"{PULL}/merge", merge),
        route(github, "GET", f"{PULL}/commits", pull_commits),
        route(github, "GET", f"{PULL}/files", pull_files),
        route(github, "GET", f"{PULL}/requested_reviewers", requested_reviewers),
        route(github, "POST", f"{PULL}/requested_reviewers", request_reviewers, status=201),
        route(github, "GET", f"{PULL}/reviews", reviews),
        route(github, "POST", f"{PULL}/reviews", review),
        route(github, "POST", "/graphql", graphql),
    ]


def contents(call: Call) -> Any:
    """A file, or the list of what lies in a directory."""
    ref = call.query.get("ref", "main")
    files = call.github.code.commit_of(ref).files
    path = call.path["path"].strip("/")
    if path in files:
        return code_shapes.file_json(path, files[path], blob_sha(files[path]), ref, call.links)
    inside = sorted(name for name in files if name.startswith(f"{path}/"))
    if not inside:
        raise Problem(404, NOT_FOUND)
    return [_entry(name, files[name], ref, call) for name in inside if "/" not in name[len(path) + 1 :]]


def put_contents(call: Call) -> dict[str, Any]:
    path = call.path["path"].strip("/")
    branch = call.body.get("branch", "main")
    try:
        text = base64.b64decode(call.text("content"), validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Problem(422, "content is not valid Base64") from None
    made = call.github.code.put_file(
        path, text, call.text("message"), call.login, branch=branch, replaces=call.body.get("sha")
    )
    git = code_shapes.git_commit_json(call.github, made, call.links)
    return {"content": _entry(path, text, branch, call), "commit": git | {"sha": made.sha}}


def branch(call: Call) -> dict[str, Any]:
    if call.path["branch"] not in call.github.code.branches:
        raise Problem(404, "Branch not found")
    return code_shapes.branch_json(call.github, call.path["branch"], call.links)


def ref(call: Call) -> dict[str, Any]:
    name = call.path["branch"]
    if name not in call.github.code.branches:
        raise Problem(404, NOT_FOUND)
    return code_shapes.ref_json(name, call.github.code.branches[name], call.links)


def add_ref(call: Call) -> dict[str, Any]:
    name, sha = call.text("ref"), call.text("sha")
    if not name.startswith("refs/heads/"):
        raise Problem(422, "Reference name must start with 'refs/heads/'")
    branch = name.removeprefix("refs/heads/")
    call.github.code.add_branch(branch, sha)
    return code_shapes.ref_json(branch, sha, call.links)


def remove_ref(call: Call) -> None:
    call.github.code.remove_branch(call.path["branch"])


def commits(call: Call) -> Page:
    code = call.github.code
    found, next_sha = [], code.commit_of(call.query.get("sha")).sha
    while next_sha in code.commits:
        found.append(code.commits[next_sha])
        next_sha = next(iter(found[-1].parents), "")
    return paged(call, found, lambda commit: code_shapes.commit_json(call.github, commit, call.links))


def commit(call: Call) -> dict[str, Any]:
    found = call.github.code.commit_of(call.path["ref"])
    return code_shapes.commit_json(call.github, found, call.links)


def check_runs(call: Call) -> Page:
    found = call.github.code.checks_of(call.github.code.commit_of(call.path["ref"]).sha)
    return paged(
        call,
        found,
        lambda check: code_shapes.check_run_json(check, call.links),
        lambda drawn: {"total_count": len(found), "check_runs": drawn},
    )


def combined_status(call: Call) -> dict[str, Any]:
    sha = call.github.code.commit_of(call.path["ref"]).sha
    repository = shapes.minimal_repository_json(call.github, call.links)
    return code_shapes.combined_status_json(sha, call.links) | {"repository": repository}


def pulls(call: Call) -> Page:
    state = call.query.get("state", "open")
    head = call.query.get("head", "").partition(":")[2]
    fitting = [
        pull
        for pull in reversed(call.github.code.pulls.values())
        if state in ("all", pull.issue.state)
        and head in ("", pull.head)
        and call.query.get("base", pull.base) == pull.base
    ]
    return paged(call, fitting, lambda pull: _drawn(call, pull))


def open_pull(call: Call) -> dict[str, Any]:
    opened = call.github.code.open_pull(
        call.text("title"),
        call.body.get("body"),
        call.text("head"),
        call.text("base"),
        call.login,
        draft=bool(call.body.get("draft")),
    )
    return _drawn(call, opened)


def pull(call: Call) -> dict[str, Any]:
    return _drawn(call, _pull(call))


def edit_pull(call: Call) -> dict[str, Any]:
    found = _pull(call)
    if call.body.get("state") == "closed":
        call.github.code.close_pull(found, call.login)
    texts: dict[str, Any] = {name: call.body[name] for name in ("title", "body") if name in call.body}
    call.github.tracker.edit(found.issue, texts, call.login)
    return _drawn(call, found)


def merge(call: Call) -> dict[str, Any]:
    method = call.body.get("merge_method", "merge")
    if method != "squash":
        raise Problem(405, f"{str(method).capitalize()} commits are not allowed on this repository.")
    merged = call.github.code.squash(
        _pull(call), call.login, title=call.body.get("commit_title"), expected=call.body.get("sha")
    )
    return {"sha": merged.sha, "merged": True, "message": "Pull Request successfully merged"}


def pull_commits(call: Call) -> Page:
    found = call.github.code.commits_of(_pull(call))
    return paged(call, found, lambda commit: code_shapes.commit_json(call.github, commit, call.links))


def pull_files(call: Call) -> Page:
    found = _pull(call)
    files = code_shapes.changed_files(call.github, found)
    return paged(call, files, lambda file: code_shapes.changed_file_json(file, found, call.links))


def requested_reviewers(call: Call) -> dict[str, Any]:
    drawn = _drawn(call, _pull(call))
    return {"users": drawn["requested_reviewers"], "teams": drawn["requested_teams"]}


def request_reviewers(call: Call) -> dict[str, Any]:
    found = _pull(call)
    logins, teams = call.texts("reviewers"), call.texts("team_reviewers")
    call.github.code.request_reviewers(found, logins, teams, call.login)
    return _drawn(call, found)


def reviews(call: Call) -> Page:
    found = _pull(call)
    return paged(call, found.reviews, lambda review: code_shapes.review_json(call.github, found, review, call.links))


def review(call: Call) -> dict[str, Any]:
    found = _pull(call)
    event = call.body.get("event")
    if event not in STATES:
        raise Problem(422, "event must be one of APPROVE, REQUEST_CHANGES, COMMENT")
    made = call.github.code.review(found, call.login, STATES[event], call.body.get("body", ""))
    return code_shapes.review_json(call.github, found, made, call.links)


def graphql(call: Call) -> dict[str, Any]:
    """The one mutation that REST has not: `revertPullRequest`. Errors are answers with status 200 here."""
    if "revertPullRequest(input: $input)" not in call.text("query"):
        raise Problem(400, "This sandbox knows no other mutation.")
    wanted = (call.body.get("variables") or {}).get("input", {}).get("pullRequestId")
    for pull in call.github.code.pulls.values():
        if _drawn(call, pull)["node_id"] == wanted:
            try:
                made = call.github.code.revert(pull, call.login)
            except Problem as problem:
                return {"errors": [{"type": "UNPROCESSABLE", "message": problem.message}]}
            return {"data": {"revertPullRequest": {"revertPullRequest": {"number": made.issue.number}}}}
    return {
        "errors": [{"type": "NOT_FOUND", "message": f"Could not resolve to a node with the global id of '{wanted}'"}]
    }


def _pull(call: Call) -> Pull:
    return call.github.code.pull(call.path["number"])


def _drawn(call: Call, pull: Pull) -> dict[str, Any]:
    drawn = code_shapes.pull_json(call.github, pull, call.links)
    teams = [team | {"type": "organization"} for team in drawn["requested_teams"]]
    return drawn | {"requested_teams": teams}


def _entry(path: str, text: str, ref: str, call: Call) -> dict[str, Any]:
    drawn = code_shapes.file_json(path, text, blob_sha(text), ref, call.links)
    return {name: value for name, value in drawn.items() if name not in ("content", "encoding")}
