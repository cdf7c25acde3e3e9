"""Nobody gets in: what is not signed, stale, foreign or malformed is refused on every path, and nothing is done."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio

from sandbox.github.backend import WEBHOOK_SECRET as GITHUB_SECRET
from sandbox.pagerduty.backend import WEBHOOK_SECRET as PAGERDUTY_SECRET
from sandbox.slack import payloads
from sandbox.slack.deliveries import sign
from sandbox.slack.state import Credentials
from tests.harness.alerts import BEARER, alert, notification
from tests.harness.scene import TEAM, Scene, scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLACK, ALERTMANAGER, PAGERDUTY, GITHUB = (
    "/slack/events",
    "/webhooks/alertmanager",
    "/webhooks/pagerduty",
    "/webhooks/github",
)
Headers = dict[str, str]
SIGNING_SECRET = Credentials().signing_secret
READS = {"auth.test", "bots.info", "conversations.list", "usergroups.users.list", "users.info"}
PRIVATE = {"chat.postMessage", "chat.postEphemeral"}  # the answer to a person whose button makes no sense
DEEP = b'{"a":' * 200_000 + b"1" + b"}" * 200_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("security")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_is_done(stage: Scene) -> AsyncIterator[None]:
    """Whatever a test sends, no incident comes of it, Slack hears nothing, and the process goes on."""
    calls = len(stage.slack.calls)
    yield
    await stage.quiet()
    assert await stage.bot.deps.store.incidents.count() == 0
    said = [call.method for call in stage.slack.calls[calls:] if call.method not in (*READS, *PRIVATE)]
    assert said == []
    async with aiohttp.ClientSession() as http, http.get(f"{stage.url}/healthz") as answer:
        assert answer.status == 200


def slack_headers(body: bytes, *, secret: str = SIGNING_SECRET, age: float = 0, kind: str = "form") -> Headers:
    stamp = str(int(time.time() - age))
    types = {"form": "application/x-www-form-urlencoded", "json": "application/json"}
    return {
        "Content-Type": types[kind],
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": sign(secret, stamp, body),
    }


def pagerduty_headers(body: bytes, secret: str = PAGERDUTY_SECRET) -> Headers:
    return {"X-PagerDuty-Signature": f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def github_headers(body: bytes, secret: str = GITHUB_SECRET) -> Headers:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Event": "issues", "X-GitHub-Delivery": "d"}


def alertmanager_headers(body: bytes) -> Headers:
    return BEARER


def declaration(stage: Scene, **keys: Any) -> Headers:
    """The form of `/incident declare` as Slack sends it; `keys` go over its own."""
    slack, ana = stage.slack, stage.slack.user("ana")
    where = slack.channel(TEAM)
    trigger, url = slack.triggers.issue(ana), slack.response_urls.issue("commands", ana, where)
    return payloads.command(slack, ana, where, "/incident", "declare Render caído sev=SEV1", trigger, url) | keys


SIGNERS: dict[str, Callable[[bytes], Headers]] = {
    SLACK: lambda body: slack_headers(body, kind="json"),
    ALERTMANAGER: alertmanager_headers,
    PAGERDUTY: pagerduty_headers,
    GITHUB: github_headers,
}


async def test_a_command_that_slack_did_not_sign_is_refused(stage: Scene) -> None:
    body = urlencode(declaration(stage)).encode()
    right = slack_headers(body)
    wrong: list[Headers] = [
        {},
        {"Content-Type": right["Content-Type"]},
        slack_headers(body, secret="another"),
        slack_headers(body, secret=""),
        right | {"X-Slack-Signature": ""},
        right | {"X-Slack-Signature": "v0="},
        right | {"X-Slack-Signature": "v0=ñ"},
        right | {"X-Slack-Signature": right["X-Slack-Signature"][:-1] + "g"},
        right | {"X-Slack-Signature": right["X-Slack-Signature"].replace("v0", "v1")},
        right | {"X-Slack-Request-Timestamp": str(int(time.time()) + 1)},
        right | {"X-Slack-Request-Timestamp": "now"},
        {name: value for name, value in right.items() if "Timestamp" not in name},
        slack_headers(body + b"&text=other"),
    ]
    for headers in wrong:
        status, answer = await stage.post(SLACK, body, headers)
        assert 400 <= status < 500, headers
        assert "Traceback" not in answer and "sandbox-signing" not in answer


@pytest.mark.parametrize("age", [301, 3600, -301])
async def test_a_request_that_is_not_of_now_is_refused(stage: Scene, age: int) -> None:
    body = urlencode(declaration(stage)).encode()
    status, _ = await stage.post(SLACK, body, slack_headers(body, age=age))
    assert status == 401


async def test_forged_commands_buttons_forms_and_events_by_every_way(stage: Scene) -> None:
    ana = stage.person("ana")
    for forger in (ana.forging(unsigned=True), ana.forging(signing_secret="another"), ana.forging(age=301)):
        assert (await forger.run("/incident declare Falso")).status == 401
        assert (await forger.global_shortcut("declare_incident")).status == 401
    for forger in (ana.forging(team_id="T0OTHER"), ana.forging(app_id="A0OTHER")):
        assert (await forger.run("/incident declare De otros")).status == 403
        assert (await forger.global_shortcut("declare_incident")).status == 403


@pytest.mark.parametrize(
    "stamp", ["9" * 400, "9" * 5000, "-1", "1e9", "1.5", "\u0661\u0662", "0x10", "", " ", "0" * 30, "99999999999"]
)
async def test_a_timestamp_of_any_form_is_refused(stage: Scene, stamp: str, caplog: pytest.LogCaptureFixture) -> None:
    body = urlencode(declaration(stage)).encode()
    headers = {
        **slack_headers(body),
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": sign(SIGNING_SECRET, stamp, body),
    }
    status, _ = await stage.post(SLACK, body, headers)
    assert 400 <= status < 500
    assert len(refusals(caplog)) <= 1


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the bot's log about what it refused, and whatever else went wrong."""
    told = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]
    assert not [record for record in told if record.exc_info]
    return [record.getMessage() for record in told]


