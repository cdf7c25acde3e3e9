"""GitHub's state: one repository of one organisation, with its people, teams, tokens, hooks and limits."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sandbox.clock import Clock
from sandbox.company import Company
from sandbox.github import shapes
from sandbox.github.actions import Actions
from sandbox.github.code import Code
from sandbox.github.links import Links
from sandbox.github.person import PersonAtGitHub
from sandbox.github.records import NOT_FOUND, Delivery, Hook, Problem, Request, Team, User
from sandbox.github.tracker import Tracker
from sandbox.github.webhooks import Deliverer

TOKEN = "ghp_sandboxTokenOfTheTamvBot0000000000"
WEBHOOK_SECRET = "sandbox-github-webhook-secret"
APP_ID = "4242"
INSTALLATION_ID = 424242
BOT = "tamv-bot"
HOOK_EVENTS = ("issues", "pull_request", "pull_request_review", "workflow_run")
RATE_LIMIT = 5000
RATE_WINDOW = timedelta(hours=1)


class GitHub:
    """One repository with its issues (`tracker`), code (`code`), deployments and workflows (`actions`).

    TOKEN belongs to the user BOT; a GitHub App signs in with APP_ID. `index_delay` is how many seconds of
    world time the search index is behind. Everything must be called inside the running event loop: changes
    send webhooks in the background.
    """

    def __init__(
        self,
        company: Company,
        clock: Clock,
        *,
        deliverer: Deliverer | None = None,
        index_delay: float = 0.0,
    ) -> None:
        self.company = company
        self.clock = clock
        self.deliverer = deliverer or Deliverer()
        self.index_delay = index_delay
        self.owner, self.name = company.github.repository.split("/")
        self.created_at = clock.now()
        self._ids = itertools.count(1_000_001)
        self.organization = User(self.new_id(), self.owner, company.workspace.name, None, "Organization")
        self.users = {
            person.github: User(self.new_id(), person.github, person.name, person.email) for person in company.people
        }
        self.users[BOT] = User(self.new_id(), BOT, company.workspace.bot_name, None)
        self.assignable = set(self.users)
        self.teams = {team.slug: team for team in self._teams()}
        self.tokens = {TOKEN: BOT}
        self.hooks: list[Hook] = []
        self.requests: list[Request] = []
        self.rate_limit = RATE_LIMIT
        self._used = 0
        self._window_ends = clock.now() + RATE_WINDOW
        self._secondary_limits: deque[int] = deque()
        self.tracker = Tracker(self)
        self.code = Code(self)
        self.actions = Actions(self)
        self.web_links = Links("https://api.github.com", f"{self.owner}/{self.name}")

    def person(self, key: str) -> PersonAtGitHub:
        """Somebody at GitHub's web page, by handle, e-mail or login. KeyError if there is none."""
        return PersonAtGitHub(self, self.company.person(key).github)

    def user(self, login: str) -> User:
        """Problem 404 if there is none."""
        for known in self.users.values():
            if known.login.lower() == login.lower():
                return known
        raise Problem(404, NOT_FOUND)

    def new_id(self) -> int:
        return next(self._ids)

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

    def tell(self, event: str, action: str, sender: str, draw: Callable[[Links], dict[str, Any]]) -> None:
        """Send a webhook to every hook that wants the event; `draw` makes what is special to it."""
        wanting = [hook for hook in self.hooks if event in hook.events]
        if not wanting:
            return
        payload = {
            "action": action,
            **draw(self.web_links),
            "repository": shapes.repository_json(self, self.web_links),
            "organization": shapes.organization_json(self, self.web_links),
            "sender": shapes.user_json(self.users[sender], self.web_links),
        }
        for hook in wanting:
            self.deliverer.send(Delivery(str(uuid.uuid4()), hook, event, payload))

    def redeliver(self, guid: str) -> None:
        """Send a webhook once more, with the same X-GitHub-Delivery, as the button on the web page does."""
        old = next(delivery for delivery in self.deliverer.log if delivery.guid == guid)
        self.deliverer.send(Delivery(guid, old.hook, old.event, old.payload, redelivery=True))

    def limit_secondary(self, retry_after: int, times: int = 1) -> None:
        """The next `times` requests are answered with the secondary rate limit."""
        self._secondary_limits.extend([retry_after] * times)

    def met_secondary_limit(self) -> int | None:
        """The Retry-After for this request, if it meets the limit."""
        return self._secondary_limits.popleft() if self._secondary_limits else None

    def count_request(self) -> None:
        """Problem when the hour's requests are used up."""
        if self.clock.now() >= self._window_ends:
            self._used, self._window_ends = 0, self.clock.now() + RATE_WINDOW
        if self._used >= self.rate_limit:
            raise Problem(403, f"API rate limit exceeded for user ID {self.users[BOT].id}.")
        self._used += 1

    def rate(self) -> dict[str, int]:
        return {
            "limit": self.rate_limit,
            "used": self._used,
            "remaining": max(0, self.rate_limit - self._used),
            "reset": int(self._window_ends.timestamp()),
        }

    def sign_in_app(self) -> tuple[str, datetime]:
        """A new installation token for the app and when it runs out."""
        token = f"ghs_{uuid.uuid4().hex}"
        self.tokens[token] = BOT
        return token, self.clock.now() + timedelta(hours=1)

    async def aclose(self) -> None:
        """Stop sending webhooks and running workflows."""
        await self.actions.aclose()
        await self.deliverer.aclose()

    def _teams(self) -> list[Team]:
        return [
            Team(
                self.new_id(),
                name,
                name.lower(),
                tuple(self.company.person(handle).github for handle in self.company.usergroup(name).members),
            )
            for name in self.company.github.teams
        ]
