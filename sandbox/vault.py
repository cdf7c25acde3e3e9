"""Vault: the KV engine version 2, tokens, policies, login by a Kubernetes service account. vault.yaml is the seed.

https://developer.hashicorp.com/vault/api-docs
"""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import yaml_file
from sandbox.clock import Clock

SEED = Path(__file__).with_name("vault.yaml")
ROOT_TOKEN = "hvs.sandboxRootTokenOfTheVault"
BOT_TOKEN = "hvs.sandboxTokenOfTheTamvBot00"
GUEST_TOKEN = "hvs.sandboxTokenOfAGuest000000"
BOT_ROLE = "tamv-bot"
SERVICE_ACCOUNT_TOKEN = "eyJhbGciOiJSUzI1NiJ9.sandbox.service-account-of-the-bot"  # mounted in the bot's pod
LEASE = timedelta(hours=1)
MOUNT = "secret"
DEFAULT_MAX_VERSIONS = 10  # of a secret that sets no other number
MERGE_PATCH = "application/merge-patch+json"
CAPABILITIES = {"GET": "read", "POST": "update", "PUT": "update", "PATCH": "patch", "LIST": "list"}
DATA, METADATA = f"/v1/{MOUNT}/data/{{path:path}}", f"/v1/{MOUNT}/metadata/{{path:path}}"


class Problem(Exception):
    """Vault's error response: a status and its messages."""

    def __init__(self, status: int, *errors: str, data: Any = None) -> None:
        super().__init__(status, *errors)
        self.status, self.errors, self.data = status, list(errors), data


@dataclass
class Version:
    """One version of a secret. `values` is None once it is destroyed."""

    number: int
    created: datetime
    values: dict[str, Any] | None
    deleted: datetime | None = None


@dataclass
class Secret:
    created: datetime
    updated: datetime
    versions: list[Version] = field(default_factory=list)
    current: int = 0
    max_versions: int = 0
    custom: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Token:
    """A token. `ends` is None for one that does not expire; a renewable one gets another `lease`, up to `most`."""

    name: str
    policies: tuple[str, ...]
    ends: datetime | None = None
    renewable: bool = False
    lease: timedelta = LEASE
    most: datetime | None = None


