"""The socket on which the bot listens, and uvicorn behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

BACKLOG = 512
LAST_ANSWERS = 5  # seconds that an answer may still take when the process ends


@contextlib.asynccontextmanager
async def listen(app: ASGIApp, host: str, port: int) -> AsyncIterator[str]:
    """Serve `app` while the block runs; gives the base URL. Port 0 takes a free one. OSError when it is taken."""
    listener = _bound(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=75,  # longer than the proxies in front, or they meet a connection that is just closed
            timeout_graceful_shutdown=LAST_ANSWERS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket that names its protocol: asyncio sets TCP_NODELAY only then, else answers wait 40 ms."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program around us."""
        yield
