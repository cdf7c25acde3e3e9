"""GitHub: the repository and what happens to it, people at its web page, rate limits, and webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from sandbox.clock import Clock
from sandbox.company import Company
from sandbox.github import shapes
from sandbox.github.code import Actions, Code, blob_sha
from sandbox.github.state import BOT, Comment, Delivery, Hook, Issue, Links, Problem, Pull, Repository
from sandbox.github.tracker import Tracker

WEBHOOK_SECRET = "sandbox-github-webhook-secret"
APP_ID = "4242"
INSTALLATION_ID = 424242
HOOK_EVENTS = ("issues", "pull_request", "pull_request_review", "workflow_run")
RATE_LIMIT = 5000
RATE_WINDOW = timedelta(hours=1)
TIMEOUT = 10.0  # real seconds


class GitHub(Repository):
    """A repository that acts: issues change by `tracker`, code by `code`, deployments and runs by `actions`.

    A GitHub App signs in with APP_ID. `index_delay` is how many seconds of world time the search index is behind.
    Call it inside the running event loop: changes send webhooks in the background.
    """

    def __init__(
        self,
        company: Company,
        clock: Clock,
        *,
        deliverer: Deliverer | None = None,
        index_delay: float = 0.0,
    ) -> None:
        super().__init__(company, clock)
        self.deliverer = deliverer or Deliverer()
        self.index_delay = index_delay
        self.tracker = Tracker(self, self.send_webhook)
        self.actions = Actions(self, self.send_webhook)
        self.code = Code(self, self.send_webhook, self.tracker, self.actions)
        self.rate_limit: int | None = RATE_LIMIT  # None: a GitHub Enterprise Server that counts nothing
        self._used = 0
        self._window_ends = clock.now() + RATE_WINDOW
        self._secondary_limits: deque[Mapping[str, str]] = deque()

    @property
    def address(self) -> str:
        """Where Git clones it from."""
        return f"{self.web_links.web_repo}.git"

    def files(self, revision: str) -> tuple[str, Mapping[str, str]]:
        """Return the commit of a branch (`HEAD` is the default branch), a tag or a commit, and its files by path."""
        found = self.commit_of(None if revision == "HEAD" else revision)
        return found.sha, found.files

    def commit(self, path: str, text: str, message: str) -> None:
        """Write a file on the default branch, as its first person."""
        present = self.commit_of(None).files.get(path)
        replaces = blob_sha(present) if present is not None else None
        self.code.put_file(path, text, message, next(iter(self.users)), branch=self.default_branch, replaces=replaces)

    def person(self, key: str) -> PersonAtGitHub:
        """Return a person at GitHub's web page, by handle, e-mail or login. Raises KeyError."""
        return PersonAtGitHub(self, self.company.person(key).github)

    def add_hook(self, url: str, secret: str, events: Sequence[str] = HOOK_EVENTS) -> Hook:
        """Send these events to `url`, beginning with a ping."""
        hook = Hook(self.new_id(), url, secret, tuple(events), self.clock.now())
        self.hooks.append(hook)
        payload = {
            "zen": "Keep it logically awesome.",
            "hook_id": hook.id,
            "hook": shapes.hook_json(self, hook),
            "repository": shapes.repository_json(self, self.web_links),
            "sender": shapes.user_json(self.users[BOT], self.web_links),
        }
        self.deliverer.send(Delivery(str(uuid.uuid4()), hook, "ping", payload))
        return hook

    def send_webhook(self, event: str, action: str, sender: str, to_json: Callable[[Links], dict[str, Any]]) -> None:
        """Send a webhook to every hook of the event; `to_json` makes what the event adds to the payload."""
        hooks = [hook for hook in self.hooks if event in hook.events]
        if not hooks:
            return
        payload = {
            "action": action,
            **to_json(self.web_links),
            "repository": shapes.repository_json(self, self.web_links),
            "organization": shapes.organization_json(self, self.web_links),
            "sender": shapes.user_json(self.users[sender], self.web_links),
        }
        for hook in hooks:
            self.deliverer.send(Delivery(str(uuid.uuid4()), hook, event, payload))

    def redeliver(self, guid: str) -> None:
        """Send a webhook again, with the same X-GitHub-Delivery, as the button on the web page does."""
        old = next(delivery for delivery in self.deliverer.log if delivery.guid == guid)
        self.deliverer.send(Delivery(guid, old.hook, old.event, old.payload, redelivery=True))

    def limit_secondary(self, headers: Mapping[str, str], times: int = 1) -> None:
        """Answer the next `times` requests with the secondary rate limit and these headers, of which there may be none.

        Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
        """
        self._secondary_limits.extend([headers] * times)

    def take_secondary_limit(self) -> Mapping[str, str] | None:
        """Return the headers of this request's answer, if it hits the secondary limit."""
        return self._secondary_limits.popleft() if self._secondary_limits else None

    def count_request(self) -> None:
        """Count a request. Raises Problem when the hour's requests are used up."""
        if self.clock.now() >= self._window_ends:
            self._used, self._window_ends = 0, self.clock.now() + RATE_WINDOW
        if self.rate_limit is not None and self._used >= self.rate_limit:
            raise Problem(403, f"API rate limit exceeded for user ID {self.users[BOT].id}.")
        self._used += 1

    def rate(self) -> dict[str, int]:
        """Return the hour's figures; nothing without a limit."""
        if self.rate_limit is None:
            return {}
        return {
            "limit": self.rate_limit,
            "used": self._used,
            "remaining": max(0, self.rate_limit - self._used),
            "reset": int(self._window_ends.timestamp()),
        }

    def sign_in_app(self) -> tuple[str, datetime]:
        """Return a new installation token of the app and when it expires."""
        token = f"ghs_{uuid.uuid4().hex}"
        self.tokens[token] = BOT
        return token, self.clock.now() + timedelta(hours=1)

    async def aclose(self) -> None:
        """Stop sending webhooks and running workflows."""
        await self.actions.aclose()
        await self.deliverer.aclose()


