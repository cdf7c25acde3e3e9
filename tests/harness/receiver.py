"""A receiver of webhooks for tests: it keeps what comes and answers what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.server import serving


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """`answers` are the statuses of the next requests, then 202; a float hangs for so many seconds."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.answers: list[int | float] = []

    @contextlib.asynccontextmanager
    async def serving(self, path: str = "/hook") -> AsyncIterator[Receiver]:
        async def hook(request: Request) -> Response:
            self.received.append(Received(dict(request.headers), await request.body()))
            answer = self.answers.pop(0) if self.answers else 202
            if isinstance(answer, float):
                await asyncio.sleep(answer)
                answer = 202
            return Response(status_code=answer)

        async with serving(Starlette(routes=[Route(path, hook, methods=["GET", "POST"])])) as base:
            self.url = f"{base}{path}"
            yield self
