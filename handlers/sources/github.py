"""GitHub's webhooks. Source: https://docs.github.com/webhooks/webhook-events-and-payloads"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from bot.domain.errors import BadInput
from bot.domain.followup import IssueEvent
from bot.integrations.github.github import verify_signature
from bot.services.bot import Bot
from handlers.sources.source import Payload, Source, validate


class _Issue(Payload):
    number: int
    html_url: str
    state_reason: str | None = None


class _Sender(Payload):
    login: str


class Issues(Payload):
    action: str
    issue: _Issue
    sender: _Sender


class GitHub(Source):
    """Authenticated by `X-Hub-Signature-256`: HMAC of the body with GITHUB_WEBHOOK_SECRET."""

    name = "github"
    setting = "github_webhook_secret"

    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        header = headers.get("x-hub-signature-256", "")
        return any(verify_signature(header, body, secret) for secret in self.secrets)

    # The delivery id is a digest of the body, because GitHub's own id is not signed.

    def event(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-github-event", "")

    def content(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the JSON: the body itself, or the field `payload` of a form, as the hook's content type says."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return body
        (payload,) = parse_qs(body.decode(), max_num_fields=1).get("payload", [""])
        return payload.encode()

    def read(self, event: str, body: Any) -> IssueEvent | None:
        """Return the event of an issue that was closed, reopened or deleted; None for any other."""
        if not isinstance(body, dict):
            raise BadInput("webhook_wrong", where="body", why="is not an object")
        if event != "issues" or body.get("action") not in ("closed", "reopened", "deleted"):
            return None
        payload = validate(Issues, body)
        return IssueEvent(
            payload.action,
            payload.issue.number,
            payload.issue.html_url,
            payload.issue.state_reason,
            payload.sender.login,
        )

    async def handle(self, bot: Bot, event: IssueEvent, key: str) -> None:
        await bot.followups.handle(event, key)
