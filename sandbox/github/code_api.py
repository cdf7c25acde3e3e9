"""The API of files, branches, commits, pull requests, reviews, checks, deployments, workflows and their runs."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.routing import Route

from sandbox.github import shapes
from sandbox.github.backend import GitHub
from sandbox.github.code import blob_sha
from sandbox.github.endpoint import REPO, Call, Page, paginate, route
from sandbox.github.state import NOT_FOUND, Commit, Problem, Pull, ReviewState, Run

PULL = f"{REPO}/pulls/{{number:int}}"
DEPLOYMENT = f"{REPO}/deployments/{{id:int}}"
WORKFLOW = f"{REPO}/actions/workflows/{{workflow}}"
RUN = f"{REPO}/actions/runs/{{id:int}}"

REVIEW_STATES: dict[Any, ReviewState] = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}
DEPLOYMENT_STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


def code_routes(github: GitHub) -> list[Route]:
    """Return the routes of this module, without a prefix."""
    return [
        route(github, "GET", f"{REPO}/contents/{{path:path}}", get_contents),
        route(github, "PUT", f"{REPO}/contents/{{path:path}}", put_contents, status=201),
        route(github, "GET", f"{REPO}/branches/{{branch:path}}", get_branch),
        route(github, "GET", f"{REPO}/git/ref/heads/{{branch:path}}", get_ref),
        route(github, "GET", f"{REPO}/git/refs/heads/{{branch:path}}", get_ref),
        route(github, "POST", f"{REPO}/git/refs", create_ref, status=201),
        route(github, "DELETE", f"{REPO}/git/refs/heads/{{branch:path}}", delete_ref),
        route(github, "GET", f"{REPO}/commits", list_commits),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}/check-runs", list_check_runs),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}/status", get_combined_status),
        route(github, "GET", f"{REPO}/commits/{{ref:path}}/statuses", list_statuses),
        route(github, "GET", f"{REPO}/statuses/{{ref:path}}", list_statuses),  # the older path, which PyGithub asks
        route(github, "GET", f"{REPO}/commits/{{ref:path}}", get_commit),
        route(github, "GET", f"{REPO}/pulls", list_pulls),
        route(github, "POST", f"{REPO}/pulls", create_pull, status=201),
        route(github, "GET", PULL, get_pull),
        route(github, "PATCH", PULL, update_pull),
        route(github, "PUT", f"{PULL}/merge", merge_pull),
        route(github, "GET", f"{PULL}/commits", list_pull_commits),
        route(github, "GET", f"{PULL}/files", list_pull_files),
        route(github, "GET", f"{PULL}/requested_reviewers", list_requested_reviewers),
        route(github, "POST", f"{PULL}/requested_reviewers", request_reviewers, status=201),
        route(github, "GET", f"{PULL}/reviews", list_reviews),
        route(github, "POST", f"{PULL}/reviews", create_review),
        route(github, "GET", f"{REPO}/deployments", list_deployments),
        route(github, "POST", f"{REPO}/deployments", create_deployment, status=201),
        route(github, "GET", f"{DEPLOYMENT}/statuses", list_deployment_statuses),
        route(github, "POST", f"{DEPLOYMENT}/statuses", create_deployment_status, status=201),
        route(github, "GET", f"{REPO}/actions/workflows", list_workflows),
        route(github, "GET", WORKFLOW, get_workflow),
        route(github, "POST", f"{WORKFLOW}/dispatches", dispatch_workflow),
        route(github, "GET", f"{WORKFLOW}/runs", list_runs),
        route(github, "GET", f"{REPO}/actions/runs", list_runs),
        route(github, "GET", RUN, get_run),
        route(github, "POST", f"{RUN}/cancel", cancel_run, status=202),
        route(github, "POST", "/graphql", call_graphql),
    ]


def get_contents(call: Call) -> Any:
    """Return a file, or the entries of a directory."""
    ref = call.query.get("ref", call.github.default_branch)
    files = call.github.commit_of(ref).files
    path = call.path["path"].strip("/")
    if path in files:
        return shapes.file_json(path, files[path], blob_sha(files[path]), ref, call.links)
    inside = sorted(name for name in files if name.startswith(f"{path}/"))
    if not inside:
        raise Problem(404, NOT_FOUND)
    return [_file_entry(name, files[name], ref, call) for name in inside if "/" not in name[len(path) + 1 :]]


def put_contents(call: Call) -> dict[str, Any]:
    path = call.path["path"].strip("/")
    branch = call.body.get("branch", call.github.default_branch)
    try:
        text = base64.b64decode(call.text("content"), validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Problem(422, "content is not valid Base64") from None
    commit = call.github.code.put_file(
        path, text, call.text("message"), call.login, branch=branch, replaces=call.body.get("sha")
    )
    git = shapes.git_commit_json(call.github, commit, call.links)
    return {"content": _file_entry(path, text, branch, call), "commit": git | {"sha": commit.sha}}


def get_branch(call: Call) -> dict[str, Any]:
    if call.path["branch"] not in call.github.branches:
        raise Problem(404, "Branch not found")
    return shapes.branch_json(call.github, call.path["branch"], call.links)


def get_ref(call: Call) -> dict[str, Any]:
    name = call.path["branch"]
    if name not in call.github.branches:
        raise Problem(404, NOT_FOUND)
    return shapes.ref_json(name, call.github.branches[name], call.links)


def create_ref(call: Call) -> dict[str, Any]:
    name, sha = call.text("ref"), call.text("sha")
    if not name.startswith("refs/heads/"):
        raise Problem(422, "Reference name must start with 'refs/heads/'")
    branch = name.removeprefix("refs/heads/")
    call.github.code.add_branch(branch, sha)
    return shapes.ref_json(branch, sha, call.links)


def delete_ref(call: Call) -> None:
    call.github.code.remove_branch(call.path["branch"])


def list_commits(call: Call) -> Page:
    history, next_sha = [], call.github.commit_of(call.query.get("sha")).sha
    while next_sha in call.github.commits:
        history.append(call.github.commits[next_sha])
        next_sha = next(iter(history[-1].parents), "")
    return paginate(call, history, lambda commit: shapes.commit_json(call.github, commit, call.links))


def _commit_in_path(call: Call) -> Commit:
    """Return the commit of a path. Raises Problem 422, as GitHub does there for a name that is no reference."""
    try:
        return call.github.commit_of(call.path["ref"])
    except Problem:
        raise Problem(422, f"No commit found for SHA: {call.path['ref']}") from None


def get_commit(call: Call) -> dict[str, Any]:
    commit = _commit_in_path(call)
    return shapes.commit_json(call.github, commit, call.links)


def list_check_runs(call: Call) -> Page:
    checks = call.github.checks_of(_commit_in_path(call).sha)
    return paginate(
        call,
        checks,
        lambda check: shapes.check_run_json(call.github, check, call.links),
        lambda items: {"total_count": len(checks), "check_runs": items},
    )


def get_combined_status(call: Call) -> Page:
    sha = _commit_in_path(call).sha
    statuses = call.github.statuses_of(sha)
    return paginate(
        call,
        statuses,
        lambda status: shapes.simple_status_json(call.github, status, call.links),
        lambda items: shapes.combined_status_json(call.github, sha, statuses, items, call.links),
    )


def list_statuses(call: Call) -> Page:
    """Return every status of a commit, the newest first, also those that a newer one of the context replaced."""
    sha = _commit_in_path(call).sha
    statuses = [status for status in reversed(call.github.statuses) if status.sha == sha]
    return paginate(call, statuses, lambda status: shapes.status_json(call.github, status, call.links))


def list_pulls(call: Call) -> Page:
    state = call.query.get("state", "open")
    head = call.query.get("head", "").partition(":")[2]
    fitting = [
        pull
        for pull in reversed(call.github.pulls.values())
        if state in ("all", pull.issue.state)
        and head in ("", pull.head)
        and call.query.get("base", pull.base) == pull.base
    ]
    return paginate(call, fitting, lambda pull: _pull_json(call, pull))


def create_pull(call: Call) -> dict[str, Any]:
    pull = call.github.code.open_pull(
        call.text("title"),
        call.body.get("body"),
        call.text("head"),
        call.text("base"),
        call.login,
        draft=bool(call.body.get("draft")),
    )
    return _pull_json(call, pull)


def get_pull(call: Call) -> dict[str, Any]:
    return _pull_json(call, _pull_in_path(call))


def update_pull(call: Call) -> dict[str, Any]:
    pull = _pull_in_path(call)
    if call.body.get("state") == "closed":
        call.github.code.close_pull(pull, call.login)
    texts: dict[str, Any] = {name: call.body[name] for name in ("title", "body") if name in call.body}
    call.github.tracker.edit(pull.issue, texts, call.login)
    return _pull_json(call, pull)


def merge_pull(call: Call) -> dict[str, Any]:
    method = call.body.get("merge_method", "merge")
    if method != "squash":
        raise Problem(405, f"{str(method).capitalize()} commits are not allowed on this repository.")
    merged = call.github.code.squash(
        _pull_in_path(call), call.login, title=call.body.get("commit_title"), expected=call.body.get("sha")
    )
    return {"sha": merged.sha, "merged": True, "message": "Pull Request successfully merged"}


def list_pull_commits(call: Call) -> Page:
    commits = call.github.commits_of(_pull_in_path(call))
    return paginate(call, commits, lambda commit: shapes.commit_json(call.github, commit, call.links))


def list_pull_files(call: Call) -> Page:
    pull = _pull_in_path(call)
    files = shapes.changed_files(call.github, pull)
    return paginate(call, files, lambda file: shapes.changed_file_json(file, pull, call.links))


def list_requested_reviewers(call: Call) -> dict[str, Any]:
    pull_json = _pull_json(call, _pull_in_path(call))
    return {"users": pull_json["requested_reviewers"], "teams": pull_json["requested_teams"]}


def request_reviewers(call: Call) -> dict[str, Any]:
    pull = _pull_in_path(call)
    logins, teams = call.texts("reviewers"), call.texts("team_reviewers")
    call.github.code.request_reviewers(pull, logins, teams, call.login)
    return _pull_json(call, pull)


def list_reviews(call: Call) -> Page:
    pull = _pull_in_path(call)
    return paginate(call, pull.reviews, lambda review: shapes.review_json(call.github, pull, review, call.links))


def create_review(call: Call) -> dict[str, Any]:
    pull = _pull_in_path(call)
    event = call.body.get("event")
    if event not in REVIEW_STATES:
        raise Problem(422, "event must be one of APPROVE, REQUEST_CHANGES, COMMENT")
    review = call.github.code.review(pull, call.login, REVIEW_STATES[event], call.body.get("body", ""))
    return shapes.review_json(call.github, pull, review, call.links)


def call_graphql(call: Call) -> dict[str, Any]:
    """Answer what REST lacks: reverting, and the merge queue. GraphQL's errors have status 200."""
    query, variables = call.text("query"), call.body.get("variables") or {}
    known = {
        "revertPullRequest(input: $input)": _revert_by_graphql,
        "enqueuePullRequest(input: $input)": _enqueue,
        "dequeuePullRequest(input: $input)": _dequeue,
        "isMergeQueueEnabled": _read_queue,
    }
    answer = next((known[part] for part in known if part in query), None)
    if answer is None:
        raise Problem(400, "The sandbox has no other query or mutation.")
    try:
        return {"data": answer(call, variables)}
    except Problem as problem:
        kind = "NOT_FOUND" if problem.status == 404 else "UNPROCESSABLE"
        return {"errors": [{"type": kind, "message": problem.message}]}


