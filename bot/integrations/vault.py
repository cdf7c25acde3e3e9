"""Vault by hvac: rotate or restore one entry of a KV version 2 secret. Secret values never leave this module.

A mount of KV version 1 keeps no versions, so nothing of it could be undone: it is refused.

Source: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from bot.clock import Clock
from bot.domain.errors import BotError, NotFound, Refused, Unavailable, WrongState
from bot.integrations.base import connection_error, http_error, in_thread, invalid_response
from bot.integrations.effects import effect
from bot.lazy import LazyModule
from bot.tasks import cancel_and_wait
from bot.team import VaultSecret

if TYPE_CHECKING:
    import hvac
    import requests
else:
    hvac, requests = LazyModule("hvac"), LazyModule("requests")


T = TypeVar("T")

SERVICE = "Vault"
GRACE_SECONDS = 0.5  # the thread's own timeout comes first: its error is more precise
MARK = "tamv-bot"  # custom metadata that identifies versions written by the bot
VERSION_MISMATCH = "check-and-set parameter did not match"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
RENEW_BEFORE = 60.0  # seconds
TOKEN_LOOK_SECONDS = 300.0
SEALED = "Vault is sealed"

Form = Literal["base64", "hex"]
GENERATORS: Mapping[Form, Callable[[], str]] = {
    "base64": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "hex": lambda: secrets.token_hex(32),
}

log = logging.getLogger(__name__)
CACHE_TTL = timedelta(minutes=5)
QUERY_TIMEOUT_SECONDS = 1.0  # how long the App Home waits for a fresh answer
SecretRef = tuple[str, str]  # name in the team file, environment


@dataclass(frozen=True, slots=True)
class OwnToken:
    """The bot's token: `ends_in` is None for one that does not end. `login` is a role's, which logs in again.

    `lease` is how long it was given for. A renewable token is renewed in use, but no longer than its most total time.
    """

    name: str
    policies: tuple[str, ...]
    ends_in: timedelta | None
    lease: timedelta
    renewable: bool
    login: bool

    @property
    def runs_out(self) -> bool:
        """True if somebody has to make another one."""
        if self.ends_in is None or self.login:
            return False
        return not self.renewable or self.ends_in < self.lease / 2  # although it has just been renewed


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """State of a secret: its newest version, how many are kept, and the key of the bot's step that wrote this entry."""

    version: int
    kept: int
    written_by: str | None


