"""GitHub's published OpenAPI description, to hold requests and answers against."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from openapi_core import Config, OpenAPI
from openapi_core.templating.paths.exceptions import PathNotFound
from openapi_core.templating.responses.exceptions import ResponseNotFound
from openapi_core.testing import MockRequest, MockResponse

CONTRACTS = Path(os.environ.get("CONTRACTS_DIR", Path(__file__).parents[3] / "shared" / "contracts"))
OPENAPI = CONTRACTS / "github" / "api.github.com.subset39.openapi.json"
WEBHOOKS = CONTRACTS / "github" / "webhooks.schema.json"
WITH_SLASHES = re.compile(r"^(/repos/[^/]+/[^/]+/(?:contents|git/refs?|branches|commits)/)(.+)$")

needs_openapi = pytest.mark.skipif(not OPENAPI.exists(), reason=f"{OPENAPI} is missing: set CONTRACTS_DIR")
needs_webhooks = pytest.mark.skipif(not WEBHOOKS.exists(), reason=f"{WEBHOOKS} is missing: set CONTRACTS_DIR")


@functools.cache
def description() -> OpenAPI:
    # That the description itself is well-formed is GitHub's affair, and takes seconds.
    return OpenAPI.from_dict(json.loads(OPENAPI.read_text(encoding="utf-8")), config=Config(spec_validator_cls=None))  # type: ignore[arg-type]


def check_request(method: str, path: str, query: dict[str, str], body: Any) -> bool:
    """False if the path is not in the description; raises if the request does not fit it."""
    try:
        description().validate_request(_request(method, path, query, body))
    except PathNotFound:
        return False
    return True


def check_answer(method: str, path: str, query: dict[str, str], status: int, body: Any) -> bool:
    """False if the path or the error is not in the description; raises if the answer does not fit it."""
    data = b"" if body is None else json.dumps(body).encode()
    try:
        description().validate_response(_request(method, path, query, None), MockResponse(data, status_code=status))
    except PathNotFound:
        return False
    except ResponseNotFound:
        if status < 400:
            raise
        return False
    return True


def check_webhook(event: str, payload: Any) -> None:
    """Raises if the payload does not fit the published schema of the event and its action."""
    schema = json.loads(WEBHOOKS.read_text(encoding="utf-8"))
    name = f"{event}${payload['action']}" if "action" in payload else f"{event}$event"
    assert name in schema["definitions"]
    jsonschema.Draft7Validator({"$ref": f"#/definitions/{name}", "definitions": schema["definitions"]}).validate(
        payload
    )


def _request(method: str, path: str, query: dict[str, str], body: Any) -> MockRequest:
    match = WITH_SLASHES.match(path)
    if match and not match[2].endswith(("/check-runs", "/status", "/statuses")):
        path = match[1] + quote(match[2], safe="")
    return MockRequest(
        "https://api.github.com",
        method.lower(),
        path,
        args=query,
        data=None if body is None else json.dumps(body).encode(),
        content_type="application/json",
    )