def _revert_by_graphql(call: Call, variables: dict[str, Any]) -> dict[str, Any]:
    revert = call.github.code.revert(_by_node_id(call, variables["input"]["pullRequestId"]), call.login)
    return {"revertPullRequest": {"revertPullRequest": {"number": revert.issue.number}}}


def _enqueue(call: Call, variables: dict[str, Any]) -> dict[str, Any]:
    pull = _by_node_id(call, variables["input"]["pullRequestId"])
    call.github.code.enqueue(pull, variables["input"].get("expectedHeadOid"))
    return {"enqueuePullRequest": {"mergeQueueEntry": _queue_entry(call, pull)}}


def _dequeue(call: Call, variables: dict[str, Any]) -> dict[str, Any]:
    pull = _by_node_id(call, variables["input"]["id"])
    entry = _queue_entry(call, pull)
    call.github.code.dequeue(pull)
    return {"dequeuePullRequest": {"mergeQueueEntry": entry}}


def _read_queue(call: Call, variables: dict[str, Any]) -> dict[str, Any]:
    pull = call.github.pull(variables["number"])
    is_enabled = call.github.code.is_queued_for(pull.base)
    merged = pull.merge_commit is not None
    state = {"merged": merged, "isMergeQueueEnabled": is_enabled, "mergeQueueEntry": _queue_entry(call, pull)}
    return {"repository": {"pullRequest": state}}