class Vault:
    """One Vault with the KV engine at `secret/`. Tests may change `sealed`, `roles`, `namespace` and `kv_version`.

    With a `namespace` it is an Enterprise one: everything is in that. With `kv_version` 1 the engine keeps no versions.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sealed = False
        self.namespace = ""
        self.kv_version: Literal[1, 2] = 2
        self.secrets: dict[str, Secret] = {}
        raw = yaml_file.read(SEED)
        self._policies: dict[str, dict[str, list[str]]] = raw["policies"]
        self.tokens = {
            ROOT_TOKEN: Token("root", ("root",)),
            BOT_TOKEN: Token("token-tamv-bot", ("tamv-bot",)),
            GUEST_TOKEN: Token("token-guest", ("guest",)),
        }
        self.roles = {BOT_ROLE: (SERVICE_ACCOUNT_TOKEN, ("tamv-bot",))}
        self._numbers = itertools.count(1)
        for namespace, (path, keys) in itertools.product(raw["namespaces"], raw["paths"].items()):
            name, since = f"{namespace}/{path}", clock.now() - timedelta(days=raw["ages"][path])
            first = Version(1, since, {key: _placeholder(f"{name}/{key}") for key in keys})
            self.secrets[name] = Secret(since, since, [first], current=1)

    def read(self, path: str) -> Mapping[str, str] | None:
        """Return the newest values of a path, as External Secrets reads them; None when there are none."""
        try:
            values = self.version(path).values
        except Problem:
            return None
        return {key: str(value) for key, value in (values or {}).items()}

    # Authentication and policies.

    def log_in(self, role: str, jwt: str) -> tuple[str, Token]:
        """Return a new token for the role of a service account. Raises Problem 400 or 403."""
        if role not in self.roles:
            raise Problem(400, f'invalid role name "{role}"')
        expected, policies = self.roles[role]
        if jwt != expected:
            raise Problem(403, "permission denied")
        token = f"hvs.{uuid.uuid4().hex}"
        self.tokens[token] = Token(f"kubernetes-{role}", policies, self.clock.now() + LEASE, renewable=True)
        return token, self.tokens[token]

    def authenticate(self, token: str) -> Token:
        """Raise Problem 403 for an unknown or expired token."""
        entry = self.tokens.get(token)
        if entry is None or (entry.ends is not None and entry.ends <= self.clock.now()):
            raise Problem(403, "permission denied")
        return entry

    def renew(self, token: str) -> Token:
        """Give a token another lease. Raises Problem 400 if it is not renewable."""
        entry = self.authenticate(token)
        if not entry.renewable:
            raise Problem(400, "lease is not renewable")
        ends = self.clock.now() + entry.lease
        self.tokens[token] = replace(entry, ends=min(ends, entry.most or ends))
        return self.tokens[token]

    def allow(self, token: Token, path: str, capability: str) -> None:
        """Raise Problem 403 unless one of the token's policies has the capability on the path."""
        if "root" in token.policies:
            return
        for policy in token.policies:
            for pattern, capabilities in self._policies.get(policy, {}).items():
                if fnmatchcase(path, pattern) and capability in capabilities:
                    return
        raise Problem(403, "1 error occurred:\n\t* permission denied\n\n")

    # Secrets.

    def secret(self, path: str) -> Secret:
        """Raise Problem 404 if there is none."""
        if path not in self.secrets:
            raise Problem(404)
        return self.secrets[path]

    def version(self, path: str, number: int = 0) -> Version:
        """Return a version, the newest for 0. Raises Problem 404 for a missing, deleted or destroyed one."""
        secret = self.secret(path)
        number = number or secret.current
        version = next((version for version in secret.versions if version.number == number), None)
        if version is None:
            raise Problem(404)
        if version.deleted or version.values is None:
            raise Problem(404, data={"data": None, "metadata": version_json(secret, version)})
        return version

    def write(self, path: str, values: dict[str, Any], cas: int | None = None) -> Version:
        """Add a version with these values. Raises Problem 400 when `cas` is not the number of the newest one."""
        now = self.clock.now()
        secret = self.secrets.get(path)
        if cas is not None and cas != (secret.current if secret else 0):
            raise Problem(400, "check-and-set parameter did not match the current version")
        secret = self.secrets.setdefault(path, Secret(now, now))
        secret.current += 1
        secret.updated = now
        version = Version(secret.current, now, dict(values))
        secret.versions.append(version)
        del secret.versions[: -(secret.max_versions or DEFAULT_MAX_VERSIONS)]
        return version

    def patch(self, path: str, values: dict[str, Any], cas: int | None) -> Version:
        """Add a version in which only these values differ; null removes one (RFC 7396). Raises Problem 404."""
        merged = _merge(self.version(path).values or {}, values)
        return self.write(path, merged, cas)

    def new_id(self) -> str:
        return str(uuid.UUID(int=next(self._numbers)))


