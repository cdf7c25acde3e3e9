"""Charts: one PNG per metric, readable on a phone and on Slack's light and dark backgrounds.

A separate process (`bot.messages.chart_worker`) draws them: matplotlib holds the GIL, which would delay
acknowledgements during an alert storm. It also keeps matplotlib out of this process's memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from bot.domain.snapshot import MetricResult, Snapshot
from bot.messages.translations import Translations

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]  # `bot` can be imported there
IDLE_SECONDS = 300
COMMAND = (sys.executable, "-m", "bot.messages.chart_worker")


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line across the chart: an event of the incident, or a change, and its label.

    `likely`: the cause may be this change.
    """

    at: datetime
    text: str
    likely: bool = False


async def render(
    snapshot: Snapshot, metrics: Sequence[MetricResult], marks: Sequence[Mark], words: Translations
) -> list[bytes]:
    """Return a PNG of 1200 x 675 pixels for each of these metrics, in order. Raises RuntimeError on failure."""
    return await _render(_request(snapshot, metrics, marks, words))


async def render_strip(
    snapshot: Snapshot, metrics: Sequence[MetricResult], changes: Sequence[Mark], words: Translations
) -> bytes:
    """Return a PNG of these metrics and the changes on one axis, 1200 pixels wide. Raises RuntimeError on failure."""
    return (await _render(_request(snapshot, metrics, changes, words) | {"strip": True}))[0]


async def _render(request: Mapping[str, Any]) -> list[bytes]:
    _worker.stop_when_idle()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_worker.thread, _worker.render, request)


def _request(
    snapshot: Snapshot, metrics: Sequence[MetricResult], marks: Sequence[Mark], words: Translations
) -> dict[str, Any]:
    return {
        "snapshot": snapshot.to_json(),
        "queries": [metric.query for metric in metrics],
        "marks": [[mark.at.isoformat(), mark.text, mark.likely] for mark in marks],
        "locale": words.locale,
    }


def prestart() -> None:
    """Start the process if it is not running, because charts will be needed soon; returns immediately."""
    _worker.stop_when_idle()
    _worker.thread.submit(_worker.ensure_started)


class ChartWorker:
    """The process that draws, and the one thread that talks to it."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="charts")
        self._process: subprocess.Popen[bytes] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def stop_when_idle(self) -> None:
        """Restart the timer that stops the process after IDLE_SECONDS, to free its memory."""
        if self._idle_timer:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.thread.submit, self._stop)

    def _stop(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()  # the process ends at end of input
            self._process.wait()

    def ensure_started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(  # noqa: S603
                COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        return self._process

    def render(self, request: Mapping[str, Any]) -> list[bytes]:
        line = json.dumps(request).encode() + b"\n"
        try:
            return self._request(line)
        except (OSError, EOFError) as problem:  # the process was killed: start another one
            log.info("chart process failed, retrying once: %s", type(problem).__name__)
            return self._request(line)

    def _request(self, line: bytes) -> list[bytes]:
        process = self.ensure_started()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        try:
            process.stdin.write(line)
            process.stdin.flush()
            response: dict[str, Any] = json.loads(_read_exactly(process.stdout, None))
            if problem := response.get("problem"):
                raise RuntimeError(f"charts: {problem}")
            return [_read_exactly(process.stdout, size) for size in response["sizes"]]
        except (OSError, EOFError):
            process.kill()
            process.wait()
            raise


def _read_exactly(stream: IO[bytes], size: int | None) -> bytes:
    """Read so many bytes, or a line. Raises EOFError if the process has ended."""
    data = stream.readline() if size is None else stream.read(size)
    if not data or (size is not None and len(data) < size):
        raise EOFError
    return data


_worker = ChartWorker()
