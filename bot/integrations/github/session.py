"""The connection to one GitHub repository by PyGithub: authentication, threads, deadlines, errors."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.client import GONE
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
log = logging.getLogger(__name__)

SERVICE = "GitHub"
GRACE_SECONDS = 0.5  # the thread's own timeout comes first: its error is more precise
NAME_SECONDS = 600.0  # how long the repository's name is taken to be as it was read
# What PyGithub and our parsing raise for a response that is not GitHub's, besides BadAttributeException.
MALFORMED = (AssertionError, KeyError, TypeError, AttributeError, ValueError, RuntimeError)


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App. Its private key is PEM; in an environment variable `\\n` may stand for line breaks."""

    id: str
    private_key: str = field(repr=False)

    @property
    def pem(self) -> str:
        return self.private_key.replace("\\n", "\n")


@dataclass(frozen=True)
class ThreadContext:
    """What one call uses in its thread: the client, the repository, and the deadline `until` (time.monotonic)."""

    client: github.Github
    repository: Repository
    what: str
    until: float
    timeout: float

    def before_writing(self) -> None:
        """Raise Unavailable if a write's response could arrive after the deadline.

        Otherwise the write could take effect after the caller looked for it and started again.
        """
        if self.until - time.monotonic() < self.timeout / 2:
            raise Unavailable("timed_out", service=SERVICE, what=self.what, seconds=self.timeout)


class Session:
    """One repository, by a token or as a GitHub App. `timeout` in seconds applies to each call as a whole.

    `seconds_between_writes`: GitHub asks for 1 s between many writes; the few that create an issue may be closer.
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
        self.repository = repository
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
        self._thread_local = threading.local()  # PyGithub's connections are not thread-safe
        self._name = repository
        self._name_until = 0.0  # time.monotonic
        self._installation: int | None = None
        self._login: str | None = None

    @property
    def is_app(self) -> bool:
        return self._app is not None

    def login(self, context: ThreadContext) -> str:
        """Return the bot's own login, for use inside a call."""
        if self._login is None:
            if self._token or self._app is None:
                self._login = str(context.client.get_user().login)
            else:
                integration = github.GithubIntegration(
                    auth=github.Auth.AppAuth(self._app.id, self._app.pem), **self._client
                )
                self._login = f"{integration.get_app().slug}[bot]"
        return self._login

    async def call(self, what: str, action: Callable[[ThreadContext], T], *, writes: bool = False) -> T:
        """Return the result of `action`, run in a thread. A write whose response is lost is `uncertain`.

        Raises Unavailable (with `retry_after` at a rate limit; no thread waits for it) or Refused (with GitHub's
        message as `why`); NotConfigured without token and app.
        """

        def run() -> T:
            with self._translate_errors(what, writes=writes):
                client = self._signed_in()
                repository = client.get_repo(self._present_name(client))
                return action(ThreadContext(client, repository, what, until, self._timeout))

        until = time.monotonic() + self._timeout
        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)

    def _present_name(self, client: github.Github) -> str:
        """Return the repository's name, which may have changed since it was configured.

        GitHub redirects a former name, but PyGithub follows without the query and follows no write: a filtered list
        would have everything in it.
        """
        if time.monotonic() >= self._name_until:
            name = client.get_repo(self.repository).complete().full_name
            if not isinstance(name, str) or name.count("/") != 1:
                raise ValueError("no repository")
            if name.casefold() != self._name.casefold():
                log.warning("the repository %s is called %s now: change GITHUB_REPOSITORY", self.repository, name)
            self._name, self._name_until = name, time.monotonic() + NAME_SECONDS
        return self._name

    def _signed_in(self) -> github.Github:
        if not hasattr(self._thread_local, "client"):
            self._thread_local.client = github.Github(auth=self._auth(), **self._client)
        client: github.Github = self._thread_local.client
        return client

    def _auth(self) -> Auth:
        if self._token:
            return github.Auth.Token(self._token)
        if self._app is None:
            raise NotConfigured("github_off")
        app = github.Auth.AppAuth(self._app.id, self._app.pem)
        try:
            app.create_jwt()
        except Exception as error:  # invalid keys raise errors of three libraries
            raise Refused("github_key_wrong", service=SERVICE) from error
        if self._installation is None:
            integration = github.GithubIntegration(auth=app, **self._client)
            self._installation = integration.get_repo_installation(*self.repository.split("/")).id
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
        """Return the error of a rejected request.

        Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
        """
        why = error_message(error.data).replace(self._token or "\0", "***")
        if error.status == GONE:  # only issues that are disabled answer so
            return Refused("github_no_issues", service=SERVICE, repository=self._name)
        headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
        wait = 60.0 if _graphql_limit(error.data) else None
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
    """An issue. `state` is open or closed, people are logins; `unassigned` could not be assigned."""

    number: int
    url: str
    title: str
    state: str
    assignees: tuple[str, ...]
    unassigned: tuple[str, ...] = ()
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment. `state` is GitHub's word for its latest status; None without one."""

    id: int
    sha: str
    ref: str
    environment: str
    service: str | None
    state: str | None
    description: str
    creator: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Merge:
    """A pull request that was merged: by its author's login."""

    number: int
    title: str
    url: str
    author: str
    at: datetime


def verify_signature(header: str, body: bytes, secret: str) -> bool:
    """Return True if a webhook is from GitHub: X-Hub-Signature-256 is `sha256=` and the HMAC-SHA256 of the raw body.

    Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    expected = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    return bool(secret) and hmac.compare_digest(header.encode(), expected.encode())


def marker(key: str) -> str:
    """Return the hidden last line that identifies an issue of the bot.

    ValueError for a key that could break the comment.
    """
    if not re.fullmatch(r"[\w./:#-]+", key) or "--" in key:
        raise ValueError(f"no key for a marker: {key!r}")
    return f"<!-- tamv-bot:{key} -->"


def error_message(data: Any) -> str:
    """Return GitHub's reason for a rejected request."""
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
    """Return the logins that cannot be assigned; empty if the response names none, None for another error."""
    errors = data.get("errors") if isinstance(data, dict) else None
    entries = [
        entry for entry in errors or () if isinstance(entry, dict) and entry.get("field") in ("assignees", "assignee")
    ]
    if not entries:
        return None
    values = (entry.get("value") for entry in entries)
    return {str(login) for value in values for login in (value if isinstance(value, list) else [value]) if login}


def _graphql_limit(data: Any) -> bool:
    """Return True for GraphQL's answer at a rate limit, which has status 200.

    Source: https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api
    """
    errors = data.get("errors") if isinstance(data, dict) else None
    return any(isinstance(entry, dict) and entry.get("type") == "RATE_LIMITED" for entry in errors or ())


def exists_already(data: Any) -> bool:
    errors = data.get("errors") if isinstance(data, dict) else None
    return any(isinstance(entry, dict) and entry.get("code") == "already_exists" for entry in errors or ())


def service_of(payload: Any) -> str | None:
    """Return the service named in a deployment's payload, which is an object or its JSON text."""
    try:
        content = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        return None
    return str(content["service"]) if isinstance(content, dict) and content.get("service") else None


def without(wanted: Sequence[str], assigned: Sequence[str]) -> tuple[str, ...]:
    """Return the `wanted` logins that were not assigned; logins are case-insensitive."""
    existing = {login.casefold() for login in assigned}
    return tuple(login for login in dict.fromkeys(wanted) if login.casefold() not in existing)
