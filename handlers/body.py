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

LIMIT = 2 * 1024 * 1024
WEBHOOK_LIMIT = 10 * 1024 * 1024  # a group of some thousand alerts
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# Control characters and lone surrogates: databases, Slack or JSON refuse them, and nobody sees them.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


async def read_body(request: Request, limit: int = LIMIT) -> bytes:
    """Return the body: UTF-8, at most `limit` bytes. Raises HTTPException 413 and 400."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"more than {limit} bytes")
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


def refused(source: str, status: int, why: str) -> Response:
    """Return a response without details; the reason is logged."""
    log.warning("refused a request of %s (%s): %s", source, status, why)
    error = {401: "refused", 403: "refused", 413: "too large"}.get(status, "not understood")
    return JSONResponse({"error": error}, status_code=status)
