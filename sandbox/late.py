"""Routes that are made when the first request for them comes."""

from collections.abc import Callable

from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send


class Late:
    """An application of routes; `make` is called once, at the first request. For what is costly to make."""

    def __init__(self, make: Callable[[], list[BaseRoute]]) -> None:
        self._make = make
        self._router: Router | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._router is None:
            self._router = Router(routes=self._make())
        await self._router(scope, receive, send)
