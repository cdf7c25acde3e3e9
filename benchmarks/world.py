"""`python -m benchmarks.world BOT_URL`: the sandbox as a process of its own that remembers when it was asked what.

`GET /calls` gives every call to it, with `?ends=` those whose path ends so; `DELETE /calls` forgets them. Whatever is
posted below `/heard/` is taken: the bot's private answers go there. The first line of output is the base URL.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.server import Sandbox, serving


class Remembering:
    """Around the sandbox: when each call was answered (`at`, seconds since 1970), and what it brought."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path.endswith("/state"):
            await self._app(scope, receive, send)
        elif path == "/calls":
            ends = parse_qs(scope["query_string"].decode()).get("ends", [""])[0]
            answer = JSONResponse([call for call in self._calls if call["path"].endswith(ends)])
            if scope["method"] == "DELETE":
                self._calls = []
            await answer(scope, receive, send)
        else:
            await self._remembered(scope, receive, send)

    async def _remembered(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        is_json = any(name == b"content-type" and b"json" in value for name, value in scope["headers"])

        async def read() -> Message:
            message = await receive()
            if is_json and message["type"] == "http.request":
                body.extend(message.get("body", b""))
            return message

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                brought = json.loads(body) if body else None
                call = {"at": time.time(), "path": scope["path"], "status": message["status"], "brought": brought}
                call |= {"method": scope["method"], "query": scope["query_string"].decode()}
                self._calls.append(call)
            await send(message)

        if scope["path"].startswith("/heard/"):
            while (await read()).get("more_body"):
                pass
            await Response("ok")(scope, receive, answered)
        else:
            await self._app(scope, read, answered)


async def serve(bot_url: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = Sandbox(bot_url=bot_url)
    sandbox.slack.subscriptions = {"app_home_opened", "reaction_added"}  # as app.yaml says
    async with serving(Remembering(sandbox.app)) as url:
        sandbox.slack.base_url = f"{url}/slack"
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
