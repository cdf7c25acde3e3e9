"""Read request bodies within limits, and refuse requests."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

log = logging.getLogger(__name__)

LIMIT = 2 * 1024 * 1024  # a thousand alerts of an alert storm are about 1 MB
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


async def read_body(request: Request) -> bytes:
    """Return the body: UTF-8, at most LIMIT bytes. Raises HTTPException 413 and 400."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise HTTPException(413, "too large")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
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


def refused(source: str, status: int, why: str) -> Response:
    """Return a response without details; the reason is logged."""
    log.warning("refused a request of %s (%s): %s", source, status, why)
    return JSONResponse({"error": "refused" if status in (401, 403) else "not understood"}, status_code=status)
