"""Charts: one picture a figure, to be read on a phone, on Slack's light and dark backgrounds alike.

They are drawn in a process of their own (`bot.messages.chart_worker`): drawing holds Python's lock, and for as long as
a storm's charts take an acknowledgement would wait for it. Where nothing is drawn, nothing of matplotlib is in memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from bot.domain.snapshot import MetricResult, Snapshot
from bot.messages.translations import Translations

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
IDLE_SECONDS = 300  # seconds without a chart
COMMAND = (sys.executable, "-m", "bot.messages.chart_worker")


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the incident, with its word: a line across the chart."""

    at: datetime
    text: str


async def render(
    snapshot: Snapshot, figures: Sequence[MetricResult], marks: Sequence[Mark], words: Translations
) -> list[bytes]:
    """A PNG of 1200 x 675 pixels for each of the snapshot's `figures`, in order. RuntimeError when none comes."""
    _worker.stop_when_idle()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_worker.thread, _worker.render, snapshot, figures, marks, words.locale)


def prestart() -> None:
    """Have the process ready soon, because charts are going to be drawn; returns at once."""
    _worker.stop_when_idle()
    _worker.thread.submit(_worker.ensure_started)


class ChartWorker:
    """The process that draws, and the one thread that talks to it."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="charts")
        self._process: subprocess.Popen[bytes] | None = None
        self._calm: asyncio.TimerHandle | None = None

    def stop_when_idle(self) -> None:
        """Unless it is needed again within CALM, its memory is given back."""
        if self._calm:
            self._calm.cancel()
        self._calm = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.thread.submit, self._put_away)

    def _put_away(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()  # by which it ends
            self._process.wait()

    def ensure_started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(  # noqa: S603
                COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        return self._process

    def render(
        self, snapshot: Snapshot, figures: Sequence[MetricResult], marks: Sequence[Mark], locale: str
    ) -> list[bytes]:
        request = {
            "snapshot": snapshot.to_json(),
            "queries": [figure.query for figure in figures],
            "marks": [[mark.at.isoformat(), mark.text] for mark in marks],
            "locale": locale,
        }
        line = json.dumps(request).encode() + b"\n"
        try:
            return self._answered(line)
        except (OSError, EOFError) as problem:  # it was killed: drawn by another one
            log.info("charts are drawn again: %s", type(problem).__name__)
            return self._answered(line)

    def _answered(self, line: bytes) -> list[bytes]:
        process = self.ensure_started()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(_exactly(process.stdout, None))
            if problem := answer.get("problem"):
                raise RuntimeError(f"charts: {problem}")
            return [_exactly(process.stdout, size) for size in answer["sizes"]]
        except (OSError, EOFError):
            process.kill()
            process.wait()
            raise


def _exactly(stream: IO[bytes], size: int | None) -> bytes:
    """So many bytes, or a line. EOFError when the other side has ended."""
    read = stream.readline() if size is None else stream.read(size)
    if not read or (size is not None and len(read) < size):
        raise EOFError
    return read


_worker = ChartWorker()
