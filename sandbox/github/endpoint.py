"""What the endpoints of GitHub's API have in common: authentication, limits, errors, pagination, the record."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.github.backend import APP_ID, GitHub
from sandbox.github.state import BOT, NOT_FOUND, Links, Problem, Request

T = TypeVar("T")

REPO = "/repos/{owner}/{repo}"
DOCUMENTATION = "https://docs.github.com/rest"
SECONDARY_LIMIT = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@dataclass(frozen=True)
class Call:
    """One authenticated request; `login` is the user of its token."""

    github: GitHub
    path: Mapping[str, Any]
    query: QueryParams
    body: dict[str, Any]
    login: str
    links: Links
    url: str

    def text(self, name: str) -> str:
        """Return a string of the body. Raises Problem 422 if it is missing."""
        value = self.body.get(name)
        if not isinstance(value, str):
            raise Problem(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings of the body, empty if missing. Raises Problem 422 for anything else."""
        value = self.body.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Problem(422, f"Invalid request.\n\nFor '{name}', {json.dumps(value)} is not an array of strings.")
        return value


@dataclass(frozen=True)
class Page:
    """One page of a list and the Link header to the others."""

    items: Any
    links: str


Handler = Callable[[Call], Any]


def paginate(
    call: Call,
    items: Sequence[T],
    to_json: Callable[[T], dict[str, Any]],
    wrap: Callable[[list[dict[str, Any]]], Any] = lambda items: items,
) -> Page:
    """Return one page by `per_page` (30, at most 100) and `page`; `wrap` puts the items' JSON into an object."""
    try:
        size = min(100, max(1, int(call.query.get("per_page", 30))))
        number = max(1, int(call.query.get("page", 1)))
    except ValueError:
        size, number = 30, 1
    last = max(1, -(-len(items) // size))
    pages = {"prev": number - 1, "first": 1} if number > 1 else {}
    pages |= {"next": number + 1, "last": last} if number < last else {}
    links = ", ".join(
        f'<{call.url}?{urlencode({**call.query, "page": page, "per_page": size})}>; rel="{name}"'
        for name, page in pages.items()
    )
    items_json = [to_json(item) for item in items[(number - 1) * size : number * size]]
    return Page(wrap(items_json), links)


def route(
    github: GitHub, method: str, path: str, handler: Handler, *, status: int = 200, counted: bool = True
) -> Route:
    """Make a route. Its handler returns the JSON to answer, a Page of a list, or None for no content."""

    async def endpoint(request: HttpRequest) -> Response:
        try:
            content = await _read_body(github, request)
            limited = github.take_secondary_limit()
            if limited is not None:
                return error_response(github, Problem(403, SECONDARY_LIMIT), limited)
            login = _authenticate(github, request, path)
            if counted:
                github.count_request()
            moved = _check_repository(github, request)
            if moved is not None:
                return moved
            call = _call(github, request, content, login)
            answer = handler(call)
        except Problem as problem:
            return error_response(github, problem)
        headers = rate_headers(github)
        if answer is None:
            return Response(status_code=204, headers=headers)
        if isinstance(answer, Page):
            headers |= {"Link": answer.links} if answer.links else {}
            answer = answer.items
        return JSONResponse(answer, status, headers=headers)

    return Route(f"/api{path}", endpoint, methods=[method])


def rate_headers(github: GitHub) -> dict[str, str]:
    named = {f"X-RateLimit-{name.capitalize()}": str(value) for name, value in github.rate().items()}
    resource = {"X-RateLimit-Resource": "core"} if named else {}
    return named | resource | {"X-GitHub-Media-Type": "github.v3; format=json"}


def error_response(github: GitHub, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body: dict[str, Any] = {
        "message": problem.message,
        "documentation_url": DOCUMENTATION,
        "status": str(problem.status),
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    return JSONResponse(body, problem.status, headers={**rate_headers(github), **(headers or {})})


async def _read_body(github: GitHub, request: HttpRequest) -> dict[str, Any]:
    """Return the decoded body, empty if there is none, and keep the request. Raises Problem 400 if it is not JSON."""
    raw = await request.body()
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    body, is_invalid = None, False
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        is_invalid = True
    github.requests.append(Request(request.method, path, dict(request.query_params), dict(request.headers), body))
    if is_invalid:
        raise Problem(400, "Problems parsing JSON")
    if body is not None and not isinstance(body, dict):
        raise Problem(400, "Body should be a JSON object")
    return body or {}


def _authenticate(github: GitHub, request: HttpRequest, path: str) -> str:
    """Return the login of the token. Raises Problem 401. The app's own paths need its JSON web token instead."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if path.startswith("/app") or path.endswith("/installation"):
        if _issuer(token) == APP_ID:
            return BOT
        raise Problem(401, "A JSON web token could not be decoded")
    if scheme.lower() not in ("token", "bearer"):
        raise Problem(401, "Requires authentication")
    if token not in github.tokens:
        raise Problem(401, "Bad credentials")
    return github.tokens[token]


def _issuer(token: str) -> str | None:
    """Return the issuer of a JSON web token. Its signature is not checked: there is no public key here."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["iss"])
    except (IndexError, ValueError, KeyError, binascii.Error):
        return None


def _check_repository(github: GitHub, request: HttpRequest) -> Response | None:
    """Return the redirection from a former name, None at the present one. Raises Problem 404 for another repository.

    Source: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
    """
    parameters = request.path_params
    if parameters.get("repository_id", github.id) != github.id:
        raise Problem(404, NOT_FOUND)
    owner, name = parameters.get("owner", github.owner), parameters.get("repo", github.name)
    if owner.lower() != github.owner.lower():
        raise Problem(404, NOT_FOUND)
    if name.lower() == github.name.lower():
        return None
    if name not in github.former_names:
        raise Problem(404, NOT_FOUND)
    url = str(request.url).replace(f"/repos/{owner}/{name}", f"/repositories/{github.id}", 1)
    body = {"message": "Moved Permanently", "url": url, "documentation_url": DOCUMENTATION}
    return JSONResponse(body, 301 if request.method in ("GET", "HEAD") else 307, headers={"Location": url})


def _call(github: GitHub, request: HttpRequest, body: dict[str, Any], login: str) -> Call:
    mounted_at = request.scope.get("root_path", "")
    api = "/api/v3" if request.url.path.startswith(f"{mounted_at}/api/v3/") else "/api"
    links = Links(f"{str(request.base_url).rstrip('/')}{mounted_at}{api}", f"{github.owner}/{github.name}")
    url = str(request.url.replace(query=""))
    return Call(github, request.path_params, request.query_params, body, login, links, url)
