"""Read request bodies within limits, and refuse requests."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

log = logging.getLogger(__name__)

CLOSE = {"Connection": "close"}
LIMIT = 2 * 1024 * 1024  # a thousand alerts of an alert storm are about 1 MB
DEADLINE_SECONDS = 10.0  # all senders give up earlier; a body that is still on its way then is not coming
REASON_LIMIT = 200
_UNPRINTABLE = re.compile(r"[^ -~\u00a1-\ud7ff\ue000-\ufffd]+")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


async def read_body(request: Request) -> bytes:
    """Return the body: UTF-8, at most LIMIT bytes, within DEADLINE_SECONDS. Raises HTTPException 413, 408 and 400."""
    body = bytearray()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LIMIT:
                    _log_refusal(request.url.path, 413, "too large")
                    raise HTTPException(413, "too large", CLOSE)
    except TimeoutError:
        _log_refusal(request.url.path, 408, f"no whole body within {DEADLINE_SECONDS:g} s")
        raise HTTPException(408, "too slow", CLOSE) from None
    except ClientDisconnect:
        _log_refusal(request.url.path, 400, "went away in the middle of the body")
        raise HTTPException(400, "cut off", CLOSE) from None
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        _log_refusal(request.url.path, 400, "not UTF-8")
        raise HTTPException(400, "not UTF-8") from None
    return bytes(body)


def read_json(body: bytes) -> Any:
    """Parse a body. Raises ValueError or RecursionError if it is not JSON, or not storable."""
    value = json.loads(body)
    reject_nul(value)
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


def _log_refusal(source: str, status: int, why: str) -> None:
    log.warning("refused a request of %s (%s): %s", printable(source), status, printable(why))


def refused(source: str, status: int, why: str) -> Response:
    """Return a response without details; the reason is logged."""
    _log_refusal(source, status, why)
    return JSONResponse({"error": "refused" if status in (401, 403) else "not understood"}, status_code=status)
