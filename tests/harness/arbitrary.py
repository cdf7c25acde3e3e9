"""Arbitrary requests to the bot's paths: nonsense, and what its senders send with anything put in its place."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from handlers.slack.buttons import BUTTONS
from handlers.slack.events import EVENTS, SHORTCUTS
from handlers.slack.forms import FORMS
from sandbox.alertmanager.backend import WEBHOOK_TOKEN
from sandbox.github.backend import WEBHOOK_SECRET as GITHUB_SECRET
from sandbox.pagerduty.backend import WEBHOOK_SECRET as PAGERDUTY_SECRET
from sandbox.slack.deliveries import sign
from sandbox.slack.state import Credentials
from tests.harness.alerts import alert, notification

GRAFANA_TOKEN = "grafana-token"
SLACK = "/slack/events"
READ = ("/status", "/healthz", "/readyz", "/metrics")
HOOKS = tuple(f"/webhooks/{name}" for name in ("alertmanager", "grafana", "pagerduty", "github"))
MESSAGE = {"ts": "1.2", "text": "x", "user": "U0ANA00001", "blocks": [], "attachments": [{"title": "x"}], "files": []}
MOST = 12  # what is put in is small: the size of a body has tests of its own


@dataclass(frozen=True)
class Sent:
    """A request; its body is signed as its sender would."""

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


WHO = {"user": {"id": "U0ANA00001", "name": "ana"}, "team": {"id": "T0TAMV0001"}, "trigger_id": "1"}


def pressed(action: str, value: str) -> dict[str, Any]:
    """The payload of a button of this value."""
    actions = [{"action_id": action, "value": value, "type": "button"}]
    return {"type": "block_actions", **WHO, "channel": {"id": "C0INCIDENT"}, "message": MESSAGE, "actions": actions}


def _payloads() -> Iterator[dict[str, Any]]:
    """One of each kind that Slack sends to a handler of the bot."""
    for action in BUTTONS:
        yield pressed(action, "R-0000000000|it|0")
    for form in FORMS:
        fields = ("title", "severity", "service", "text", "reason", "users", "due", "owner", "answer", "services")
        values = {name: {"v": {"type": "plain_text_input", "value": "1"}} for name in fields}
        state = {"state": {"values": values}, "private_metadata": "INC-2026-0001"}
        yield {"type": "view_submission", **WHO, "view": {"id": "V1", "type": "modal", "callback_id": form, **state}}
    for shortcut in SHORTCUTS:
        yield {"type": "shortcut", **WHO, "callback_id": shortcut}
        message = {"channel": {"id": "C0INCIDENT"}, "message": MESSAGE}
        yield {"type": "message_action", **WHO, "callback_id": shortcut, **message}
    for event in EVENTS:
        item = {"type": "message", "channel": "C0INCIDENT", "ts": "1.2"}
        content = {"type": event, "user": "U0ANA00001", "channel": "C0INCIDENT", "reaction": "pushpin", "item": item}
        yield {"type": "event_callback", "event_id": "Ev1", "team_id": "T0TAMV0001", "event": content}


PAYLOADS = tuple(_payloads())
PAGE: dict[str, Any] = {
    "event": {
        "id": "E1",
        "event_type": "incident.reassigned",
        "agent": {"id": "P1", "type": "user_reference", "summary": "Ana", "html_url": None},
        "data": {
            "id": "Q1",
            "type": "incident",
            "title": "x",
            "urgency": "high",
            "incident_key": "k",
            "assignees": [{"id": "P2", "type": "user_reference", "summary": "Bruno"}],
            "escalation_policy": {"id": "P3", "summary": "x"},
            "resolve_reason": {"type": "merge_resolve_reason", "incident": {"id": "Q2"}},
        },
    }
}
ISSUE: dict[str, Any] = {
    "action": "closed",
    "issue": {"number": 7, "html_url": "https://github.com/tamv/app/issues/7", "state_reason": "completed"},
    "sender": {"login": "ana-github"},
}
BODIES = {
    "/webhooks/alertmanager": json.loads(notification(alert(severity="none"), alert("f2", status="resolved"))),
    "/webhooks/grafana": json.loads(notification(alert(severity="none"), version="1", orgId=1)),
    "/webhooks/pagerduty": PAGE,
    "/webhooks/github": ISSUE,
}

texts = st.text(max_size=MOST) | st.sampled_from(["\x00", "\ud800", "|||", "<!channel>", "9" * 400, "٣", "null", "-1"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=MOST
)


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """`whole` with one to three of its parts missing, twice as many, or anything else."""
    made = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        spots = list(_spots(made))
        if not spots:
            return draw(values)
        parent, key = draw(st.sampled_from(spots))
        match draw(st.sampled_from(("other", "other", "missing", "more"))):
            case "missing":
                del parent[key]
            case "more" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case _:
                parent[key] = draw(values)
    return made


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _spots(value[key])


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """A request to one of the bot's paths, signed where it is; a header may be overwritten by the sender's own."""
    path = draw(st.sampled_from((SLACK, SLACK, SLACK, *HOOKS, *READ)))
    headers = draw(st.dictionaries(st.sampled_from(_HEADERS), _header_values, max_size=3))
    if path in READ:
        return Sent(path, b"", headers, draw(st.sampled_from(("GET", "GET", "HEAD", "POST", "PUT"))))
    if path == SLACK:
        body, kind = draw(_slack_bodies())
        return Sent(path, body, headers | _slack_headers(body, kind))
    content = draw(changed(BODIES[path]) | values)
    body = draw(st.binary(max_size=MOST)) if draw(st.integers(0, 9)) == 0 else json.dumps(content).encode()
    return Sent(path, body, headers | _hook_headers(path, body))


_HEADERS = ("Authorization", "X-Slack-Signature", "X-GitHub-Event", "X-Webhook-Id", "Content-Type", "Cookie", "Accept",
            "Accept-Language", "X-Slack-Retry-Num", "X-Forwarded-For", "Range", "If-None-Match")  # fmt: skip
_header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=MOST)


@st.composite
def _slack_bodies(draw: st.DrawFn) -> tuple[bytes, str]:
    command = {"command": draw(st.sampled_from(("/incident", "/ops", "/runbook", "/page", "/snapshot", "/drill"))),
               "text": draw(texts), "user_id": "U0ANA00001", "channel_id": "C0INCIDENT", "trigger_id": "1"}  # fmt: skip
    match draw(st.sampled_from(("command", "payload", "payload", "payload", "anything", "bytes"))):
        case "command":
            form = draw(changed(command))
            fields = {name: str(value) for name, value in form.items()} if isinstance(form, dict) else {"text": "x"}
            return urlencode(fields, errors="replace").encode(), "form"
        case "payload":
            return _payload_body(draw(changed(draw(st.sampled_from(PAYLOADS)))))
        case "anything":
            return json.dumps(draw(values)).encode(), "json"
    return draw(st.binary(max_size=40)), draw(st.sampled_from(("form", "json")))


def signed_payload(payload: Any) -> Sent:
    """A payload as Slack sends it, signed."""
    body, kind = _payload_body(payload)
    return Sent(SLACK, body, _slack_headers(body, kind))


def _payload_body(payload: Any) -> tuple[bytes, str]:
    if isinstance(payload, dict) and "event_id" in payload:
        return json.dumps(payload).encode(), "json"
    return urlencode({"payload": json.dumps(payload)}).encode(), "form"


def _slack_headers(body: bytes, kind: str) -> dict[str, str]:
    stamp = str(int(time.time()))
    types = {"form": "application/x-www-form-urlencoded", "json": "application/json"}
    signature = sign(Credentials().signing_secret, stamp, body)
    return {"Content-Type": types[kind], "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}


def _hook_headers(path: str, body: bytes) -> dict[str, str]:
    if path == "/webhooks/pagerduty":
        return {"X-PagerDuty-Signature": f"v1={hmac.new(PAGERDUTY_SECRET.encode(), body, hashlib.sha256).hexdigest()}"}
    if path == "/webhooks/github":
        digest = hmac.new(GITHUB_SECRET.encode(), body, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Event": "issues"}
    return {"Authorization": f"Bearer {GRAFANA_TOKEN if path == '/webhooks/grafana' else WEBHOOK_TOKEN}"}
