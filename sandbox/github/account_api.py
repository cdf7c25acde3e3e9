"""The API of who one is and what there is: user, limits, app, organisation, repository, teams, assignees."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from sandbox.github import shapes
from sandbox.github.backend import APP_ID, INSTALLATION_ID, GitHub
from sandbox.github.endpoint import Call, Page, paged, route
from sandbox.github.links import WEB
from sandbox.github.records import NOT_FOUND, Problem, Team

REPO = "/repos/{owner}/{repo}"


def routes(github: GitHub) -> list[BaseRoute]:
    return [
        route(github, "GET", "/user", user),
        route(github, "GET", "/users/{login}", one_user),
        route(github, "GET", "/rate_limit", rate_limit, counted=False),
        route(github, "GET", "/app", app),
        route(github, "POST", "/app/installations/{id}/access_tokens", access_token, status=201),
        route(github, "GET", f"{REPO}/installation", installation),
        route(github, "GET", "/orgs/{org}", organization),
        route(github, "GET", "/orgs/{org}/teams/{slug}", team),
        route(github, "GET", "/orgs/{org}/teams/{slug}/members", members),
        route(github, "GET", REPO, repository),
        route(github, "GET", f"{REPO}/assignees", assignees),
        route(github, "GET", f"{REPO}/assignees/{{login}}", assignee),
    ]


def user(call: Call) -> dict[str, Any]:
    return _full_user(call, call.login)


def one_user(call: Call) -> dict[str, Any]:
    return _full_user(call, call.github.user(call.path["login"]).login)


def rate_limit(call: Call) -> dict[str, Any]:
    rate = call.github.rate()
    search = {**rate, "limit": 30, "used": 0, "remaining": 30}
    return {"resources": {"core": rate, "search": search}, "rate": rate}


def app(call: Call) -> dict[str, Any]:
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


def installation(call: Call) -> dict[str, Any]:
    return {
        "id": INSTALLATION_ID,
        "app_id": int(APP_ID),
        "account": shapes.user_json(call.github.organization, call.links),
        "access_tokens_url": f"{call.links.api}/app/installations/{INSTALLATION_ID}/access_tokens",
        "repository_selection": "selected",
        "permissions": {"issues": "write", "metadata": "read"},
        "events": ["issues"],
    }


def access_token(call: Call) -> dict[str, Any]:
    if call.path["id"] != str(INSTALLATION_ID):
        raise Problem(404, NOT_FOUND)
    token, expires = call.github.sign_in_app()
    return {
        "token": token,
        "expires_at": shapes.timestamp(expires),
        "permissions": {"issues": "write", "metadata": "read"},
        "repository_selection": "selected",
    }


def organization(call: Call) -> dict[str, Any]:
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


def team(call: Call) -> dict[str, Any]:
    found = _team(call)
    created = shapes.timestamp(call.github.created_at)
    return shapes.team_json(call.github, found, call.links) | {
        "type": "organization",
        "organization_id": call.github.organization.id,
        "created_at": created,
        "updated_at": created,
        "members_count": len(found.members),
        "repos_count": 1,
        "organization": organization(call),
    }


def members(call: Call) -> Page:
    users = [call.github.users[login] for login in _team(call).members]
    return paged(call, users, lambda user: shapes.user_json(user, call.links))


def repository(call: Call) -> dict[str, Any]:
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


def assignees(call: Call) -> Page:
    users = [user for login, user in call.github.users.items() if login in call.github.assignable]
    return paged(call, users, lambda user: shapes.user_json(user, call.links))


def assignee(call: Call) -> None:
    """No content if the user can be assigned."""
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


def _team(call: Call) -> Team:
    _check_org(call)
    slug = call.path["slug"].lower()
    if slug not in call.github.teams:
        raise Problem(404, NOT_FOUND)
    return call.github.teams[slug]


def _check_org(call: Call) -> None:
    if call.path["org"].lower() != call.github.owner.lower():
        raise Problem(404, NOT_FOUND)
