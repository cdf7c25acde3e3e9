"""What comes from GitHub: issues, deployments, refusals, and whether a webhook is its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue. `state` is open or closed, people are logins; `unassigned` were wanted and could not be assigned."""

    number: int
    url: str
    title: str
    state: str
    assignees: tuple[str, ...]
    unassigned: tuple[str, ...] = ()
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Something that was deployed. `state` is GitHub's word for how it went; None while nothing was said."""

    id: int
    sha: str
    ref: str
    environment: str
    service: str | None
    state: str | None
    description: str
    creator: str
    at: datetime


def verify_signature(header: str, body: bytes, secret: str) -> bool:
    """Whether a webhook is GitHub's: X-Hub-Signature-256 is `sha256=` and the HMAC-SHA256 of the raw body.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    expected = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    return bool(secret) and hmac.compare_digest(header.encode(), expected.encode())


def marker(key: str) -> str:
    """The hidden last line of an issue's body by which we find it again. ValueError when the key could end it."""
    if not re.fullmatch(r"[\w./:#-]+", key) or "--" in key:
        raise ValueError(f"no key for a marker: {key!r}")
    return f"<!-- tamv-bot:{key} -->"


def words(data: Any) -> str:
    """Why a request was refused, in GitHub's words."""
    if not isinstance(data, dict):
        return ""
    reasons = [str(data.get("message") or "")]
    for error in data.get("errors") or ():
        if isinstance(error, dict):
            reasons.append(str(error.get("message") or f"{error.get('field')} {error.get('code')}"))
        else:
            reasons.append(str(error))
    return ": ".join(dict.fromkeys(filter(None, reasons)))


def invalid_assignees(data: Any) -> set[str] | None:
    """Who the answer says cannot be assigned; empty if it does not name them, None if that is not what is wrong."""
    errors = data.get("errors") if isinstance(data, dict) else None
    about = [
        entry for entry in errors or () if isinstance(entry, dict) and entry.get("field") in ("assignees", "assignee")
    ]
    if not about:
        return None
    values = (entry.get("value") for entry in about)
    return {str(login) for value in values for login in (value if isinstance(value, list) else [value]) if login}


def exists_already(data: Any) -> bool:
    errors = data.get("errors") if isinstance(data, dict) else None
    return any(isinstance(entry, dict) and entry.get("code") == "already_exists" for entry in errors or ())


def service_of(payload: Any) -> str | None:
    """The service that a deployment's payload names; GitHub keeps it as an object or as its JSON text."""
    try:
        content = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        return None
    return str(content["service"]) if isinstance(content, dict) and content.get("service") else None


def without(wanted: Sequence[str], assigned: Sequence[str]) -> tuple[str, ...]:
    """Those wanted who were not assigned; GitHub does not care for the case of a login."""
    there = {login.casefold() for login in assigned}
    return tuple(login for login in dict.fromkeys(wanted) if login.casefold() not in there)
