"""Keep other web sites out of the sandbox: a page that somebody has open must not play with it.

The sandbox listens on the loopback interface without a password. A foreign page could reach it by a name of its own
that resolves to 127.0.0.1 (DNS rebinding), or by posting a form or plain text across sites.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SameOrigin:
    """Answers 403 to a request for another host than this one, and to a change that another origin asks for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (why := refusal(scope)):
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await PlainTextResponse(why, status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def refusal(scope: Scope) -> str | None:
    """Return why a request is refused; None if it may go on."""
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    name = urlsplit(f"//{host}").hostname or ""
    if name not in LOOPBACK and not name.endswith(".localhost"):
        return "this is not the host that you look for"
    if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
        return None
    if origin is not None and urlsplit(origin).netloc != host:
        return "another site may change nothing here"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "another site may change nothing here"
    return None
