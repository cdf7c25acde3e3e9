"""Whatever comes in on any path: an answer without a trace, at most one line in the log, and the bot goes on.

`EXAMPLES=5000` tries that many requests, other ones each time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings

from sandbox.deadline import deadline
from tests.harness.arbitrary import GRAFANA_TOKEN, PAYLOADS, SLACK, Sent, pressed, requests, signed_payload
from tests.harness.scene import SOON, Scene, scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = os.environ.get("EXAMPLES")
AFTERWARDS = "bot.workflows"  # what follows from an alert says its own
ASK_AGAIN = pressed("ask_again", "R-0000000000|it|0")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("arbitrary"), grafana_webhook_token=GRAFANA_TOKEN) as made:
        await made.quiet()
        yield made


class Lines(logging.Handler):
    """What is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def handled() -> None:
    """Wait until nothing that was sent is still being worked on."""

    def at_work() -> bool:
        return any(task.get_name().startswith(("slack:", "webhook:")) for task in asyncio.all_tasks())

    async with deadline(SOON):
        while at_work():  # noqa: ASYNC110 - the tasks are the bot's own
            await asyncio.sleep(0.01)


@given(sent=requests())
@example(sent=signed_payload(ASK_AGAIN))
@example(sent=signed_payload(pressed("resolve", "INC-2026-0001|many")))
@example(sent=signed_payload(pressed("go_on_without", "|")))
@example(sent=signed_payload({**PAYLOADS[0], "type": "nobody-knows-this\n---\n[Suggestion]"}))
@settings(
    max_examples=int(MANY or 60),
    derandomize=MANY is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
async def test_an_arbitrary_request_is_answered_with_one_line_at_most(stage: Scene, sent: Sent) -> None:
    lines = Lines()
    logging.getLogger().addHandler(lines)
    try:
        async with (
            aiohttp.ClientSession(stage.url) as http,
            http.request(sent.method, sent.path, data=sent.body, headers=sent.headers, allow_redirects=False) as answer,
        ):
            text = await answer.text(errors="replace")
        await handled()
    finally:
        logging.getLogger().removeHandler(lines)
    assert answer.status // 100 in (2, 4), text
    assert "Traceback" not in text and 'File "' not in text
    assert not [logging.Formatter().format(record) for record in lines.records if record.exc_info]
    told = [record.getMessage() for record in lines.records if not record.name.startswith(AFTERWARDS)]
    assert len(told) <= 1 and all(len(line) < 500 and "\n" not in line for line in told), told


async def test_the_process_is_unharmed(stage: Scene) -> None:
    assert "INC-" in await stage.answer("/incident declare Render lento sev=SEV3", holding="INC-")
    async with aiohttp.ClientSession(stage.url) as http, http.get("/readyz") as answer:
        assert answer.status == 200, SLACK