@pytest.mark.parametrize("path", SIGNERS)
async def test_nothing_of_a_body_that_was_not_verified_is_in_the_log(
    stage: Scene, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "2026-01-07 02:10:33,120 CRITICAL bot.app: forged"
    body = f"payload={{\n{forged}\r\n{'x' * 1_900_000}".encode()
    headers = {name: value[:-1] + "0" for name, value in SIGNERS[path](body).items()} | {"X-GitHub-Event": forged[:30]}
    status, _ = await stage.post(path, body, headers)
    assert status == 401
    lines = refusals(caplog)
    assert len(lines) == 1 and len(lines[0]) < 400 and "\n" not in lines[0]
    assert not [record for record in caplog.records if "forged" in record.getMessage() or "xxx" in record.getMessage()]


@pytest.mark.parametrize(
    "action", [{"action_id": "approve", "value": "x"}, {"action_id": "approve", "value": "|||"},
               {"action_id": "answer", "value": "R-1"}, {"action_id": "run_proposed", "value": "no-bar"},
               {"action_id": "acknowledge", "value": "INC-0"}, {"action_id": "break_glass", "value": ""},
               {"action_id": "cancel_run", "value": "\n" * 2000}]
)  # fmt: skip
async def test_a_signed_button_that_makes_no_sense_is_one_line_and_an_answer(
    stage: Scene, action: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    payload = {"type": "block_actions", "user": {"id": "U0ANA00001"}, "trigger_id": "1", "actions": [action]}
    body = urlencode({"payload": json.dumps(payload)}).encode()
    status, _ = await stage.post(SLACK, body, slack_headers(body))
    assert status < 500
    await stage.quiet()
    assert len(refusals(caplog)) <= 1


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("declare", {}),
        ("declare", {"title": {"v": {"value": "x"}}, "severity": {"v": {"selected_option": {"value": "SEV9"}}}}),
        ("declare", {"title": {"v": {"value": 7}}}),
        ("declare", {"title": {"v": {"selected_options": ["a"]}}}),
        ("report", {"users": {"v": {"value": "٣many"}}}),
        ("report", {"users": {"v": {"value": "9" * 5000}}}),
        ("answer", {"answer": {"v": {"value": "x"}}}),
        ("break_glass", {"reason": {"v": {"value": "x"}}}),
        ("followup", {"title": {"v": {"value": "x"}}}),
    ],
    ids=range(9),
)
async def test_a_signed_form_that_makes_no_sense_is_one_line_and_an_answer(
    stage: Scene, form: str, values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    view = {
        "id": f"V{form}{len(str(values))}",
        "callback_id": form,
        "private_metadata": "?|?",
        "state": {"values": values},
    }
    payload = {"type": "view_submission", "user": {"id": "U0ANA00001"}, "view": view}
    body = urlencode({"payload": json.dumps(payload)}).encode()
    status, _ = await stage.post(SLACK, body, slack_headers(body))
    assert status < 500
    await stage.quiet()
    assert len(refusals(caplog)) <= 1


@pytest.mark.parametrize("path", [ALERTMANAGER, PAGERDUTY, GITHUB])
async def test_a_webhook_that_proves_nothing_is_refused(stage: Scene, path: str) -> None:
    body = notification(alert())
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": BEARER["Authorization"].removeprefix("Bearer ")},
        {"Authorization": "Bearer \xff"},
        pagerduty_headers(body, "another"),
        {"X-PagerDuty-Signature": "v1=,v1="},
        {"X-PagerDuty-Signature": pagerduty_headers(body)["X-PagerDuty-Signature"].replace("v1", "v0")},
        github_headers(body, "another"),
        github_headers(body, ""),
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature": "sha1=" + hmac.new(GITHUB_SECRET.encode(), body, hashlib.sha1).hexdigest()},
    ):
        status, answer = await stage.post(path, body, headers)
        assert (status, json.loads(answer)) == (401, {"error": "refused"}), headers