class Vault:
    """One Vault, by a token or by the role of the pod's service account. `timeout` in seconds applies to each method.

    A renewable token is renewed while it is used, once half of its time is over. Methods raise Unavailable, Refused
    (with Vault's message), WrongState for a mount of KV version 1, and NotFound for a missing secret or entry.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        role: str | None = None,
        timeout: float = 10.0,
        *,
        namespace: str | None = None,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._url = url.rstrip("/")
        self._namespace = namespace
        self._role = role
        self._timeout = timeout
        self._service_account = service_account
        self._token = token
        self._expires: float | None = None  # expiry of the role's token (time.monotonic)
        self._look_at_token = 0.0  # when its remaining time is next looked at (time.monotonic)

    async def state(self, mount: str, path: str, entry: str) -> SecretVersion:
        """Return the current state of a secret."""

        def fetch(client: hvac.Client) -> SecretVersion:
            metadata, value = self._read(client, mount, path, entry)
            writer, _, digest = str((metadata.get("custom_metadata") or {}).get(MARK, "")).rpartition(" ")
            ours = bool(writer) and secrets.compare_digest(digest, _digest(value))
            return SecretVersion(
                int(metadata["current_version"]), int(metadata["max_versions"]) or 10, writer if ours else None
            )

        return await self._call("read the secret", fetch)

    async def updated_at(self, mount: str, path: str) -> datetime:
        """Return when the newest version of a secret was written, whichever entry changed."""

        def fetch(client: hvac.Client) -> datetime:
            metadata = self._metadata(client, mount, path)
            return datetime.fromisoformat(metadata["versions"][str(metadata["current_version"])]["created_time"])

        return await self._call("read the secret's metadata", fetch)

    @effect("vault.rotate")
    async def rotate(self, mount: str, path: str, entry: str, form: Form, version: int, key: str) -> None:
        """Set one entry to 32 new random bytes, over exactly this version; other entries stay unchanged.

        `key` is recorded first, so that a later attempt recognises its own work. Raises WrongState for another version.
        """

        def write(client: hvac.Client) -> None:
            value = GENERATORS[form]()
            self._mark(client, mount, path, key, value)
            body = {"data": {entry: value}, "options": {"cas": version}}
            _patch(client, f"/v1/{mount}/data/{path}", body)

        await self._call("write the secret", write, writes=True, path=path)

    @effect("vault.restore")
    async def restore(self, mount: str, path: str, version: int, over: int) -> None:
        """Write the content of `version` again as the newest version, over exactly the version `over`."""

        def write(client: hvac.Client) -> None:
            old = client.secrets.kv.v2.read_secret_version(
                path, version=version, mount_point=mount, raise_on_deleted_version=True
            )["data"]["data"]
            client.secrets.kv.v2.create_or_update_secret(path, secret=old, cas=over, mount_point=mount)

        await self._call("put the secret back", write, writes=True, path=path)

    async def matches_version(self, mount: str, path: str, version: int) -> bool:
        """Return True if the newest version has the same content as `version`."""

        def compare(client: hvac.Client) -> bool:
            old, newest = (
                client.secrets.kv.v2.read_secret_version(
                    path, version=number, mount_point=mount, raise_on_deleted_version=True
                )
                for number in (version, None)
            )
            return bool(old["data"]["data"] == newest["data"]["data"])

        return await self._call("compare the secret", compare)

    async def check(self) -> OwnToken:
        """Check that Vault is unsealed and the token valid, read-only."""
        return await self._call("check", self._own_token)

    def _own_token(self, client: hvac.Client) -> OwnToken:
        token = client.auth.token.lookup_self()["data"]
        ends_in = timedelta(seconds=int(token["ttl"])) if token.get("expire_time") else None
        name, lease = str(token.get("display_name") or "-"), timedelta(seconds=int(token.get("creation_ttl") or 0))
        renewable, login = bool(token.get("renewable")), self._role is not None
        return OwnToken(name, tuple(token["policies"]), ends_in, lease, renewable, login)

    def _read(self, client: hvac.Client, mount: str, path: str, entry: str) -> tuple[dict[str, Any], str]:
        """Return the metadata and the current value of one entry."""
        metadata = self._metadata(client, mount, path)
        try:
            secret = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
        except hvac.exceptions.InvalidPath as missing:
            raise NotFound("no_such_secret", path=f"{mount}/{path}") from missing
        if entry not in secret["data"]["data"]:
            raise NotFound("no_such_secret", path=f"{mount}/{path} {entry}")
        return metadata, str(secret["data"]["data"][entry])

    @staticmethod
    def _metadata(client: hvac.Client, mount: str, path: str) -> dict[str, Any]:
        try:
            metadata: dict[str, Any] = client.secrets.kv.v2.read_secret_metadata(path, mount_point=mount)["data"]
        except (hvac.exceptions.InvalidPath, hvac.exceptions.Forbidden) as missing:
            if _kv_version(client, mount) == "1":
                raise WrongState("vault_kv1", mount=mount, path=f"{mount}/{path}") from missing
            if isinstance(missing, hvac.exceptions.Forbidden):
                raise
            raise NotFound("no_such_secret", path=f"{mount}/{path}") from missing
        return metadata

    @staticmethod
    def _mark(client: hvac.Client, mount: str, path: str, key: str, value: str) -> None:
        """Record the writer of the next version with a digest of its value, which reveals nothing of 32 random
        bytes.
        """
        body = {"custom_metadata": {MARK: f"{key} {_digest(value)}"}}
        _patch(client, f"/v1/{mount}/metadata/{path}", body)

    def _client(self) -> hvac.Client:
        if self._role and (self._token is None or (self._expires is not None and time.monotonic() > self._expires)):
            self._log_in(self._role)
        client = self._connect(self._token or "")
        if self._role is None and time.monotonic() >= self._look_at_token:
            self._look_at_token = time.monotonic() + TOKEN_LOOK_SECONDS
            self._renew(client)
        return client

    def _connect(self, token: str) -> hvac.Client:
        return hvac.Client(self._url, token=token, timeout=self._timeout / 2, namespace=self._namespace)

    @staticmethod
    def _renew(client: hvac.Client) -> None:
        """Renew the token if half of its time is over. What is refused is no mistake of what the token is used for."""
        try:
            token = client.auth.token.lookup_self()["data"]
            if token.get("renewable") and int(token["ttl"]) < int(token["creation_ttl"]) / 2:
                client.auth.token.renew_self()
        except (hvac.exceptions.VaultError, KeyError, TypeError, ValueError) as problem:
            log.warning("the token of Vault was not renewed: %s", type(problem).__name__)

    def _log_in(self, role: str) -> None:
        """Log in with the pod's service account.

        Source: https://developer.hashicorp.com/vault/docs/auth/kubernetes
        """
        try:
            jwt = self._service_account.read_text(encoding="utf-8").strip()
        except OSError as problem:
            raise Refused("vault_no_account", service=SERVICE, path=str(self._service_account)) from problem
        client = self._connect("")
        granted = client.auth.kubernetes.login(role, jwt, use_token=False)["auth"]
        self._token = str(granted["client_token"])
        self._expires = time.monotonic() + max(0.0, float(granted["lease_duration"]) - RENEW_BEFORE)

    async def _call(self, what: str, action: Callable[[hvac.Client], T], *, writes: bool = False, path: str = "") -> T:
        def run() -> T:
            with self._translate_errors(what, writes=writes, path=path):
                try:
                    return action(self._client())
                except hvac.exceptions.Forbidden:
                    if self._role is None or self._expires is None:
                        raise
                    self._token = None  # the token was revoked early
                    return action(self._client())

        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)

    @contextmanager
    def _translate_errors(self, what: str, *, writes: bool, path: str) -> Iterator[None]:
        try:
            yield
        except hvac.exceptions.VaultError as error:
            raise self._refusal(what, error, writes=writes, path=path) from None  # its text may contain a URL
        except requests.RequestException as error:
            raise connection_error(SERVICE, what, error, seconds=self._timeout, writes=writes) from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise invalid_response(SERVICE, what, writes=writes) from None

    def _refusal(self, what: str, error: hvac.exceptions.VaultError, *, writes: bool, path: str) -> BotError:
        why = "; ".join(str(reason) for reason in error.errors or ()).replace(self._token or "\0", "***")
        if VERSION_MISMATCH in why:
            return WrongState("changed_since", name=path)
        if isinstance(error, hvac.exceptions.RateLimitExceeded):
            return Unavailable("rate_limited", service=SERVICE, what=what, status=429, retry_after=5.0)
        if isinstance(error, hvac.exceptions.VaultDown) and why == SEALED:
            return Unavailable("vault_sealed", service=SERVICE, what=what)
        if isinstance(error, hvac.exceptions.VaultDown):
            return Unavailable("unreachable", service=SERVICE, what=what, status=503, why=why or "HTTP 503")
        return http_error(SERVICE, what, _status(error), why, writes=writes)


def _kv_version(client: hvac.Client, mount: str) -> str | None:
    """Return the version of the KV engine at a mount, as `vault kv` asks for it; None if it is not told."""
    try:
        options = client.adapter.get(f"/v1/sys/internal/ui/mounts/{mount}")["data"].get("options") or {}
    except (hvac.exceptions.VaultError, KeyError):
        return None
    return str(options.get("version") or "1")  # a mount from before versions has no options


def _patch(client: hvac.Client, path: str, body: dict[str, Any]) -> None:
    """Send a JSON merge patch, which leaves other entries unchanged; hvac's `patch` reads and rewrites the secret."""
    client.adapter.request("PATCH", path, json=body, headers={"Content-Type": "application/merge-patch+json"})


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def _status(error: hvac.exceptions.VaultError) -> int:
    names = {
        "InvalidRequest": 400,
        "Unauthorized": 401,
        "Forbidden": 403,
        "InvalidPath": 404,
        "UnsupportedOperation": 405,
    }
    return names.get(type(error).__name__, 500)


