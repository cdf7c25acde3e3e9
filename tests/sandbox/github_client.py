"""A client of the sandbox's GitHub that holds every answer against GitHub's published description."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.github.api import routes
from sandbox.github.backend import Deliverer, GitHub
from sandbox.github.state import TOKEN
from sandbox.server import serving
from tests.contract.github_contract import OPENAPI, check_answer

REPO = "/repos/tamv/tamv-platform"


@dataclass(frozen=True)
class Answer:
    status: int
    json: Any
    headers: dict[str, str]


class Client:
    """`checked` are the calls whose answers were in the description and fit it."""

    def __init__(self, http: aiohttp.ClientSession, base: str, backend: GitHub) -> None:
        self.http, self.base, self.backend = http, base, backend
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.checked: list[str] = []

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        described: bool = True,
        **query: str,
    ) -> Answer:
        """`described=False` for the few answers that GitHub's description itself has wrong."""
        url = f"{self.base}/github/api{path}"
        sent = self.headers if headers is None else headers
        async with self.http.request(method, url, json=body, params=query, headers=sent) as answer:
            content = await answer.json() if answer.status != 204 else None
            if described and OPENAPI.exists() and check_answer(method, path, query, answer.status, content):
                self.checked.append(f"{method} {path} {answer.status}")
            return Answer(answer.status, content, dict(answer.headers))


@contextlib.asynccontextmanager
async def serving_github(index_delay: float = 0.0) -> AsyncIterator[Client]:
    backend = GitHub(load_company(), Clock(), deliverer=Deliverer(timeout=0.3), index_delay=index_delay)
    app = Starlette(routes=[Mount("/github", routes=routes(backend))])
    async with serving(app) as base, aiohttp.ClientSession() as http:
        yield Client(http, base, backend)
    await backend.aclose()
