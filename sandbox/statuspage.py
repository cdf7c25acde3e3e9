"""Atlassian Statuspage: one page with its components and incidents, and the limit of requests of its API key.

https://developer.statuspage.io/
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.clock import Clock

API_KEY = "sandbox-statuspage-api-key"
PAGE = "tamv0status0"
COMPONENTS = {"cmp0xrengine": "Immersive worlds", "cmp0payments": "Records and payments", "cmp0security": "Sign-in"}
INCIDENT_STATUSES = ("investigating", "identified", "monitoring", "resolved")
COMPONENT_STATUSES = ("operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage")
REQUESTS, WINDOW = 60, timedelta(seconds=60)


class Problem(Exception):
    """An error response; Statuspage says `error` as a sentence, and as a list for invalid fields (422)."""

    def __init__(self, status: int, error: str | list[str]) -> None:
        super().__init__(status, error)
        self.status, self.error = status, error


@dataclass
class Update:
    status: str
    body: str
    at: datetime
    notified: bool


@dataclass
class Incident:
    id: str
    name: str
    status: str
    created: datetime
    metadata: dict[str, Any]
    components: list[str] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)  # the newest first


class Statuspage:
    """`requests` counts all that came in; `limit` is how many a minute are answered."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.limit = REQUESTS
        self.requests = 0
        self.incidents: dict[str, Incident] = {}
        self.components = dict.fromkeys(COMPONENTS, "operational")
        self._ids = itertools.count(1)
        self._recent: deque[datetime] = deque()

    def check(self, request: Request) -> None:
        """Count a request. Raises Problem for a wrong key, another page, and more requests than the limit."""
        self.requests += 1
        if request.headers.get("authorization") != f"OAuth {API_KEY}":
            raise Problem(401, "Could not authenticate")
        now = self.clock.now()
        while self._recent and self._recent[0] <= now - WINDOW:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            raise Problem(420, "Rate limit exceeded")
        self._recent.append(now)
        if request.path_params["page"] != PAGE:
            raise Problem(404, "not found")

    def create(self, wanted: dict[str, Any]) -> Incident:
        """Open an incident. Raises Problem."""
        if not wanted.get("name"):
            raise Problem(422, ["Name can't be blank"])
        id = f"inc{next(self._ids):09}"
        made = Incident(id, "", "investigating", self.clock.now(), dict(wanted.get("metadata") or {}))
        self.change(made, wanted)
        self.incidents[id] = made
        return made

    def change(self, incident: Incident, wanted: dict[str, Any]) -> Incident:
        """Add an update to an incident. Raises Problem."""
        status, components = wanted.get("status") or incident.status, dict(wanted.get("components") or {})
        touched = list(wanted.get("component_ids") or incident.components)
        if status not in INCIDENT_STATUSES:
            raise Problem(422, [f"Status {status} is not valid"])
        if unknown := sorted({*components, *touched} - set(self.components)):
            raise Problem(422, [f"Component {id} could not be found" for id in unknown])
        if wrong := sorted(set(components.values()) - set(COMPONENT_STATUSES)):
            raise Problem(422, [f"{name} is not a valid component status" for name in wrong])
        self.components |= components
        incident.name, incident.status, incident.components = wanted.get("name") or incident.name, status, touched
        notified = wanted.get("deliver_notifications", True) is not False
        incident.updates.insert(0, Update(status, wanted.get("body") or "", self.clock.now(), notified))
        return incident

    def known(self, id: str) -> Incident:
        """Return an incident. Raises Problem."""
        if id not in self.incidents:
            raise Problem(404, "not found")
        return self.incidents[id]

    def shown(self, incident: Incident) -> dict[str, Any]:
        """Return an incident as the API does."""
        return {
            "id": incident.id,
            "name": incident.name,
            "status": incident.status,
            "created_at": _time(incident.created),
            "shortlink": f"https://stspg.io/{incident.id}",
            "metadata": incident.metadata,
            "components": [self._component(id) for id in incident.components],
            "incident_updates": [
                {"status": one.status, "body": one.body, "created_at": _time(one.at)} for one in incident.updates
            ],
        }

    def _component(self, id: str) -> dict[str, Any]:
        return {"id": id, "name": COMPONENTS[id], "status": self.components[id], "page_id": PAGE}

    def shown_components(self) -> list[dict[str, Any]]:
        """Return all components as the API does."""
        return [self._component(id) for id in self.components]


def routes(statuspage: Statuspage) -> list[BaseRoute]:
    """The API under `/v1`."""

    def handled(handle: Callable[[Request], Awaitable[Any]], status: int = 200) -> Callable[..., Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                statuspage.check(request)
                return JSONResponse(await handle(request), status)
            except Problem as problem:
                headers = {"Retry-After": "60"} if problem.status == 420 else None
                return JSONResponse({"error": problem.error}, problem.status, headers=headers)

        return respond

    async def wanted(request: Request) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError:
            raise Problem(400, "could not parse the request") from None
        found = body.get("incident") if isinstance(body, dict) else None
        if not isinstance(found, dict):
            raise Problem(400, "incident is missing")
        return found

    async def listed(request: Request) -> list[dict[str, Any]]:
        newest_first = sorted(statuspage.incidents.values(), key=lambda one: one.created, reverse=True)
        return [statuspage.shown(one) for one in _page(request, newest_first, "limit")]

    async def created(request: Request) -> dict[str, Any]:
        return statuspage.shown(statuspage.create(await wanted(request)))

    async def changed(request: Request) -> dict[str, Any]:
        incident = statuspage.known(request.path_params["id"])
        return statuspage.shown(statuspage.change(incident, await wanted(request)))

    async def deleted(request: Request) -> dict[str, Any]:
        incident = statuspage.known(request.path_params["id"])
        del statuspage.incidents[incident.id]
        return statuspage.shown(incident)

    async def components(request: Request) -> list[dict[str, Any]]:
        return list(_page(request, statuspage.shown_components(), "per_page"))

    incidents = "/v1/pages/{page}/incidents"
    return [
        Route(incidents, handled(listed), methods=["GET"]),
        Route(incidents, handled(created, 201), methods=["POST"]),
        Route(f"{incidents}/{{id}}", handled(changed), methods=["PATCH", "PUT"]),
        Route(f"{incidents}/{{id}}", handled(deleted), methods=["DELETE"]),
        Route("/v1/pages/{page}/components", handled(components), methods=["GET"]),
    ]


def _page(request: Request, items: list[Any], size: str) -> list[Any]:
    try:
        length, number = int(request.query_params.get(size, "100")), int(request.query_params.get("page", "1"))
    except ValueError:
        raise Problem(400, "page is not a number") from None
    length = max(1, min(length, 100))
    return items[(number - 1) * length : number * length]


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
