"""The console over HTTP, without a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from sandbox.deadline import deadline
from sandbox.server import Sandbox
from tests.console.bot import Bot
from tests.console.stage import PAGE, REPORT, Stage, every_block


@dataclass
class Client:
    http: aiohttp.ClientSession
    sandbox: Sandbox
    bot: Bot
    url: str

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        async with self.http.get(f"{self.url}/console{path}", params=query) as answer:
            return answer.status, await answer.json()

    async def post(self, act: str, **body: Any) -> tuple[int, Any]:
        async with self.http.post(f"{self.url}/console/api/{act}", json={"as": "ana", **body}) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    sandbox = Sandbox()
    async with sandbox.serving() as url, Bot(sandbox).serving() as bot, aiohttp.ClientSession() as http:
        yield Client(http, sandbox, bot, url)


async def test_the_page_and_its_modules_come_from_here_and_may_load_nothing_else(client: Client) -> None:
    async with client.http.get(f"{client.url}/console/") as answer:
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "//" not in page
    async with client.http.get(f"{client.url}/console/static/main.js") as answer:
        assert (answer.status, answer.content_type) == (200, "text/javascript")


async def test_everybody_sees_their_own_screen(client: Client) -> None:
    slack = client.sandbox.slack
    slack.post(slack.channel("general"), slack.bot_user, text="for Ana", ephemeral_to=slack.user("ana").id)
    slack.open_im(slack.user("bruno"))
    secret = Stage(slack).channel("secret", "bruno")
    secret.is_private = True
    seen = {who: (await client.get("/api/state", **{"as": who}))[1]["set"] for who in ("ana", "bruno")}
    kinds = {
        who: (
            any(key.startswith("message/C0GENERAL1") for key in records),
            any(record.get("is_im") for key, record in records.items() if key.startswith("channel/")),
            f"channel/{secret.id}" in records,
        )
        for who, records in seen.items()
    }
    assert kinds == {"ana": (True, False, False), "bruno": (False, True, True)}


async def test_no_answer_holds_a_secret(client: Client) -> None:
    slack = client.sandbox.slack
    Stage(slack).post(every_block(Stage(slack).chart().id))
    texts = [
        json.dumps((await client.get(path, **{"as": "ana"}))[1]) for path in ("/api/state", "/api/about", "/api/world")
    ]
    credentials = slack.credentials
    for secret in (
        credentials.signing_secret,
        credentials.bot_token,
        credentials.app_token,
        credentials.verification_token,
    ):
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize("who", ["nobody", "tamv-bot", "slackbot", "", "U0BRUNO002"])
async def test_only_people_of_the_company_can_be_acted_as(client: Client, who: str) -> None:
    assert (await client.get("/api/state", **{"as": who}))[0] == 404
    assert (await client.post("say", **{"as": who}, channel="C0GENERAL1", text="hello"))[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_cannot_act_for_the_person(client: Client, headers: dict[str, str]) -> None:
    body = json.dumps({"as": "ana", "channel": "C0GENERAL1", "text": "hello"})
    for path in ("say", "world"):
        async with client.http.post(f"{client.url}/console/api/{path}", data=body, headers=headers) as answer:
            assert answer.status == 403
    assert not client.sandbox.slack.channel("general").messages


@pytest.mark.parametrize("body", ["", "[]", '"text"', "{", '{"as": "ana"}', '{"as": "ana", "channel": 1, "text": 2}'])
async def test_a_body_that_makes_no_sense_is_refused(client: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with client.http.post(f"{client.url}/console/api/say", data=body, headers=headers) as answer:
        assert 400 <= answer.status < 500


async def test_what_is_no_longer_there_is_said_to_be_gone(client: Client) -> None:
    message = Stage(client.sandbox.slack).post(every_block(Stage(client.sandbox.slack).chart().id))
    place = {"channel": message.channel, "ts": message.ts}
    assert await client.post("press", **place, action_id="launch") == (409, {"error": "gone"})
    assert await client.post("press", channel=message.channel, ts="1.0", action_id="approve") == (
        409,
        {"error": "message_not_found"},
    )
    assert await client.post("submit", view="V1", values={}) == (409, {"error": "gone"})
    assert (await client.post("launch"))[0] == 404


async def test_a_command_is_signed_for_the_person_and_its_acknowledgement_timed(client: Client) -> None:
    status, answer = await client.post("command", channel="C0INCIDENT", text="/incident status", **{"as": "diego"})
    assert (status, answer["error"]) == (200, None)
    assert 0 < answer["ms"] < 3000
    (said,) = client.sandbox.slack.channel("tamv-incidents").messages.values()
    assert (said.text, said.ephemeral_to) == ("You said: status", "U0DIEGO004")


async def test_a_bot_that_does_not_answer_is_told_in_slacks_words(client: Client) -> None:
    client.sandbox.slack.bot_url = "http://127.0.0.1:9"
    _, answer = await client.post("command", channel="C0INCIDENT", text="/incident status")
    assert answer["error"] == "dispatch_failed"


async def test_a_reaction_is_added_and_taken_away(client: Client) -> None:
    message = Stage(client.sandbox.slack).post(text="hello")
    for expected in ({"pushpin": ["U0ANA00001"]}, {}):
        await client.post("react", channel=message.channel, ts=message.ts, name="pushpin")
        assert message.reactions == expected


async def test_a_person_may_dismiss_only_what_only_they_see(client: Client) -> None:
    stage = Stage(client.sandbox.slack)
    mine, theirs, public = (stage.post(text="x", ephemeral_to=to) for to in ("U0ANA00001", "U0BRUNO002", None))
    for message, status in ((mine, 200), (theirs, 409), (public, 409)):
        assert (await client.post("dismiss", channel=message.channel, ts=message.ts))[0] == status
    assert set(stage.incidents.messages) == {theirs.ts, public.ts}


async def test_the_stream_begins_with_everything_and_goes_on_with_what_changes(client: Client) -> None:
    stage = Stage(client.sandbox.slack)
    first = stage.post(text="one")
    async with client.http.get(f"{client.url}/console/api/stream", params={"as": "ana"}) as answer:
        assert answer.content_type == "text/event-stream"
        kind, patch = await _event(answer)
        assert kind == "all"
        assert {"team", "channel/C0INCIDENT", f"message/C0INCIDENT/{first.ts}"} <= patch["set"].keys()
        second = stage.post(text="two")
        kind, patch = await _event(answer)
        assert (kind, list(patch["set"]), patch["gone"]) == ("change", [f"message/C0INCIDENT/{second.ts}"], [])
        stage.slack.delete(first)
        assert (await _event(answer))[1] == {"set": {}, "gone": [f"message/C0INCIDENT/{first.ts}"]}


async def test_a_stream_that_nobody_reads_any_more_ends(client: Client) -> None:
    before = asyncio.all_tasks()
    async with client.http.get(f"{client.url}/console/api/stream", params={"as": "ana"}) as answer:
        await _event(answer)
        serving = asyncio.all_tasks() - before
        assert serving
    async with deadline(5):
        await asyncio.wait(serving)


async def test_an_open_page_lets_the_sandbox_end_without_a_complaint(capfd: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox()
    async with aiohttp.ClientSession() as http:
        async with sandbox.serving() as url:
            answer = await http.get(f"{url}/console/api/stream", params={"as": "ana"})
            await _event(answer)
        assert capfd.readouterr().err == ""  # where uvicorn says that it had to cut something off
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_file_may_run_and_load_nothing(client: Client) -> None:
    stage = Stage(client.sandbox.slack)
    page = stage.file("report.html", PAGE.encode(), "text/plain")
    async with client.http.get(f"{client.url}/console/api/file/{page.id}") as answer:
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox;" in policy
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert (await client.get("/api/file/F1"))[0] == 404
    status, tree = await client.get(
        f"/api/file/{stage.file('r.md', REPORT.encode(), 'text/plain').id}", **{"as": "tree"}
    )
    assert (status, tree[0]["type"], tree[0]["level"]) == (200, "heading", 1)


async def test_the_strip_shows_the_world_and_changes_it(client: Client) -> None:
    async def world(**what: Any) -> tuple[int, Any]:
        async with client.http.post(f"{client.url}/console/api/world", json=what) as answer:
            return answer.status, await answer.json()

    _, healthy = await client.get("/api/world")
    assert {name: figure["bad"] for name, figure in healthy["figures"].items()} == dict.fromkeys(
        ("p95", "errors", "gpu", "fps"), False
    )
    assert len(healthy["figures"]["p95"]["points"]) == 61
    assert healthy["running"] is False
    assert (await world(do="start"))[1]["running"] is True
    assert (await world(do="speed", speed=60))[1]["speed"] == 60
    assert (await world(do="recover"))[1]["running"] is False
    for wrong in ({"do": "speed", "speed": 1e9}, {"do": "speed", "speed": -1}, {"do": "explode"}, {}):
        assert (await world(**wrong))[0] == 400


async def _event(answer: aiohttp.ClientResponse) -> tuple[str, Any]:
    async with deadline(5):
        name = (await answer.content.readline()).decode().removeprefix("event: ").strip()
        data = (await answer.content.readline()).decode().removeprefix("data: ")
        await answer.content.readline()
        return name, json.loads(data)
