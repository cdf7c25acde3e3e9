"""What every REST endpoint of PagerDuty has in common: the record, the token, the From header, errors, pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.records import Problem, Reference, Request, User

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One request that has been let in; `agent` is who makes it, when it changes something."""

    pagerduty: PagerDuty
    path: Mapping[str, Any]
    query: QueryParams
    body: dict[str, Any]
    user: User | None
    agent: Reference | None

    @property
    def author(self) -> Reference:
        """Who changes something; endpoints that were declared without `writes` have none."""
        if self.agent is None:
            raise Problem(400, 2011, "You must specify a requester_id to perform this action")
        return self.agent

    def wrapped(self, entity: str) -> dict[str, Any]:
        """The object under the entity's name in the body. Problem if it is not there."""
        content = self.body.get(entity)
        if not isinstance(content, dict):
            raise invalid(f"{entity.capitalize()} must be an object")
        return content

    def includes(self, what: str) -> bool:
        return what in self.query.getlist("include[]")


Handler = Callable[[Call], Any]


def invalid(*errors: str) -> Problem:
    return Problem(400, 2001, "Invalid Input Provided", *errors)


def found(things: Mapping[str, T], key: str, code: int = 2100) -> T:
    """The thing by its id. Problem 404 if there is none."""
    if key not in things:
        raise Problem(404, code, "Not Found")
    return things[key]


def paged(call: Call, entity: str, items: Iterable[T], draw: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """One page of a list, by `limit` (25, at most 100) and `offset`."""
    everything = list(items)
    try:
        limit, offset = (int(call.query.get(name, default)) for name, default in (("limit", 25), ("offset", 0)))
    except ValueError:
        raise invalid("Limit and offset must be integers") from None
    if not (1 <= limit <= 100 and offset >= 0):
        raise invalid("Limit must be between 1 and 100, offset zero or more")
    return {
        entity: [draw(item) for item in everything[offset : offset + limit]],
        "limit": limit,
        "offset": offset,
        "more": offset + limit < len(everything),
        "total": len(everything) if call.query.get("total") in ("true", "1") else None,
    }


async def recorded(pagerduty: PagerDuty, request: HttpRequest) -> Any:
    """The decoded JSON body, None if there is none; the request is kept. ValueError if it is not JSON."""
    raw = await request.body()
    query = {name: request.query_params.getlist(name) for name in request.query_params}
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    body, error = None, None
    try:
        body = json.loads(raw) if raw else None
    except ValueError as mistake:
        error = mistake
    pagerduty.requests.append(Request(request.method, path, query, dict(request.headers), body))
    if error:
        raise error
    return body


def rest(
    pagerduty: PagerDuty, method: str, path: str, handler: Handler, *, writes: bool = False, status: int = 200
) -> Route:
    """A route of the REST API whose handler returns the JSON to answer, None for no content."""

    async def endpoint(request: HttpRequest) -> Response:
        try:
            try:
                body = await recorded(pagerduty, request)
            except ValueError:
                raise invalid("The body is not JSON") from None
            user = _authenticated(pagerduty, request)
            agent = _requester(pagerduty, request, user) if writes else None
            content = body if isinstance(body, dict) else {}
            answer = handler(Call(pagerduty, request.path_params, request.query_params, content, user, agent))
        except Problem as problem:
            return error_answer(problem)
        return Response(status_code=204) if answer is None else JSONResponse(answer, status)

    return Route(f"/api{path}", endpoint, methods=[method])


def error_answer(problem: Problem) -> Response:
    if problem.code is None:
        return JSONResponse({"error": problem.message}, problem.status)
    error: dict[str, Any] = {"message": problem.message, "code": problem.code}
    if problem.errors:
        error["errors"] = list(problem.errors)
    return JSONResponse({"error": error}, problem.status)


def _authenticated(pagerduty: PagerDuty, request: HttpRequest) -> User | None:
    scheme, _, token = request.headers.get("Authorization", "").partition("token=")
    if scheme.strip() != "Token" or token not in pagerduty.tokens:
        raise Problem(401, 2006, "Authentication failed")
    return pagerduty.tokens[token]


def _requester(pagerduty: PagerDuty, request: HttpRequest, user: User | None) -> Reference:
    email = request.headers.get("From")
    if email is None and user is None:
        raise Problem(400, 2011, "You must specify a requester_id to perform this action")
    for candidate in pagerduty.users.values():
        if email == candidate.email or (email is None and candidate == user):
            return shapes.user_reference(pagerduty, candidate)
    raise Problem(400, 1008, "Requester User Not Found")
