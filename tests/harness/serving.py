"""Serve an ASGI application from a thread, for tests that speak HTTP without an event loop of their own."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from starlette.types import ASGIApp

from sandbox.server import serving


@contextlib.contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Yield the application's base URL on the loopback interface."""
    address: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(app) as url:
            address.set_result((url, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="served")
    thread.start()
    url, loop, stop = address.result(timeout=20)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
