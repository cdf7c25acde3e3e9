"""Vault's state: secrets with their versions, tokens, policies."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from sandbox.clock import Clock

SEED = Path(__file__).with_name("seed.yaml")
ROOT_TOKEN = "hvs.sandboxRootTokenOfTheVault"
BOT_TOKEN = "hvs.sandboxTokenOfTheTamvBot00"
GUEST_TOKEN = "hvs.sandboxTokenOfAGuest000000"
BOT_ROLE = "tamv-bot"
SERVICE_ACCOUNT_TOKEN = "eyJhbGciOiJSUzI1NiJ9.sandbox.service-account-of-the-bot"  # what stands in the bot's pod
LEASE = timedelta(hours=1)
MOUNT = "secret"
KEPT = 10  # versions, where a secret does not say another number


class Problem(Exception):
    """Vault's answer when something is wrong: a status and its own words."""

    def __init__(self, status: int, *errors: str, data: Any = None) -> None:
        super().__init__(status, *errors)
        self.status, self.errors, self.data = status, list(errors), data


@dataclass
class Version:
    """`values` is None once it is destroyed."""

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
    """`ends` is None for one that has no end."""

    name: str
    policies: tuple[str, ...]
    ends: datetime | None = None


class Vault:
    """One Vault with the KV engine at `secret/`. `sealed` and `roles` may be changed by who tries something out."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sealed = False
        self.secrets: dict[str, Secret] = {}
        raw = yaml.safe_load(SEED.read_text("utf-8"))
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
            first = Version(1, since, {key: _made_up(f"{name}/{key}") for key in keys})
            self.secrets[name] = Secret(since, since, [first], current=1)

    def read(self, path: str) -> Mapping[str, str] | None:
        """The newest values of a path, as External Secrets reads them; None when there are none."""
        try:
            values = self.version(path).values
        except Problem:
            return None
        return {key: str(value) for key, value in (values or {}).items()}

    # --- who is let in

    def log_in(self, role: str, jwt: str) -> tuple[str, Token]:
        """A token for the role of a service account. Problem 400 or 403."""
        if role not in self.roles:
            raise Problem(400, f'invalid role name "{role}"')
        known, policies = self.roles[role]
        if jwt != known:
            raise Problem(403, "permission denied")
        token = f"hvs.{uuid.uuid4().hex}"
        self.tokens[token] = Token(f"kubernetes-{role}", policies, self.clock.now() + LEASE)
        return token, self.tokens[token]

    def known(self, token: str) -> Token:
        """Problem 403 for a token that is none, or has run out."""
        found = self.tokens.get(token)
        if found is None or (found.ends is not None and found.ends <= self.clock.now()):
            raise Problem(403, "permission denied")
        return found

    def allow(self, token: Token, path: str, capability: str) -> None:
        """Problem 403 unless one of the token's policies has the capability on the path."""
        if "root" in token.policies:
            return
        for policy in token.policies:
            for pattern, capabilities in self._policies.get(policy, {}).items():
                if fnmatchcase(path, pattern) and capability in capabilities:
                    return
        raise Problem(403, "1 error occurred:\n\t* permission denied\n\n")

    # --- secrets

    def secret(self, path: str) -> Secret:
        """Problem 404 if there is none."""
        if path not in self.secrets:
            raise Problem(404)
        return self.secrets[path]

    def version(self, path: str, number: int = 0) -> Version:
        """A version, the newest for 0. Problem 404 for one that is not there, deleted or destroyed."""
        secret = self.secret(path)
        wanted = number or secret.current
        found = next((one for one in secret.versions if one.number == wanted), None)
        if found is None:
            raise Problem(404)
        if found.deleted or found.values is None:
            raise Problem(404, data={"data": None, "metadata": version_json(secret, found)})
        return found

    def write(self, path: str, values: dict[str, Any], cas: int | None = None) -> Version:
        """A new version with these values. Problem 400 when `cas` is not the number of the newest one."""
        now = self.clock.now()
        secret = self.secrets.get(path)
        if cas is not None and cas != (secret.current if secret else 0):
            raise Problem(400, "check-and-set parameter did not match the current version")
        secret = self.secrets.setdefault(path, Secret(now, now))
        secret.current += 1
        secret.updated = now
        made = Version(secret.current, now, dict(values))
        secret.versions.append(made)
        del secret.versions[: -(secret.max_versions or KEPT)]
        return made

    def patch(self, path: str, values: dict[str, Any], cas: int | None) -> Version:
        """A new version in which only these values differ; null takes one away (RFC 7396). Problem 404 without one."""
        merged = _merged(self.version(path).values or {}, values)
        return self.write(path, merged, cas)

    def new_id(self) -> str:
        return str(uuid.UUID(int=next(self._numbers)))


def version_json(secret: Secret, version: Version) -> dict[str, Any]:
    return {
        "created_time": stamp(version.created),
        "custom_metadata": secret.custom or None,
        "deletion_time": stamp(version.deleted) if version.deleted else "",
        "destroyed": version.values is None,
        "version": version.number,
    }


def stamp(at: datetime) -> str:
    """Nanoseconds, as Go writes them."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z"


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return new
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _made_up(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:40]
