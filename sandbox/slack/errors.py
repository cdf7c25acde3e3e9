"""Slack's own words for what it refuses."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """A Web API answer with `ok: false`. `code` is Slack's word, `messages` what stands in response_metadata."""

    def __init__(self, code: str, *messages: str, status: int = 200, retry_after: int = 0, **extra: Any) -> None:
        super().__init__(code, *messages)
        self.code = code
        self.messages = messages
        self.status = status
        self.retry_after = retry_after
        self.extra = extra

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"ok": False, "error": self.code, **self.extra}
        if self.messages:
            body["response_metadata"] = {"messages": list(self.messages)}
        return body
