"""No other web site can play with the sandbox of a person who has it open."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import aiohttp
import pytest

from sandbox.server import Sandbox

FAULT = json.dumps({"service": "slack", "kind": "error"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},
        {"Origin": "null", "Content-Type": "text/plain"},
        {"Origin": "http://127.0.0.1:1", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_adds_no_fault(headers: dict[str, str]) -> None:
    sandbox = Sandbox()
    async with sandbox.serving() as url, aiohttp.ClientSession() as http:
        async with http.post(f"{url}/faults", data=FAULT, headers=headers) as answer:
            assert answer.status == 403
        async with http.get(f"{url}/faults") as answer:
            assert await answer.json() == []


async def test_another_name_reads_nothing() -> None:
    async with (
        Sandbox().serving() as url,
        aiohttp.ClientSession() as http,
        http.get(f"{url}/slack/state", headers={"Host": "evil.example"}) as answer,
    ):
        assert answer.status == 403


async def test_the_own_page_and_programs_go_on() -> None:
    async with Sandbox().serving() as url, aiohttp.ClientSession() as http:
        port = urlsplit(url).port
        for headers in ({}, {"Origin": url, "Sec-Fetch-Site": "same-origin"}, {"Host": f"localhost:{port}"}):
            async with http.post(f"{url}/faults", data=FAULT, headers=headers) as answer:
                assert answer.status < 300