def _queue_entry(call: Call, pull: Pull) -> dict[str, Any] | None:
    queue = call.github.queue
    return {"position": queue.index(pull) + 1} if pull in queue else None


def _by_node_id(call: Call, node_id: str) -> Pull:
    for pull in call.github.pulls.values():
        if _pull_json(call, pull)["node_id"] == node_id:
            return pull
    raise Problem(404, f"Could not resolve to a node with the global id of '{node_id}'")


def _pull_in_path(call: Call) -> Pull:
    return call.github.pull(call.path["number"])


def _pull_json(call: Call, pull: Pull) -> dict[str, Any]:
    result = shapes.pull_json(call.github, pull, call.links)
    teams = [team | {"type": "organization"} for team in result["requested_teams"]]
    return result | {"requested_teams": teams}


def _file_entry(path: str, text: str, ref: str, call: Call) -> dict[str, Any]:
    entry = shapes.file_json(path, text, blob_sha(text), ref, call.links)
    return {name: value for name, value in entry.items() if name not in ("content", "encoding")}


def list_deployments(call: Call) -> Page:
    query = call.query
    fitting = [
        deployment
        for deployment in reversed(call.github.deployments.values())
        if query.get("environment", deployment.environment) == deployment.environment
        and query.get("ref", deployment.ref) == deployment.ref
        and query.get("task", deployment.task) == deployment.task
        and query.get("sha", deployment.sha) == deployment.sha
    ]
    return paginate(call, fitting, lambda d: shapes.deployment_json(call.github, d, call.links))