def _merge(old: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return new
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _placeholder(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:40]


# The JSON of answers.


def version_json(secret: Secret, version: Version) -> dict[str, Any]:
    return {
        "created_time": stamp(version.created),
        "custom_metadata": secret.custom or None,
        "deletion_time": stamp(version.deleted) if version.deleted else "",
        "destroyed": version.values is None,
        "version": version.number,
    }


def stamp(at: datetime) -> str:
    """Format with nanoseconds, as Go does."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z"


def _envelope(vault: Vault, content: Any) -> dict[str, Any]:
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


def _error(problem: Problem, vault: Vault | None = None) -> Response:
    if problem.data is not None and vault is not None:
        return JSONResponse(_envelope(vault, problem.data), problem.status)
    return JSONResponse({"errors": problem.errors}, problem.status)


# The HTTP API.


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
    """Return the routes, without a prefix."""

    async def health(_: Request) -> Response:
        body = {"initialized": True, "sealed": vault.sealed, "standby": False, "version": "1.21.1"}
        return JSONResponse(body, 503 if vault.sealed else 200)

    async def log_in(request: Request) -> Response:
        try:
            body = await _body(vault, request)
            token, granted = vault.log_in(str(body.get("role")), str(body.get("jwt")))
        except Problem as problem:
            return _error(problem)
        return _granted(vault, token, granted)

    async def renew(request: Request) -> Response:
        try:
            await _body(vault, request)
            token = request.headers.get("X-Vault-Token", "")
            return _granted(vault, token, vault.renew(token))
        except Problem as problem:
            return _error(problem)

    async def mount(request: Request) -> Response:
        """Answer as `vault kv` asks before each command: whoever may use the mount may see its version."""
        try:
            await _body(vault, request)
            vault.authenticate(request.headers.get("X-Vault-Token", ""))
            if request.path_params["path"].strip("/").partition("/")[0] != MOUNT:
                raise Problem(403, "permission denied")
        except Problem as problem:
            return _error(problem)
        options = {"version": str(vault.kv_version)}
        return JSONResponse(_envelope(vault, {"path": f"{MOUNT}/", "type": "kv", "options": options}))

    async def nothing(_: Request) -> Response:
        return _error(Problem(404, "no handler for route"))

    return [
        Route("/v1/sys/health", health),
        Route("/v1/auth/kubernetes/login", log_in, methods=["POST", "PUT"]),
        Route("/v1/auth/token/renew-self", renew, methods=["POST", "PUT"]),
        Route("/v1/sys/internal/ui/mounts/{path:path}", mount),
        _route(vault, "/v1/auth/token/lookup-self", own_token, ["GET"]),
        _route(vault, DATA, data, ["GET", "POST", "PUT", "PATCH"]),
        _route(vault, METADATA, metadata, ["GET", "POST", "PUT", "PATCH", "LIST"]),
        Route("/{path:path}", nothing, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "LIST"]),
    ]


def _granted(vault: Vault, token: str, granted: Token) -> Response:
    auth = {
        "client_token": token,
        "policies": list(granted.policies),
        "lease_duration": int(granted.lease.total_seconds()),
        "renewable": granted.renewable,
    }
    return JSONResponse(_envelope(vault, None) | {"auth": auth})


def _route(vault: Vault, path: str, handler: Handler, methods: list[str]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = await _body(vault, request)
            token = vault.authenticate(request.headers.get("X-Vault-Token", ""))
            if request.method == "PATCH" and request.headers.get("content-type") != MERGE_PATCH:
                raise Problem(415, f"PATCH requires Content-Type of {MERGE_PATCH}, provided something else")
            if handler is not own_token:
                full_path = request.url.path.partition("/v1/")[2]
                vault.allow(token, full_path, CAPABILITIES[request.method])
                if vault.kv_version == 1:  # a path of another engine: nothing is kept under `data` or `metadata`
                    raise Problem(404)
            path_in_mount = str(request.path_params.get("path", ""))
            answer = handler(Call(vault, request.method, path_in_mount, dict(request.query_params), body, token))
        except Problem as problem:
            return _error(problem, vault)
        return Response(status_code=204) if answer is None else JSONResponse(_envelope(vault, answer))

    return Route(path, endpoint, methods=methods)


async def _body(vault: Vault, request: Request) -> dict[str, Any]:
    if vault.sealed:
        raise Problem(503, "Vault is sealed")
    if vault.namespace and request.headers.get("X-Vault-Namespace", "").strip("/") != vault.namespace:
        raise Problem(403, "permission denied")
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise Problem(400, "failed to parse JSON input") from None
    if not isinstance(body, dict):
        raise Problem(400, "failed to parse JSON input: not an object")
    return body


def own_token(call: Call) -> dict[str, Any]:
    token, now = call.token, call.vault.clock.now()
    return {
        "display_name": token.name,
        "policies": ["default", *token.policies],
        "ttl": int((token.ends - now).total_seconds()) if token.ends else 0,
        "creation_ttl": int(token.lease.total_seconds()) if token.ends else 0,
        "expire_time": stamp(token.ends) if token.ends else None,
        "renewable": token.renewable,
    }


def data(call: Call) -> dict[str, Any]:
    """Read a version of a secret, or write a new one."""
    if call.method == "GET":
        version = call.vault.version(call.path, _number(call.query.get("version", "0")))
        return {"data": version.values, "metadata": version_json(call.vault.secret(call.path), version)}
    values, options = call.body.get("data"), call.body.get("options") or {}
    if not isinstance(values, dict):
        raise Problem(400, "no data provided")
    write = call.vault.patch if call.method == "PATCH" else call.vault.write
    version = write(call.path, values, options.get("cas"))
    return version_json(call.vault.secret(call.path), version)


def metadata(call: Call) -> dict[str, Any] | None:
    """Read, list or change the metadata of secrets."""
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
                str(version.number): {
                    key: value
                    for key, value in version_json(secret, version).items()
                    if key in ("created_time", "deletion_time", "destroyed")
                }
                for version in secret.versions
            },
        }
    custom = call.body.get("custom_metadata")
    if custom is not None:
        previous = dict(secret.custom) if call.method == "PATCH" else {}
        secret.custom = {key: str(value) for key, value in (previous | custom).items() if value is not None}
    secret.max_versions = int(call.body.get("max_versions", secret.max_versions))
    return None


def _number(text: str) -> int:
    if not text.isdigit():
        raise Problem(400, f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax")
    return int(text)
