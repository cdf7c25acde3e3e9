"""What Slack and Alertmanager send to the bot: signed, and every time with an id of its own.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.alertmanager.shapes import group_key
from sandbox.company import Company, load_company
from sandbox.slack.state import Credentials

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Workspace:
    """Writes what people of the sandbox's company do. `hears` is where the bot's private answers go."""

    hears: str
    company: Company = field(default_factory=load_company)
    credentials: Credentials = field(default_factory=Credentials)

    def command(self, line: str, channel: str = "C0INCIDENT", by: str = "ana") -> Request:
        """A slash command."""
        person, (name, _, text) = self.company.person(by), line.partition(" ")
        trigger = uuid.uuid4().hex
        form = {
            "token": self.credentials.verification_token,
            "team_id": self.company.workspace.team_id,
            "team_domain": self.company.workspace.domain,
            "channel_id": channel,
            "channel_name": "somewhere",
            "user_id": person.slack,
            "user_name": person.handle,
            "command": name,
            "text": text,
            "api_app_id": self.company.workspace.app_id,
            "is_enterprise_install": "false",
            "response_url": f"{self.hears}/{trigger}",
            "trigger_id": trigger,
        }
        return self._signed(urlencode(form).encode())

    def button(self, action_id: str, value: str, channel: str = "C0INCIDENT", by: str = "ana") -> Request:
        """A press of a button in a message."""
        person, trigger = self.company.person(by), uuid.uuid4().hex
        team = {"id": self.company.workspace.team_id, "domain": self.company.workspace.domain}
        payload: dict[str, Any] = {
            "type": "block_actions",
            "api_app_id": self.company.workspace.app_id,
            "token": self.credentials.verification_token,
            "team": team,
            "user": {"id": person.slack, "username": person.handle, "name": person.handle, "team_id": team["id"]},
            "enterprise": None,
            "is_enterprise_install": False,
            "trigger_id": trigger,
            "response_url": f"{self.hears}/{trigger}",
            "container": {"type": "message", "message_ts": "1700000000.000100", "channel_id": channel},
            "channel": {"id": channel, "name": "somewhere"},
            "message": {"type": "message", "ts": "1700000000.000100", "text": "…", "blocks": []},
            "state": {"values": {}},
            "actions": [
                {
                    "type": "button",
                    "action_id": action_id,
                    "block_id": "actions",
                    "text": {"type": "plain_text", "text": action_id},
                    "value": value,
                    "action_ts": f"{time.time():.6f}",
                }
            ],
        }
        return self._signed(urlencode({"payload": json.dumps(payload)}).encode())

    def _signed(self, body: bytes) -> Request:
        stamp = str(int(time.time()))
        digest = hmac.new(self.credentials.signing_secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256)
        headers = {
            "Content-Type": FORM,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={digest.hexdigest()}",
        }
        return Request("/slack/events", body, headers)


def trigger_of(request: Request) -> str:
    """The id by which the private answer to a command or button is known."""
    return request.body.decode().partition("trigger_id=")[2].partition("&")[0]


def alerts(group: str, names: Sequence[str], labels: dict[str, str] | None = None) -> Request:
    """Alertmanager's call about one group in which an alert fires for each of `names`."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {"alertname": group, "severity": "warning", "service": "xr-engine", **(labels or {})}
    body: dict[str, Any] = {
        "version": "4",
        "groupKey": group_key({"alertname": group}),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "tamv-bot",
        "groupLabels": {"alertname": group},
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": [
            {
                "status": "firing",
                "labels": {**common, "pod": name},
                "annotations": {"summary": f"{group} on {name}", "runbook_url": f"https://runbooks/{group}"},
                "startsAt": now,
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": f"http://prometheus:9090/graph?g0.expr={group}",
                "fingerprint": hashlib.sha256(f"{group}/{name}".encode()).hexdigest()[:16],
            }
            for name in names
        ],
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {WEBHOOK_TOKEN}"}
    return Request("/webhooks/alertmanager", json.dumps(body).encode(), headers)
