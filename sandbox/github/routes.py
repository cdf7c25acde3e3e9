"""GitHub over HTTP; the paths are those within the service: `/api/repos/…`, `/state`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.github import account_api, actions_api, code_api, issues_api, planning_api, shapes
from sandbox.github.action_shapes import deployment_json, webhook_run_json
from sandbox.github.backend import GitHub
from sandbox.github.code_shapes import pull_json
from sandbox.github.endpoint import error_answer
from sandbox.github.records import NOT_FOUND, Problem


def routes(github: GitHub) -> list[BaseRoute]:
    async def state(_request: Request) -> Response:
        links = github.web_links
        tracker = github.tracker
        return JSONResponse(
            {
                "issues": [
                    shapes.issue_json(github, issue, links)
                    | {"comment_texts": [comment.body for comment in issue.comments]}
                    for issue in tracker.issues.values()
                ],
                "labels": [shapes.label_json(label, links) for label in tracker.labels.values()],
                "milestones": [shapes.milestone_json(github, m, links) for m in tracker.milestones.values()],
                "pulls": [pull_json(github, pull, links) for pull in github.code.pulls.values()],
                "deployments": [deployment_json(github, d, links) for d in github.actions.deployments.values()],
                "runs": [webhook_run_json(github, run, links) for run in github.actions.runs.values()],
                "hooks": [shapes.hook_json(github, hook) for hook in github.hooks],
                "deliveries": [
                    {
                        "guid": delivery.guid,
                        "event": delivery.event,
                        "action": delivery.payload.get("action"),
                        "answer": delivery.answer,
                        "redelivery": delivery.redelivery,
                    }
                    for delivery in github.deliverer.log
                ],
                "requests": len(github.requests),
            }
        )

    async def nothing_here(_request: Request) -> Response:
        return error_answer(github, Problem(404, NOT_FOUND))

    return [
        *account_api.routes(github),
        *issues_api.routes(github),
        *planning_api.routes(github),
        *code_api.routes(github),
        *actions_api.routes(github),
        Route("/state", state),
        Route("/{path:path}", nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