@pytest.mark.parametrize("path", SIGNERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b'{"a": NaN',
        b"\xff\xfe{}",
        b'{"type": "event_callback"}',
        b'{"type": "event_callback", "event_id": "E1", "event": {"type": "reaction_added", "item": 7}}',
        b'{"type": "block_actions", "user": {"id": "U0ANA00001"}, "actions": []}',
        b'{"type": "view_submission", "user": {"id": "U0ANA00001"}, "view": {"id": "V", "callback_id": "declare"}}',
        b'{"type": "message_action", "user": {"id": "U0ANA00001"}, "callback_id": "declare", "trigger_id": "1"}',
        b'{"command": "/incident", "text": "declare x"}',
        b'{"action": "closed", "issue": {"number": "one"}}',
        b'{"event": {"event_type": "incident.triggered", "id": "E", "data": {}}}',
        b'{"version": "4", "alerts": [{"labels": {}}]}',
        b'{"version": "4", "groupKey": "\\ud800"}',
        DEEP,
    ],
    ids=range(20),
)  # fmt: skip
async def test_a_signed_body_that_makes_no_sense_is_refused_with_one_line_in_the_log(
    stage: Scene, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = await stage.post(path, body, SIGNERS[path](body))
    ours = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    if path == GITHUB and status == 202:  # an object about something that is not followed
        assert isinstance(json.loads(body), dict)
        return
    assert 400 <= status < 500, answer
    assert "Traceback" not in answer and "File " not in answer and len(answer) < 200
    assert len(ours) <= 1 and not [record for record in ours if record.exc_info]


@pytest.mark.parametrize(
    "form",
    [
        {"payload": "{"},
        {"payload": "[]"},
        {"payload": '{"type": "block_actions"}'},
        {"payload": '{"type": "view_submission", "user": {"id": "U0ANA00001"}, "view": {"id": "V1", "callback_id": '
                    '"declare", "state": {"values": [1]}}}'},
        {"payload": '{"type": "block_actions", "team": 7, "user": 7, "actions": [{"action_id": "acknowledge"}]}'},
        {"payload": DEEP.decode()},
        {"command": "/incident"},
        {"command": "/incident", "user_id": "U0ANA00001"},
        {"command": "/incident", "user_id": "", "channel_id": "C0INCIDENT", "text": "declare x"},
        {"command": "/incident", "user_id": "U0ANA00001", "channel_id": "C0INCIDENT", "text": "declare \x00"},
    ],
    ids=range(10),
)  # fmt: skip
async def test_a_signed_form_with_something_missing_is_refused(stage: Scene, form: dict[str, str]) -> None:
    body = urlencode(form).encode()
    status, answer = await stage.post(SLACK, body, slack_headers(body))
    assert 400 <= status < 500, answer
    assert "Traceback" not in answer and len(answer) < 200


@pytest.mark.parametrize("path", SIGNERS)
async def test_more_than_ten_megabytes_are_not_read(stage: Scene, path: str) -> None:
    body = b'{"a": "' + b"x" * 11_000_000 + b'"}'
    try:
        status, _ = await stage.post(path, body, SIGNERS[path](body))
    except ConnectionError:
        return  # it was cut off before all was sent, which is as good
    assert status == 413


@pytest.mark.parametrize("path", SIGNERS)
async def test_other_methods_and_paths_are_not_there(stage: Scene, path: str) -> None:
    async with aiohttp.ClientSession() as http:
        for method in ("GET", "PUT", "DELETE"):
            async with http.request(method, stage.url + path) as answer:
                assert answer.status in (404, 405)  # 404 where the sandbox serves the rest
    assert (await stage.post("/slack/install", b"", {}))[0] in (404, 405)


async def test_what_is_captured_and_sent_again_has_no_second_effect(stage: Scene) -> None:
    """Within the five minutes a signature is good; the same bytes are answered as Slack's own retries are."""
    reply = await stage.person("ana").run("/incident list")
    await reply.message()
    answers = [await stage.slack.deliveries.redeliver(reply.delivery) for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    await stage.quiet()
    assert len(reply.messages) == 1
