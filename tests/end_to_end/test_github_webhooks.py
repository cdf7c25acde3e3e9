"""GitHub's webhooks in either content type: JSON, and the form that is its default."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

from sandbox.github.backend import WEBHOOK_SECRET
from tests.harness.scene import Scene

PATH = "/webhooks/github"


def signed(body: bytes) -> dict[str, str]:
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Event": "issues"}


async def test_githubs_form_is_taken_as_its_json_is_and_verified_over_its_raw_body(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.person("ana").run('/incident followup "Alertar del disco" owner=SRETeam', channel.name)
    await stage.told(channel, "Issue #1")
    issue = {"number": 1, "html_url": f"https://github.com/{stage.sandbox.company.github.repository}/issues/1"}
    event = {"action": "closed", "issue": issue, "sender": {"login": "bruno-diaz"}}
    form = urlencode({"payload": json.dumps(event)}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    raw = signed(json.dumps(event).encode())
    assert (await stage.post(PATH, form, raw | kind))[0] == 401
    for wrong in (b"", b"payload=", b"payload=%7B", b"a=1&payload=%7B%7D", b"other=%7B%7D"):
        assert (await stage.post(PATH, wrong, signed(wrong) | kind))[0] == 400, wrong
    assert (await stage.post(PATH, form, signed(form) | kind))[0] == 202
    await stage.told(channel, "☑️", "Alertar del disco")