class SecretAges:
    """When the secrets of the team file were last written, cached for CACHE_TTL, and longer while Vault is down."""

    def __init__(self, vault: Vault, secrets: Mapping[str, VaultSecret], clock: Clock) -> None:
        self._vault = vault
        self.secrets = secrets
        self._clock = clock
        self._cached: dict[SecretRef, datetime] = {}
        self._fresh_until: datetime | None = None
        self._refresh_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._refresh_task:
            await cancel_and_wait([self._refresh_task])

    async def cached(self) -> Mapping[SecretRef, datetime]:
        """Return when each secret was written; unknown ones are missing."""
        if self._refresh_task is None and not (self._fresh_until and self._clock.now() < self._fresh_until):
            self._refresh_task = asyncio.create_task(self._refresh(), name="secret ages")
        if self._refresh_task:
            await asyncio.wait({self._refresh_task}, timeout=QUERY_TIMEOUT_SECONDS)
        return dict(self._cached)

    async def _refresh(self) -> None:
        try:
            refs = [(name, environment) for name, ref in self.secrets.items() for environment in ref.paths]
            succeeded = await asyncio.gather(*(self._refresh_one(*ref) for ref in refs))
            if all(succeeded):
                self._fresh_until = self._clock.now() + CACHE_TTL
        finally:
            self._refresh_task = None

    async def _refresh_one(self, name: str, environment: str) -> bool:
        secret = self.secrets[name]
        try:
            updated_at = await self._vault.updated_at(secret.mount, secret.paths[environment])
        except BotError as problem:
            log.warning("could not read the age of secret %s in %s: %s", name, environment, problem)
            return False
        self._cached[name, environment] = updated_at
        return True