class PersonAtGitHub:
    """A person at GitHub's web page. An issue or a pull request is given as itself or by number."""

    def __init__(self, github: GitHub, login: str) -> None:
        self.login = login
        self._github = github

    async def open(self, title: str, body: str | None = None, *labels: str) -> Issue:
        return self._github.tracker.open(title, body, self.login, labels=labels)

    async def close(self, issue: Issue | int, reason: str = "completed") -> None:
        """`reason` is `completed` or `not_planned`."""
        self._github.tracker.close(self._issue(issue), self.login, reason)

    async def reopen(self, issue: Issue | int) -> None:
        self._github.tracker.reopen(self._issue(issue), self.login)

    async def comment(self, issue: Issue | int, body: str) -> Comment:
        return self._github.tracker.comment(self._issue(issue), body, self.login)

    async def assign(self, issue: Issue | int, *logins: str) -> None:
        self._github.tracker.set_assignees(self._issue(issue), logins, self.login)

    async def approve(self, pull: Pull | int) -> None:
        self._github.code.review(self._pull(pull), self.login, "APPROVED")

    async def request_changes(self, pull: Pull | int, why: str) -> None:
        self._github.code.review(self._pull(pull), self.login, "CHANGES_REQUESTED", why)

    async def merge(self, pull: Pull | int) -> None:
        self._github.code.squash(self._pull(pull), self.login, title=None, expected=None)

    def _issue(self, issue: Issue | int) -> Issue:
        return issue if isinstance(issue, Issue) else self._github.issue(issue)

    def _pull(self, pull: Pull | int) -> Pull:
        return pull if isinstance(pull, Pull) else self._github.pull(pull)


class Deliverer:
    """Sends webhooks in the background, in order, signed, once: GitHub does not retry.

    https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
    """

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self.log: list[Delivery] = []
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._queue: deque[Delivery] = deque()
        self._worker: asyncio.Task[None] | None = None

    def send(self, delivery: Delivery) -> None:
        self.log.append(delivery)
        self._queue.append(delivery)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def idle(self) -> None:
        """Wait until every queued webhook was sent."""
        while self._worker:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def aclose(self) -> None:
        if self._worker:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None  # a task cancelled before it started has not removed itself

    async def _work(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as http:
            try:
                while self._queue:
                    await self._deliver(http, self._queue.popleft())
            finally:  # before the session closes: what is queued meanwhile needs a new worker
                self._worker = None

    async def _deliver(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        hook = delivery.hook
        body = json.dumps(delivery.payload, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/sandbox",
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature-256": signature(body, hook.secret),
        }
        try:
            async with http.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                delivery.answer = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            delivery.answer = type(error).__name__


def signature(body: bytes, secret: str) -> str:
    """Return the value of X-Hub-Signature-256: the HMAC-SHA256 of the raw body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