def create_deployment(call: Call) -> dict[str, Any]:
    more = {name: call.body[name] for name in ("task", "description", "payload") if name in call.body}
    environment = call.body.get("environment", "production")
    deployment = call.github.actions.deploy(call.text("ref"), environment, call.login, "queued", **more)
    return shapes.deployment_json(call.github, deployment, call.links)


def list_deployment_statuses(call: Call) -> Page:
    deployment = call.github.deployment(call.path["id"])
    return paginate(
        call,
        deployment.statuses[::-1],
        lambda status: shapes.deployment_status_json(call.github, deployment, status, call.links),
    )


def create_deployment_status(call: Call) -> dict[str, Any]:
    deployment = call.github.deployment(call.path["id"])
    state = call.text("state")
    if state not in DEPLOYMENT_STATES:
        raise Problem(422, f"state must be one of {', '.join(DEPLOYMENT_STATES)}")
    status = call.github.actions.set_state(deployment, state, call.login, call.body.get("description", ""))
    return shapes.deployment_status_json(call.github, deployment, status, call.links)


def list_workflows(call: Call) -> Page:
    workflows = call.github.workflows
    return paginate(
        call,
        workflows,
        lambda workflow: shapes.workflow_json(workflow, call.links),
        lambda items: {"total_count": len(workflows), "workflows": items},
    )


def get_workflow(call: Call) -> dict[str, Any]:
    return shapes.workflow_json(call.github.workflow(call.path["workflow"]), call.links)


def dispatch_workflow(call: Call) -> dict[str, Any] | None:
    """Start a run. Without `return_run_details` the answer has no content, and the caller must search for the run."""
    workflow = call.github.workflow(call.path["workflow"])
    run = call.github.actions.dispatch(workflow, call.text("ref"), call.body.get("inputs") or {}, call.login)
    if not call.body.get("return_run_details"):
        return None
    run_json = _run_json(call, run)
    return {"workflow_run_id": run.id, "run_url": run_json["url"], "html_url": run_json["html_url"]}


def list_runs(call: Call) -> Page:
    query = call.query
    only = call.github.workflow(call.path["workflow"]) if "workflow" in call.path else None
    fitting = [
        run
        for run in reversed(call.github.runs.values())
        if (only is None or run.workflow == only)
        and query.get("branch", run.branch) == run.branch
        and query.get("event", run.event) == run.event
        and query.get("status", run.status) in (run.status, run.conclusion)
        and query.get("head_sha", run.sha) == run.sha
    ]
    return paginate(
        call,
        fitting,
        lambda run: _run_json(call, run),
        lambda items: {"total_count": len(fitting), "workflow_runs": items},
    )


def get_run(call: Call) -> dict[str, Any]:
    run = call.github.runs.get(call.path["id"])
    if run is None:
        raise Problem(404, NOT_FOUND)
    return _run_json(call, run)


def cancel_run(call: Call) -> dict[str, Any]:
    run = call.github.runs.get(call.path["id"])
    if run is None:
        raise Problem(404, NOT_FOUND)
    if run.status == "completed":
        raise Problem(409, "Cannot cancel a workflow run that is completed.")
    call.github.actions.complete(run, "cancelled")
    return {}


def _run_json(call: Call, run: Run) -> dict[str, Any]:
    return shapes.run_json(call.github, run, call.links)
