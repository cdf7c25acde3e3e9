"""The bot and the sandbox as processes of their own, so that one can be killed and the other remembers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr
from sqlalchemy import select

from bot.settings import Settings
from bot.store.database import Database
from bot.store.tables import assignments
from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.server import Sandbox
from tests.crash import serving
from tests.crash.outside import until

ROOT = Path(__file__).parents[2]
EVENTS = ("app_home_opened", "reaction_added")  # as app.yaml says
READY = 40.0  # seconds to start on a busy machine


class BotProcess:
    """`tamv-bot serve` on one port: killed and started again as often as one likes."""

    def __init__(
        self, environment: Mapping[str, str], folder: Path, name: str = "bot", *, inside: serving.Inside | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self.killed = 0
        self._environment = {**environment, "PORT": str(self.port)}
        self._inside = inside
        self._log = folder / f"{name}.log"
        self._process: BaseProcess | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def spawn(self) -> None:
        self.starts += 1
        self._process = serving.start(self._environment, self._log, self._inside)

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Come back when it answers. RuntimeError, with its log, when it ends or takes too long."""
        until = time.monotonic() + READY
        while time.monotonic() < until and self.running:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{self.url}/healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the bot did not start:\n{self.log[-4000:]}")

    async def started(self, session: aiohttp.ClientSession) -> None:
        self.spawn()
        await self.ready(session)

    def kill(self) -> None:
        """SIGKILL: it can put nothing in order."""
        if self._process is None:
            return
        self.killed += self._process.is_alive()
        self._process.kill()
        self._process.join()
        self._process = None

    def suspend(self) -> None:
        """SIGSTOP: it hangs, and its connections live."""
        assert self._process and self._process.pid
        os.kill(self._process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT: it goes on where it was."""
        assert self._process and self._process.pid
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.exitcode if self._process else None

    @property
    def executors(self) -> list[str]:
        """The ids under which it has run workflows, one for each start."""
        return re.findall(r"running workflows as executor (\w+)", self.log)

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


@contextlib.asynccontextmanager
async def sandbox_process(bot_url: str, folder: Path, port: int, *options: str) -> AsyncIterator[str]:
    """`python -m sandbox`; yields its base URL."""
    command = [sys.executable, "-m", "sandbox", f"--port={port}", f"--bot-url={bot_url}", *options]
    command += [f"--event={event}" for event in EVENTS]
    with (folder / "sandbox.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log)
    assert process.stdout
    try:
        first = await asyncio.wait_for(process.stdout.readline(), READY)
        yield first.decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def runner_and_other(
    bots: Sequence[BotProcess], database: Database, subject: str
) -> tuple[BotProcess, BotProcess]:
    """The one of two replicas that runs the workflows of an incident or a run, and the other, once both run some."""

    async def found() -> tuple[BotProcess, BotProcess] | None:
        query = select(assignments.c.executor).where(assignments.c.subject == subject)
        async with database.read() as connection:
            executor = (await connection.execute(query)).scalar_one_or_none()
        if not all(bot.running and len(bot.executors) == bot.starts for bot in bots):
            return None
        return next(((one, two) for one, two in itertools.permutations(bots) if executor in one.executors[-1:]), None)

    return await until(found, READY, f"who runs {subject}")


def environment(sandbox_url: str, database_url: str, **settings: object) -> dict[str, str]:
    """The environment of a bot whose every client is pointed at the sandbox."""
    return in_environment(sandbox_settings(sandbox_url, Sandbox(), database_url, "es", **settings))


def in_environment(settings: Settings) -> dict[str, str]:
    found = {name.upper(): _text(getattr(settings, name)) for name in type(settings).model_fields}
    return {name: value for name, value in found.items() if value}


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return ",".join(f"{header}={_text(content)}" for header, content in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(_text(each) for each in value)
    return "" if value is None else str(value)
