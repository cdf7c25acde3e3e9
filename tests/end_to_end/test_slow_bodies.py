"""A body that does not come is not waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from handlers.body import DEADLINE_SECONDS
from tests.harness.scene import scene

SENDERS = 300


async def half_a_body(port: int, path: str) -> bytes:
    """Send half of a request and return all that comes until the other side hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n"
    writer.write(f"{head}X-Slack-Request-Timestamp: 1\r\nX-Slack-Signature: v0=0\r\n\r\nhalf".encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


async def test_three_hundred_half_sent_bodies_are_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with scene(tmp_path) as stage:
        port = urlsplit(stage.url).port or 0
        async with asyncio.timeout(3 * DEADLINE_SECONDS):
            answers = await asyncio.gather(*(half_a_body(port, "/slack/events") for _ in range(SENDERS)))
        assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers)
        assert "Traceback" not in caplog.text
        assert caplog.text.count("408") == SENDERS
        status, _ = await stage.post("/slack/events", b"", {})
        assert status == 401
