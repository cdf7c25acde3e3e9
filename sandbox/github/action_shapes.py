"""The JSON of deployments, workflows and their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.github.code_records import Deployment, DeploymentStatus, Run, Workflow
from sandbox.github.code_shapes import signature_json, tree_sha
from sandbox.github.links import Links
from sandbox.github.shapes import minimal_repository_json, node_id, timestamp, user_json

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub


def deployment_json(github: GitHub, deployment: Deployment, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/deployments/{deployment.id}"
    return {
        "url": url,
        "id": deployment.id,
        "node_id": node_id("Deployment", deployment.id),
        "sha": deployment.sha,
        "ref": deployment.ref,
        "task": deployment.task,
        "payload": deployment.payload,
        "original_environment": deployment.environment,
        "environment": deployment.environment,
        "description": deployment.description,
        "creator": user_json(github.users[deployment.creator], links),
        "created_at": timestamp(deployment.created_at),
        "updated_at": timestamp(deployment.statuses[-1].at if deployment.statuses else deployment.created_at),
        "statuses_url": f"{url}/statuses",
        "repository_url": links.repo,
        "transient_environment": False,
        "production_environment": deployment.environment == "production",
    }


def deployment_status_json(
    github: GitHub, deployment: Deployment, status: DeploymentStatus, links: Links
) -> dict[str, Any]:
    url = f"{links.repo}/deployments/{deployment.id}"
    return {
        "url": f"{url}/statuses/{status.id}",
        "id": status.id,
        "node_id": node_id("DeploymentStatus", status.id),
        "state": status.state,
        "creator": user_json(github.users[status.creator], links),
        "description": status.description,
        "environment": deployment.environment,
        "target_url": "",
        "created_at": timestamp(status.at),
        "updated_at": timestamp(status.at),
        "deployment_url": url,
        "repository_url": links.repo,
        "environment_url": "",
        "log_url": "",
    }


def workflow_json(workflow: Workflow, links: Links) -> dict[str, Any]:
    created = timestamp(workflow.created_at)
    file = workflow.path.rpartition("/")[2]
    return {
        "id": workflow.id,
        "node_id": node_id("Workflow", workflow.id),
        "name": workflow.name,
        "path": workflow.path,
        "state": "active",
        "created_at": created,
        "updated_at": created,
        "url": f"{links.repo}/actions/workflows/{workflow.id}",
        "html_url": f"{links.web}/blob/main/{workflow.path}",
        "badge_url": f"{links.web}/actions/workflows/{file}/badge.svg",
    }


def webhook_run_json(github: GitHub, run: Run, links: Links) -> dict[str, Any]:
    """A run as webhooks carry it: they call a waiting run `queued` as well, and know no `inputs`."""
    url = f"{links.repo}/actions/runs/{run.id}"
    actor = user_json(github.users[run.actor], links)
    commit = github.code.commits[run.sha]
    signature = {name: signature_json(github, commit)[name] for name in ("name", "email")}
    repository = minimal_repository_json(github, links)
    return {
        "id": run.id,
        "name": run.workflow.name,
        "node_id": node_id("WorkflowRun", run.id),
        "head_branch": run.branch,
        "head_sha": run.sha,
        "path": run.workflow.path,
        "display_title": run.workflow.name,
        "run_number": run.number,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": run.workflow.id,
        "check_suite_id": run.id,
        "check_suite_node_id": node_id("CheckSuite", run.id),
        "url": url,
        "html_url": f"{links.web}/actions/runs/{run.id}",
        "pull_requests": [],
        "created_at": timestamp(run.created_at),
        "updated_at": timestamp(run.updated_at),
        "actor": actor,
        "triggering_actor": actor,
        "run_attempt": 1,
        "run_started_at": timestamp(run.created_at),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "check_suite_url": f"{links.repo}/check-suites/{run.id}",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": None,
        "workflow_url": f"{links.repo}/actions/workflows/{run.workflow.id}",
        "head_commit": {
            "id": commit.sha,
            "tree_id": tree_sha(commit),
            "message": commit.message,
            "timestamp": timestamp(commit.at),
            "author": signature,
            "committer": signature,
        },
        "repository": repository,
        "head_repository": repository,
    }
