"""The listening socket, and uvicorn on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.domain.errors import BotError
from bot.tasks import answering

BACKLOG = 512
SHUTDOWN_SECONDS = 5  # how long open requests may take at shutdown


@contextlib.asynccontextmanager
async def listen(app: ASGIApp, host: str, port: int, bound: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve `app` while the block runs. Yields the base URL; port 0 picks a free one. BotError if it is taken.

    With a `bound` socket, requests that come before and after the block wait for who serves it next.
    """
    listener = bound.dup() if bound else bind(host, port)
    server = _Server(
        uvicorn.Config(
            _requests_first(app),
            log_level="warning",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=75,  # longer than proxies' timeouts, or they use closed connections
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def _requests_first(app: ASGIApp) -> ASGIApp:
    """Return `app` with background work making way for its requests."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        with answering():
            await app(scope, receive, send)

    return answer


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket with an explicit protocol: asyncio sets TCP_NODELAY only then; otherwise responses take
    40 ms.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise BotError("cannot_listen", host=host, port=port, why=why) from problem
    return listener


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the surrounding program."""
        yield
