"""A bot in a process of its own, which can be killed and started again, on a clock that it shares with this one."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

import aiohttp

from bot.app import running_bot
from bot.settings import Settings
from handlers.app import Server
from handlers.http_server import listen
from sandbox.clock import Clock
from sandbox.deadline import cpu_share, deadline

READY_SECONDS = 60.0
PACE_SECONDS = 0.05  # how often the clock's speed is fitted to the machine's load

# What every start would load anew: two seconds of a core.
PRELOADED = ["demo.bot_process", "kubernetes.aio.client", "boto3", "alembic.command"]

_forks = multiprocessing.get_context("forkserver")


class SharedClock(Clock):
    """A clock whose time and speed are those of every process that it was handed to. One process sets the speed."""

    def __init__(self, speed: float = 1.0) -> None:
        # A version that is odd while the others are being written, the world's time, the machine's, the speed.
        self._shared = RawArray(ctypes.c_double, [0.0, datetime.now(UTC).timestamp(), time.monotonic(), speed])

    def _read(self) -> tuple[float, float, float]:
        while True:
            version, world, real, speed = self._shared
            if version % 2 == 0 and version == self._shared[0]:
                return world, real, speed

    def now(self) -> datetime:
        world, real, speed = self._read()
        return datetime.fromtimestamp(world, UTC) + timedelta(seconds=(time.monotonic() - real) * speed)

    @property
    def speed(self) -> float:
        return self._read()[2]

    @speed.setter
    def speed(self, speed: float) -> None:
        now, real = self.now().timestamp(), time.monotonic()
        self._shared[0] += 1
        self._shared[1], self._shared[2], self._shared[3] = now, real, speed
        self._shared[0] += 1

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of world time, also when the speed changes meanwhile."""
        until = self.now() + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        while (left := (until - self.now()).total_seconds()) > 0:  # noqa: ASYNC110 - time has no event
            await asyncio.sleep(min(left / self.speed, PACE_SECONDS))


class Pace:
    """Sets how fast a clock runs; on a busy machine it is slower, so that the world does not run away from the bot."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self.speed = speed

    async def keep(self) -> None:
        """Fit the clock's speed to the machine's load, until cancelled."""
        while True:
            self.apply()
            await asyncio.sleep(PACE_SECONDS)

    def apply(self) -> None:
        self._clock.speed = max(1.0, self.speed * cpu_share())


class BotProcess:
    """`tamv-bot serve` on one port, in a process that is forked from one that has loaded its modules."""

    def __init__(self, settings: Settings, clock: Clock, log: Path) -> None:
        self.url = f"http://{settings.host}:{settings.port}"
        self._settings = settings
        self._clock = clock
        self._log = log
        self._process: BaseProcess | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    async def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError, with the end of its log, if it does not."""
        _forks.set_forkserver_preload(PRELOADED)
        self._process = _forks.Process(target=_serve, args=(self._settings, self._clock, self._log), daemon=True)
        await asyncio.to_thread(self._process.start)
        with suppress(TimeoutError):
            async with deadline(READY_SECONDS), aiohttp.ClientSession() as http:
                while self.is_running:
                    with suppress(aiohttp.ClientError, TimeoutError):
                        async with http.get(f"{self.url}/healthz", timeout=aiohttp.ClientTimeout(2)) as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(0.02)
        self.kill()
        raise RuntimeError(self.last_words or "the bot did not start")

    def kill(self) -> None:
        """SIGKILL it: it can put nothing in order."""
        if self._process is not None and self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else ""


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens.

    It is below those that Linux, macOS and Windows give to connections, which may take any of theirs at any moment.
    """
    while True:
        port = 16_384 + secrets.randbelow(16_384)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _serve(settings: Settings, clock: Clock, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started it
    sys.setswitchinterval(0.0005)
    asyncio.run(_serve_until_orphaned(settings, clock))


async def _serve_until_orphaned(settings: Settings, clock: Clock) -> None:
    orphaned, parent = asyncio.Event(), multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, orphaned.set)
    async with running_bot(settings, clock) as bot:
        server = Server(bot, settings)
        async with server.recovering_deliveries(), listen(server.app(), settings.host, settings.port):
            await orphaned.wait()
