"""The sandbox's cluster alone, served from a thread with its controllers at work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.kubernetes.api import routes
from sandbox.kubernetes.backend import Kubernetes
from tests.harness.serving import served


@contextlib.contextmanager
def served_cluster(kubernetes: Kubernetes) -> Iterator[str]:
    """Yield the URL of the API."""

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(kubernetes.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app = Starlette(routes=[Mount("/kubernetes", routes=routes(kubernetes))], lifespan=running)
    with served(app) as url:
        yield f"{url}/kubernetes"
