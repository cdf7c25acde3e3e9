"""Deadlines for waiting on other programs: on a busy machine they wait longer instead of failing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

LOAD = Path("/proc/loadavg")
CHECK_INTERVAL_SECONDS = 0.25
LONGEST_STRETCH = 8.0  # times the seconds that were asked for


def cpu_share() -> float:
    """Return which part of a processor a runnable task gets now: 1.0 on an idle machine, 0.25 at four tasks a core."""
    try:  # "0.20 0.18 0.12 1/80 11206": the fourth field has the runnable and all tasks (proc_loadavg(5))
        runnable = int(LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        runnable = round(os.getloadavg()[0])
    cores = os.cpu_count() or 1
    return min(1.0, cores / max(runnable, 1))


class Deadline:
    """Seconds of a whole core that are left; `restart` begins them anew when something has moved."""

    def __init__(self, scope: asyncio.Timeout, seconds: float) -> None:
        self._scope = scope
        self._seconds = seconds
        self._last = asyncio.get_running_loop().time() + seconds * LONGEST_STRETCH

    def restart(self) -> None:
        self._reschedule(asyncio.get_running_loop().time() + self._seconds)

    async def stretch(self) -> None:
        """Move the deadline by the time in which others had the processors."""
        while (when := self._scope.when()) is not None:
            started, process = time.perf_counter(), time.process_time()
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            elapsed = time.perf_counter() - started
            late = elapsed - CHECK_INTERVAL_SECONDS - (time.process_time() - process)
            lost = max(elapsed * (1 - cpu_share()), late)
            self._reschedule((self._scope.when() or when) + lost)

    def _reschedule(self, when: float) -> None:
        if not self._scope.expired():
            self._scope.reschedule(min(when, self._last))


@contextlib.asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[Deadline]:
    """Like `asyncio.timeout`, counting only the time that this process could have used. Raises TimeoutError."""
    async with asyncio.timeout(seconds) as scope:
        limit = Deadline(scope, seconds)
        stretching = asyncio.create_task(limit.stretch(), name="deadline")
        try:
            yield limit
        finally:
            stretching.cancel()
