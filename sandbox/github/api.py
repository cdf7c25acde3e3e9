"""GitHub over HTTP: users, limits, the app, the organisation and its teams; all routes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.github import shapes
from sandbox.github.backend import APP_ID, INSTALLATION_ID, GitHub
from sandbox.github.code_api import code_routes
from sandbox.github.endpoint import REPO, Call, Page, error_response, paginate, route
from sandbox.github.issues_api import issues_routes
from sandbox.github.state import NOT_FOUND, WEB, Problem, Team


def routes(github: GitHub) -> list[BaseRoute]:
    """Return the routes, without a prefix: the REST API under `/api`, and `/state` for tests."""
    served = _api_routes(github)

    async def state(_: Request) -> Response:
        return JSONResponse(_state_json(github))

    async def not_found(_: Request) -> Response:
        return error_response(github, Problem(404, NOT_FOUND))

    return [
        *served,
        *_elsewhere(served),
        Route("/state", state),
        Route("/{path:path}", not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


def _api_routes(github: GitHub) -> list[Route]:
    return [
        route(github, "GET", "/user", get_authenticated_user),
        route(github, "GET", "/users/{login}", get_user),
        route(github, "GET", "/rate_limit", get_rate_limit, counted=False),
        route(github, "GET", "/app", get_app),
        route(github, "POST", "/app/installations/{id}/access_tokens", create_access_token, status=201),
        route(github, "GET", f"{REPO}/installation", get_installation),
        route(github, "GET", "/orgs/{org}", get_organization),
        route(github, "GET", "/orgs/{org}/teams/{slug}", get_team),
        route(github, "GET", "/orgs/{org}/teams/{slug}/members", list_members),
        route(github, "GET", REPO, get_repository),
        route(github, "GET", f"{REPO}/assignees/{{login}}", check_assignee),
        *issues_routes(github),
        *code_routes(github),
    ]


def _elsewhere(served: Sequence[Route]) -> Iterator[Route]:
    """Yield the same endpoints under `/api/v3`, as GitHub Enterprise Server has them (its GraphQL is `/api/graphql`),
    and those of the repository by its number, to which a former name redirects.
    """
    by_number = f"/api{REPO}", "/api/repositories/{repository_id:int}"
    for one in served:
        methods = list(one.methods or ())
        paths = [one.path, one.path.replace(*by_number)] if one.path.startswith(by_number[0]) else [one.path]
        yield from (Route(f"/api/v3{path.removeprefix('/api')}", one.endpoint, methods=methods) for path in paths)
        yield from (Route(path, one.endpoint, methods=methods) for path in paths[1:])


def _state_json(github: GitHub) -> dict[str, Any]:
    links = github.web_links
    return {
        "issues": [
            shapes.issue_json(github, issue, links) | {"comment_texts": [comment.body for comment in issue.comments]}
            for issue in github.issues.values()
        ],
        "labels": [shapes.label_json(label, links) for label in github.labels.values()],
        "milestones": [shapes.milestone_json(github, m, links) for m in github.milestones.values()],
        "pulls": [shapes.pull_json(github, pull, links) for pull in github.pulls.values()],
        "deployments": [shapes.deployment_json(github, d, links) for d in github.deployments.values()],
        "runs": [shapes.run_json(github, run, links) for run in github.runs.values()],
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


def get_authenticated_user(call: Call) -> dict[str, Any]:
    return _full_user(call, call.login)


def get_user(call: Call) -> dict[str, Any]:
    return _full_user(call, call.github.user(call.path["login"]).login)


def get_rate_limit(call: Call) -> dict[str, Any]:
    rate = call.github.rate()
    if not rate:
        raise Problem(404, "Rate limiting is not enabled.")
    search = {**rate, "limit": 30, "used": 0, "remaining": 30}
    return {"resources": {"core": rate, "search": search}, "rate": rate}


def get_app(call: Call) -> dict[str, Any]:
    return {
        "id": int(APP_ID),
        "slug": "tamv-bot",
        "node_id": shapes.node_id("App", int(APP_ID)),
        "owner": shapes.user_json(call.github.organization, call.links),
        "name": "TAMV bot",
        "description": None,
        "external_url": "https://tamv.world",
        "html_url": "https://github.com/apps/tamv-bot",
        "created_at": shapes.timestamp(call.github.created_at),
        "updated_at": shapes.timestamp(call.github.created_at),
        "permissions": {"issues": "write", "metadata": "read"},
        "events": ["issues"],
    }


def get_installation(call: Call) -> dict[str, Any]:
    return {
        "id": INSTALLATION_ID,
        "app_id": int(APP_ID),
        "account": shapes.user_json(call.github.organization, call.links),
        "access_tokens_url": f"{call.links.api}/app/installations/{INSTALLATION_ID}/access_tokens",
        "repository_selection": "selected",
        "permissions": {"issues": "write", "metadata": "read"},
        "events": ["issues"],
    }


def create_access_token(call: Call) -> dict[str, Any]:
    if call.path["id"] != str(INSTALLATION_ID):
        raise Problem(404, NOT_FOUND)
    token, expires = call.github.sign_in_app()
    return {
        "token": token,
        "expires_at": shapes.timestamp(expires),
        "permissions": {"issues": "write", "metadata": "read"},
        "repository_selection": "selected",
    }


def get_organization(call: Call) -> dict[str, Any]:
    _check_org(call)
    created = shapes.timestamp(call.github.created_at)
    return shapes.organization_json(call.github, call.links) | {
        "html_url": f"{WEB}/{call.github.owner}",
        "name": call.github.organization.name,
        "has_organization_projects": False,
        "has_repository_projects": False,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "type": "Organization",
        "created_at": created,
        "updated_at": created,
        "archived_at": None,
    }


def get_team(call: Call) -> dict[str, Any]:
    team = _team_in_path(call)
    created = shapes.timestamp(call.github.created_at)
    return shapes.team_json(call.github, team, call.links) | {
        "type": "organization",
        "organization_id": call.github.organization.id,
        "created_at": created,
        "updated_at": created,
        "members_count": len(team.members),
        "repos_count": 1,
        "organization": get_organization(call),
    }


def list_members(call: Call) -> Page:
    users = [call.github.users[login] for login in _team_in_path(call).members]
    return paginate(call, users, lambda user: shapes.user_json(user, call.links))


def get_repository(call: Call) -> dict[str, Any]:
    return shapes.repository_json(call.github, call.links) | {
        "permissions": {"admin": False, "maintain": False, "push": True, "triage": True, "pull": True},
        "allow_squash_merge": True,
        "allow_merge_commit": False,
        "allow_rebase_merge": False,
        "delete_branch_on_merge": True,
        "network_count": 0,
        "subscribers_count": 0,
        "organization": shapes.user_json(call.github.organization, call.links),
    }


def check_assignee(call: Call) -> None:
    """Answer no content if the user can be assigned, else 404."""
    if call.path["login"] not in call.github.assignable:
        raise Problem(404, NOT_FOUND)


def _full_user(call: Call, login: str) -> dict[str, Any]:
    user = call.github.users[login]
    created = shapes.timestamp(call.github.created_at)
    return shapes.user_json(user, call.links) | {
        "user_view_type": "public",
        "name": user.name,
        "company": None,
        "blog": "",
        "location": None,
        "email": user.email,
        "hireable": None,
        "bio": None,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": created,
        "updated_at": created,
    }


def _team_in_path(call: Call) -> Team:
    _check_org(call)
    slug = call.path["slug"].lower()
    if slug not in call.github.teams:
        raise Problem(404, NOT_FOUND)
    return call.github.teams[slug]


def _check_org(call: Call) -> None:
    if call.path["org"].lower() != call.github.owner.lower():
        raise Problem(404, NOT_FOUND)
