"""The API of deployments, workflows and their runs."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from sandbox.github import action_shapes
from sandbox.github.account_api import REPO
from sandbox.github.backend import GitHub
from sandbox.github.code_records import Run
from sandbox.github.endpoint import Call, Page, paged, route
from sandbox.github.records import NOT_FOUND, Problem

STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


def routes(github: GitHub) -> list[BaseRoute]:
    one = f"{REPO}/deployments/{{id:int}}"
    workflow_path = f"{REPO}/actions/workflows/{{workflow}}"
    return [
        route(github, "GET", f"{REPO}/deployments", deployments),
        route(github, "POST", f"{REPO}/deployments", deploy, status=201),
        route(github, "GET", one, deployment),
        route(github, "GET", f"{one}/statuses", statuses),
        route(github, "POST", f"{one}/statuses", add_status, status=201),
        route(github, "GET", f"{REPO}/actions/workflows", workflows),
        route(github, "GET", workflow_path, workflow),
        route(github, "POST", f"{workflow_path}/dispatches", dispatch),
        route(github, "GET", f"{workflow_path}/runs", runs),
        route(github, "GET", f"{REPO}/actions/runs", runs),
        route(github, "GET", f"{REPO}/actions/runs/{{id:int}}", run),
        route(github, "POST", f"{REPO}/actions/runs/{{id:int}}/cancel", cancel, status=202),
    ]


def deployments(call: Call) -> Page:
    query = call.query
    fitting = [
        deployment
        for deployment in reversed(call.github.actions.deployments.values())
        if query.get("environment", deployment.environment) == deployment.environment
        and query.get("ref", deployment.ref) == deployment.ref
        and query.get("task", deployment.task) == deployment.task
        and query.get("sha", deployment.sha) == deployment.sha
    ]
    return paged(call, fitting, lambda d: action_shapes.deployment_json(call.github, d, call.links))


def deployment(call: Call) -> dict[str, Any]:
    found = call.github.actions.deployment(call.path["id"])
    return action_shapes.deployment_json(call.github, found, call.links)


def deploy(call: Call) -> dict[str, Any]:
    more = {name: call.body[name] for name in ("task", "description", "payload") if name in call.body}
    environment = call.body.get("environment", "production")
    made = call.github.actions.deploy(call.text("ref"), environment, call.login, "queued", **more)
    return action_shapes.deployment_json(call.github, made, call.links)


def statuses(call: Call) -> Page:
    found = call.github.actions.deployment(call.path["id"])
    return paged(
        call,
        found.statuses[::-1],
        lambda status: action_shapes.deployment_status_json(call.github, found, status, call.links),
    )


def add_status(call: Call) -> dict[str, Any]:
    found = call.github.actions.deployment(call.path["id"])
    state = call.text("state")
    if state not in STATES:
        raise Problem(422, f"state must be one of {', '.join(STATES)}")
    made = call.github.actions.set_state(found, state, call.login, call.body.get("description", ""))
    return action_shapes.deployment_status_json(call.github, found, made, call.links)


def workflows(call: Call) -> Page:
    found = call.github.actions.workflows
    return paged(
        call,
        found,
        lambda workflow: action_shapes.workflow_json(workflow, call.links),
        lambda drawn: {"total_count": len(found), "workflows": drawn},
    )


def workflow(call: Call) -> dict[str, Any]:
    return action_shapes.workflow_json(call.github.actions.workflow(call.path["workflow"]), call.links)


def dispatch(call: Call) -> dict[str, Any] | None:
    """No content, and the run has to be looked for, unless `return_run_details` is asked for."""
    found = call.github.actions.workflow(call.path["workflow"])
    made = call.github.actions.dispatch(found, call.text("ref"), call.body.get("inputs") or {}, call.login)
    if not call.body.get("return_run_details"):
        return None
    drawn = _drawn(call, made)
    return {"workflow_run_id": made.id, "run_url": drawn["url"], "html_url": drawn["html_url"]}


def runs(call: Call) -> Page:
    query = call.query
    only = call.github.actions.workflow(call.path["workflow"]) if "workflow" in call.path else None
    fitting = [
        run
        for run in reversed(call.github.actions.runs.values())
        if (only is None or run.workflow == only)
        and query.get("branch", run.branch) == run.branch
        and query.get("event", run.event) == run.event
        and query.get("status", run.status) in (run.status, run.conclusion)
        and query.get("head_sha", run.sha) == run.sha
    ]
    return paged(
        call,
        fitting,
        lambda run: _drawn(call, run),
        lambda drawn: {"total_count": len(fitting), "workflow_runs": drawn},
    )


def run(call: Call) -> dict[str, Any]:
    found = call.github.actions.runs.get(call.path["id"])
    if found is None:
        raise Problem(404, NOT_FOUND)
    return _drawn(call, found)


def cancel(call: Call) -> dict[str, Any]:
    found = call.github.actions.runs.get(call.path["id"])
    if found is None:
        raise Problem(404, NOT_FOUND)
    if found.status == "completed":
        raise Problem(409, "Cannot cancel a workflow run that is completed.")
    call.github.actions.complete(found, "cancelled")
    return {}


def _drawn(call: Call, run: Run) -> dict[str, Any]:
    return action_shapes.webhook_run_json(call.github, run, call.links)
