"""Faults on demand, met by Slack's own client over real HTTP, and the sandbox as a process of its own."""

import asyncio
import re
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.deadline import deadline
from tests.harness.slack_workspace import Workspace, workspace

HOME = "C0INCIDENT"


@pytest.fixture
async def place() -> AsyncIterator[Workspace]:
    async with workspace() as place:
        place.client.retry_handlers.clear()
        yield place


async def post(place: Workspace) -> None:
    await place.client.chat_postMessage(channel=HOME, text="x")


async def test_a_rate_limit_is_over_after_its_times(place: Workspace) -> None:
    fault = place.sandbox.faults.add("slack", "ratelimit", "chat.postMessage", retry_after=7, times=2)
    for _ in range(2):
        with pytest.raises(SlackApiError) as refusal:
            await post(place)
        assert (refusal.value.response.status_code, refusal.value.response["error"]) == (429, "ratelimited")
        assert refusal.value.response.headers["Retry-After"] == "7"
    await place.client.auth_test()
    await post(place)
    assert fault.used == 2


async def test_slacks_client_waits_as_long_as_it_is_told(place: Workspace) -> None:
    place.sandbox.faults.add("slack", "ratelimit", "chat.*", retry_after=1)
    place.client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    started = time.monotonic()
    await post(place)
    assert time.monotonic() - started >= 1
    assert len(await place.ana.messages()) == 1


async def test_error_words_statuses_and_nonsense(place: Workspace) -> None:
    place.sandbox.faults.add("slack", "error", "chat.postMessage", error="fatal_error")
    with pytest.raises(SlackApiError) as refusal:
        await post(place)
    assert refusal.value.response["error"] == "fatal_error"
    place.sandbox.faults.add("slack", "status", "POST /api/chat.*", status=503)
    with pytest.raises(SlackApiError) as refusal:
        await post(place)
    assert refusal.value.response.status_code == 503
    place.sandbox.faults.add("slack", "nonsense", "chat.postMessage")
    with pytest.raises(SlackApiError):
        await post(place)
    assert await place.ana.messages() == []
    await post(place)


async def test_the_uncertain_post(place: Workspace) -> None:
    place.sandbox.faults.add("slack", "drop_before", "chat.postMessage")
    with pytest.raises(aiohttp.ClientError):
        await post(place)
    assert await place.ana.messages() == []
    place.sandbox.faults.add("slack", "drop_after", "chat.postMessage")
    with pytest.raises(aiohttp.ClientError):
        await post(place)
    assert len(await place.ana.messages()) == 1


async def test_slacks_client_posts_twice_when_the_answer_is_lost(place: Workspace) -> None:
    """Why the bot must look before it posts again: the default retry of slack_sdk does not."""
    place.sandbox.faults.add("slack", "drop_after", "chat.postMessage")
    await AsyncWebClient(token=place.client.token, base_url=place.client.base_url).chat_postMessage(
        channel=HOME, text="x"
    )
    assert len(await place.ana.messages()) == 2


async def test_a_hanging_answer(place: Workspace) -> None:
    fault = place.sandbox.faults.add("slack", "hang", "chat.postMessage", seconds=30)
    place.client.timeout = 1
    with pytest.raises(TimeoutError):
        await post(place)
    assert fault.met.is_set()
    short = place.sandbox.faults.add("slack", "hang", "chat.postMessage", seconds=0.05)
    with pytest.raises(aiohttp.ClientError):
        await post(place)
    assert short.used == 1


async def test_standing_latency(place: Workspace) -> None:
    place.sandbox.faults.latency("slack", 0.2)
    started = time.monotonic()
    async with deadline(0.6):  # one after the other they would take a second
        await asyncio.gather(*(post(place) for _ in range(5)))
    assert time.monotonic() - started >= 0.2
    place.sandbox.faults.clear()
    assert place.sandbox.faults.all == []


async def test_one_message_a_second_in_a_channel(place: Workspace) -> None:
    place.sandbox.faults.add("slack", "channel_limit", seconds=1.0)
    other = await place.channel()
    await post(place)
    with pytest.raises(SlackApiError) as refusal:
        await post(place)
    assert refusal.value.response.headers["Retry-After"] == "1"
    await place.client.chat_postMessage(channel=other, text="x")
    place.slack.channel(HOME).last_post -= 1
    await post(place)


async def test_faults_are_asked_for_by_another_process(place: Workspace) -> None:
    async with aiohttp.ClientSession() as http:
        wanted = {"service": "slack", "kind": "error", "match": "auth.test", "error": "account_inactive"}
        async with http.post(f"{place.url}/faults", json=wanted) as response:
            assert response.status == 201
        assert await place.refused("auth.test") == "account_inactive"
        async with http.get(f"{place.url}/faults") as response:
            assert [each["used"] for each in await response.json()] == [1]
        mistakes: list[Any] = [{"service": "slack", "kind": "earthquake"}, {"kind": "error"}, []]
        for wrong in mistakes:
            async with http.post(f"{place.url}/faults", json=wrong) as response:
                assert response.status == 400
        async with http.delete(f"{place.url}/faults") as response:
            assert await response.json() == []


async def test_the_sandbox_is_a_process_that_ends_when_told() -> None:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sandbox", stdout=PIPE, cwd=root)
    try:
        assert process.stdout is not None
        async with deadline(20):
            url = (await process.stdout.readline()).decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        client = AsyncWebClient(token="xoxb-sandbox-bot", base_url=f"{url}/slack/api/")
        await client.chat_postMessage(channel=HOME, text="x")
        async with aiohttp.ClientSession() as http, http.get(f"{url}/slack/state") as response:
            assert (await response.json())["calls"] == {"chat.postMessage": 1}
    finally:
        process.terminate()
        async with deadline(5):
            assert await process.wait() == 0
