"""Vault's HTTP API: KV version 2, login by a Kubernetes service account, the token's own data, health.

https://developer.hashicorp.com/vault/api-docs
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.vault.backend import LEASE, MOUNT, Problem, Token, Vault, stamp, version_json

MERGE_PATCH = "application/merge-patch+json"
CAPABILITIES = {"GET": "read", "POST": "update", "PUT": "update", "PATCH": "patch", "LIST": "list"}
DATA, METADATA = f"/v1/{MOUNT}/data/{{path:path}}", f"/v1/{MOUNT}/metadata/{{path:path}}"


@dataclass(frozen=True)
class Call:
    vault: Vault
    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    token: Token


Handler = Callable[[Call], Any]


def routes(vault: Vault) -> list[BaseRoute]:
    async def health(_: Request) -> Response:
        body = {"initialized": True, "sealed": vault.sealed, "standby": False, "version": "1.21.1"}
        return JSONResponse(body, 503 if vault.sealed else 200)

    async def log_in(request: Request) -> Response:
        try:
            body = await _body(vault, request)
            token, granted = vault.log_in(str(body.get("role")), str(body.get("jwt")))
        except Problem as problem:
            return _wrong(problem)
        auth = {
            "client_token": token,
            "policies": list(granted.policies),
            "lease_duration": int(LEASE.total_seconds()),
            "renewable": True,
        }
        return JSONResponse(_answer(vault, None) | {"auth": auth})

    async def nothing(_: Request) -> Response:
        return _wrong(Problem(404, "no handler for route"))

    return [
        Route("/v1/sys/health", health),
        Route("/v1/auth/kubernetes/login", log_in, methods=["POST", "PUT"]),
        _route(vault, "/v1/auth/token/lookup-self", own_token, ["GET"]),
        _route(vault, DATA, data, ["GET", "POST", "PUT", "PATCH"]),
        _route(vault, METADATA, metadata, ["GET", "POST", "PUT", "PATCH", "LIST"]),
        Route("/{path:path}", nothing, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "LIST"]),
    ]


def own_token(call: Call) -> dict[str, Any]:
    return {"display_name": call.token.name, "policies": ["default", *call.token.policies], "ttl": 3600}


def data(call: Call) -> dict[str, Any]:
    """A version of a secret is read, or a new one is written."""
    if call.method == "GET":
        found = call.vault.version(call.path, _number(call.query.get("version", "0")))
        return {"data": found.values, "metadata": version_json(call.vault.secret(call.path), found)}
    values, options = call.body.get("data"), call.body.get("options") or {}
    if not isinstance(values, dict):
        raise Problem(400, "no data provided")
    write = call.vault.patch if call.method == "PATCH" else call.vault.write
    made = write(call.path, values, options.get("cas"))
    return version_json(call.vault.secret(call.path), made)


def metadata(call: Call) -> dict[str, Any] | None:
    """What is known of a secret, without its values."""
    if call.method == "LIST" or call.query.get("list") == "true":
        prefix = f"{call.path.rstrip('/')}/" if call.path else ""
        below = {path.removeprefix(prefix).partition("/") for path in call.vault.secrets if path.startswith(prefix)}
        if not below:
            raise Problem(404)
        return {"keys": sorted({f"{name}{slash}" for name, slash, _ in below})}
    secret = call.vault.secret(call.path)
    if call.method == "GET":
        return {
            "cas_required": False,
            "created_time": stamp(secret.created),
            "current_version": secret.current,
            "custom_metadata": secret.custom or None,
            "delete_version_after": "0s",
            "max_versions": secret.max_versions,
            "oldest_version": secret.versions[0].number if secret.versions else 0,
            "updated_time": stamp(secret.updated),
            "versions": {
                str(one.number): {
                    key: value
                    for key, value in version_json(secret, one).items()
                    if key in ("created_time", "deletion_time", "destroyed")
                }
                for one in secret.versions
            },
        }
    given = call.body.get("custom_metadata")
    if given is not None:
        kept = dict(secret.custom) if call.method == "PATCH" else {}
        secret.custom = {key: str(value) for key, value in (kept | given).items() if value is not None}
    secret.max_versions = int(call.body.get("max_versions", secret.max_versions))
    return None


def _route(vault: Vault, path: str, handler: Handler, methods: list[str]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = await _body(vault, request)
            token = vault.known(request.headers.get("X-Vault-Token", ""))
            if request.method == "PATCH" and request.headers.get("content-type") != MERGE_PATCH:
                raise Problem(415, f"PATCH requires Content-Type of {MERGE_PATCH}, provided something else")
            if handler is not own_token:
                asked = request.url.path.partition("/v1/")[2]
                vault.allow(token, asked, CAPABILITIES[request.method])
            within = str(request.path_params.get("path", ""))
            answer = handler(Call(vault, request.method, within, dict(request.query_params), body, token))
        except Problem as problem:
            return _wrong(problem, vault)
        return Response(status_code=204) if answer is None else JSONResponse(_answer(vault, answer))

    return Route(path, endpoint, methods=methods)


async def _body(vault: Vault, request: Request) -> dict[str, Any]:
    if vault.sealed:
        raise Problem(503, "Vault is sealed")
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise Problem(400, "failed to parse JSON input") from None
    if not isinstance(body, dict):
        raise Problem(400, "failed to parse JSON input: not an object")
    return body


def _answer(vault: Vault, content: Any) -> dict[str, Any]:
    return {
        "request_id": vault.new_id(),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": content,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }


def _wrong(problem: Problem, vault: Vault | None = None) -> Response:
    if problem.data is not None and vault is not None:
        return JSONResponse(_answer(vault, problem.data), problem.status)
    return JSONResponse({"errors": problem.errors}, problem.status)


def _number(text: str) -> int:
    if not text.isdigit():
        raise Problem(400, f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax")
    return int(text)
