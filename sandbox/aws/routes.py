"""AWS over HTTP, every service on one address, as `AWS_ENDPOINT_URL` has it."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.aws.backend import Aws

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


def routes(aws: Aws) -> list[BaseRoute]:
    """The routes, without a prefix. moto works in threads, one request at a time."""
    lock = asyncio.Lock()

    async def any_service(request: Request) -> Response:
        body = await request.body()
        path = f"/{request.path_params['path']}"
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        async with lock:
            answer = await asyncio.to_thread(aws.call, request.method, path, request.url.query, headers, body)
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        if request.method == "HEAD" and "Content-Length" in answer.headers:
            kept["Content-Length"] = answer.headers["Content-Length"]
        return Response(answer.get_data(), answer.status_code, kept)

    return [Route("/{path:path}", any_service, methods=METHODS)]
