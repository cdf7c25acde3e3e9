"""Read request bodies within limits, and refuse requests."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

log = logging.getLogger(__name__)

CLOSE = {"Connection": "close"}
LIMIT = 2 * 1024 * 1024
WEBHOOK_LIMIT = 10 * 1024 * 1024  # a group of some thousand alerts
DEADLINE_SECONDS = 10.0  # all senders give up earlier; a body that is still on its way then is not coming
REASON_LIMIT = 200
REFUSALS = {401: "refused", 403: "refused", 408: "too slow", 413: "too large", 415: "compressed"}
_UNPRINTABLE = re.compile(r"[^ -~\u00a1-\ud7ff\ue000-\ufffd]+")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# Control characters and lone surrogates: databases, Slack or JSON refuse them, and nobody sees them.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


async def read_body(request: Request, limit: int = LIMIT) -> bytes:
    """Return the body: UTF-8, at most `limit` bytes, within DEADLINE_SECONDS. Raises HTTPException 413, 415, 408, 400.

    The caller logs the refusal. The connection is closed, as the rest of the body may still come.
    """
    if (encoding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise HTTPException(415, f"compressed by {encoding}", {**CLOSE, "Accept-Encoding": "identity"})
    body = bytearray()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise HTTPException(413, f"more than {limit} bytes", CLOSE)
    except TimeoutError:
        raise HTTPException(408, f"no whole body within {DEADLINE_SECONDS:g} s", CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "gone in the middle of the body", CLOSE) from None
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPException(400, "not UTF-8") from None
    return bytes(body)


def read_json(body: bytes) -> Any:
    """Parse a body, without the characters that cannot be stored. Raises ValueError or RecursionError for no JSON."""
    return _storable(json.loads(body, strict=False))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("", name): _storable(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def reject_nul(value: Any) -> None:
    """Raise ValueError for text that databases do not accept: NUL and lone surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode("utf-8")
    if _NUL.search(text):
        raise ValueError("a NUL character")


def printable(text: str) -> str:
    """Return a text as one line of bounded length: what a sender wrote cannot look like a line of the log."""
    return _UNPRINTABLE.sub(" ", text)[:REASON_LIMIT]


def refused(source: str, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response without details; the reason is logged."""
    log.warning("refused a request of %s (%s): %s", source, status, printable(why))
    error = REFUSALS.get(status, "not understood")
    return JSONResponse({"error": error}, status_code=status, headers=headers)
