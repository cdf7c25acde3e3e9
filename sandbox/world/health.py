"""The services' health endpoints: `GET /{host}/health`, where the host begins with a service's name.

A host with `staging` in it is of staging, which is always well. Production answers as its figures are: slower when the
service is, `degraded` when users wait too long, 500 when too much fails, 503 while no pod is ready.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.world.world import World

QUICK = 0.01  # seconds for a service that is as it should be
SLOWEST = 5.0
FAILING = 0.10  # ratio of errors


def routes(world: World) -> list[BaseRoute]:
    """The routes, without a prefix."""

    async def health(request: Request) -> Response:
        host: str = request.path_params["host"]
        service = host.partition(".")[0]
        if service not in world.deployments:
            return JSONResponse({"error": f"no such host: {host}"}, 502)
        if ".staging." in host:
            return JSONResponse({"status": "ok", "service": service})
        deployment, figures = world.deployments[service], world.figures(service)
        ready = sum(pod.is_ready(world.at) for pod in world.pods(service))
        if not ready:
            return JSONResponse({"error": "no endpoints available"}, 503)
        await asyncio.sleep(min(QUICK * figures.p95 / deployment.service.p95, SLOWEST))
        if figures.errors >= FAILING:
            return JSONResponse({"status": "error", "service": service}, 500)
        slow = figures.p95 >= deployment.service.deadline
        state = {"status": "degraded" if slow else "ok", "service": service, "ready": ready}
        return JSONResponse(state | {"version": deployment.template.version})

    return [Route("/{host}/health", health)]
