"""Bodies of requests, within limits, and how one is refused."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

log = logging.getLogger(__name__)

LIMIT = 2 * 1024 * 1024  # an alert storm's post of a thousand alerts is about one megabyte
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


async def read_body(request: Request) -> bytes:
    """The body, in UTF-8 and at most LIMIT bytes. Raises HTTPException 413 and 400; no more than LIMIT is read."""
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
    """The JSON of a body. ValueError or RecursionError when it is none, or none that can be kept."""
    value = json.loads(body)
    reject_nul(value)
    return value


def reject_nul(value: Any) -> None:
    """ValueError for what no database takes: NUL, and halves of surrogate pairs."""
    kept = json.dumps(value, ensure_ascii=False)
    kept.encode("utf-8")
    if _NUL.search(kept):
        raise ValueError("a NUL character")


def refused(source: str, status: int, why: str) -> Response:
    """An answer that gives nothing away; why stands in the log."""
    log.warning("a request of %s was refused (%s): %s", source, status, why)
    return JSONResponse({"error": "refused" if status in (401, 403) else "not understood"}, status_code=status)
