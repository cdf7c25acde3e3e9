"""One repository at GitHub by PyGithub: signed in, in threads, with a deadline; its mistakes named."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable
from bot.integrations.base import connection_error, http_error, in_thread, invalid_response, parse_retry_after
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import github
    import requests
    from github.Auth import Auth
    from github.Repository import Repository
else:
    github, requests = LazyModule("github"), LazyModule("requests")


T = TypeVar("T")

SERVICE = "GitHub"
GRACE_SECONDS = 0.5  # seconds; the thread ends by itself before it is given up, and knows better what went wrong
# What PyGithub and our reading raise over an answer that is not GitHub's, besides its own BadAttributeException.
MALFORMED = (AssertionError, KeyError, TypeError, AttributeError, ValueError, RuntimeError)


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App. Its private key is PEM; one from an environment variable may have `\\n` for line breaks."""

    id: str
    private_key: str = field(repr=False)

    @property
    def pem(self) -> str:
        return self.private_key.replace("\\n", "\n")


@dataclass(frozen=True)
class ThreadContext:
    """One method's work in its thread."""

    client: github.Github
    repository: Repository
    what: str
    until: float
    timeout: float

    def before_writing(self) -> None:
        """Unavailable unless a write's answer can still come before the caller is told that the time is over.

        Else it could be carried out after the caller has looked for its effect and begun anew.
        """
        if self.until - time.monotonic() < self.timeout / 2:
            raise Unavailable("timed_out", service=SERVICE, what=self.what, seconds=self.timeout)


class Session:
    """One repository, by a token or as a GitHub App. `timeout` in seconds holds for each piece of work as a whole.

    `seconds_between_writes`: GitHub asks for one between many; the few that make an issue may come closer.
    """

    def __init__(
        self,
        token: str | None,
        repository: str,
        api_url: str,
        timeout: float,
        *,
        app: App | None = None,
        seconds_between_writes: float = 0.25,
    ) -> None:
        self._token = token
        self._app = app
        self._repository = repository
        self._timeout = timeout
        self._client: dict[str, Any] = {
            "base_url": api_url.rstrip("/"),
            "timeout": max(1, int(timeout / 2)),
            "per_page": 100,
            "retry": None,
            "seconds_between_requests": None,
            "seconds_between_writes": seconds_between_writes,
            "lazy": True,
        }
        self._own = threading.local()  # PyGithub keeps a request in its connection: no two threads may share one
        self._installation: int | None = None
        self._login: str | None = None

    @property
    def is_app(self) -> bool:
        return self._app is not None

    def login(self, work: ThreadContext) -> str:
        """Who we are there, inside a piece of work."""
        if self._login is None:
            if self._token or self._app is None:
                self._login = str(work.client.get_user().login)
            else:
                integration = github.GithubIntegration(
                    auth=github.Auth.AppAuth(self._app.id, self._app.pem), **self._client
                )
                self._login = f"{integration.get_app().slug}[bot]"
        return self._login

    async def call(self, what: str, action: Callable[[ThreadContext], T], *, writes: bool = False) -> T:
        """What `action` gives, in a thread. `writes`: it may have been done although its answer was lost.

        Raises Unavailable (try again, with `retry_after` at a rate limit: no thread waits for it) or Refused (GitHub's
        own words as `why`); without token and app, Off.
        """

        def run() -> T:
            with self._translate_errors(what, writes=writes):
                client = self._signed_in()
                return action(ThreadContext(client, client.get_repo(self._repository), what, until, self._timeout))

        until = time.monotonic() + self._timeout
        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)

    def _signed_in(self) -> github.Github:
        if not hasattr(self._own, "client"):
            self._own.client = github.Github(auth=self._auth(), **self._client)
        client: github.Github = self._own.client
        return client

    def _auth(self) -> Auth:
        if self._token:
            return github.Auth.Token(self._token)
        if self._app is None:
            raise NotConfigured("github_off")
        app = github.Auth.AppAuth(self._app.id, self._app.pem)
        try:
            app.create_jwt()
        except Exception as error:  # each kind of broken key has its own, of three libraries
            raise Refused("github_key_wrong", service=SERVICE) from error
        if self._installation is None:
            integration = github.GithubIntegration(auth=app, **self._client)
            self._installation = integration.get_repo_installation(*self._repository.split("/")).id
        return app.get_installation_auth(self._installation)

    @contextmanager
    def _translate_errors(self, what: str, *, writes: bool) -> Iterator[None]:
        try:
            yield
        except github.IncompletableObject as error:
            raise invalid_response(SERVICE, what, writes=writes) from error
        except github.GithubException as error:
            raise self._refusal(what, error, writes=writes) from error
        except requests.RequestException as error:
            raise connection_error(SERVICE, what, error, seconds=self._timeout, writes=writes) from error
        except (github.BadAttributeException, *MALFORMED) as error:
            raise invalid_response(SERVICE, what, writes=writes) from error

    def _refusal(self, what: str, error: github.GithubException, *, writes: bool) -> BotError:
        """https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit"""
        why = error_message(error.data).replace(self._token or "\0", "***")
        headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
        wait = None
        if error.status in (403, 429):
            wait = parse_retry_after(headers, "Retry-After")
            if wait is None and headers.get("x-ratelimit-remaining") == "0":
                reset = parse_retry_after(headers, "x-ratelimit-reset") or 0.0
                wait = max(1.0, reset - time.time())
            elif wait is None and "rate limit" in why.lower():
                wait = 60.0
        return http_error(SERVICE, what, error.status, why, retry_after=wait, writes=writes)


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


def error_message(data: Any) -> str:
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
