"""Where it is measured: `tamv-bot serve` as a process of its own, the sandbox as another, this one sends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import psutil
from pydantic import SecretStr

from benchmarks.requests import Request, Workspace
from bot.settings import Settings
from demo.bot_process import free_port
from demo.environment import sandbox_settings
from sandbox.server import Sandbox

ROOT = Path(__file__).parents[1]
START = 60.0  # seconds within which a process must be ready
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    bot_url: str
    world_url: str
    bot: psutil.Process
    session: aiohttp.ClientSession
    workspace: Workspace

    async def send(self, request: Request) -> tuple[int, float]:
        """The status of the bot's answer, and how many milliseconds it took."""
        began = time.perf_counter()
        url = f"{self.bot_url}{request.path}"
        async with self.session.post(url, data=request.body, headers=request.headers) as answer:
            await answer.read()
            return answer.status, (time.perf_counter() - began) * 1000

    async def calls(self, ends: str = "") -> list[dict[str, Any]]:
        """What the sandbox was asked since `forget`, oldest first; with `ends`, the calls whose path ends so."""
        async with self.session.get(f"{self.world_url}/calls", params={"ends": ends}) as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def forget(self) -> None:
        async with self.session.delete(f"{self.world_url}/calls"):
            pass

    async def state(self, service: str) -> dict[str, Any]:
        async with self.session.get(f"{self.world_url}/{service}/state") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def headlines(self) -> list[dict[str, Any]]:
        """The calls that posted a message of its own into the incidents' channel."""
        known = (await self.state("slack"))["channels"]
        places = {"#tamv-incidents", *(channel["id"] for channel in known if channel["name"] == "tamv-incidents")}
        posted = [call for call in await self.calls("/chat.postMessage") if call["status"] == 200]
        return [
            call for call in posted if call["brought"]["channel"] in places and not call["brought"].get("thread_ts")
        ]

    async def latency(self, service: str, seconds: float) -> None:
        """Every answer of a service comes that much later; 0 ends it."""
        async with self.session.delete(f"{self.world_url}/faults?service={service}"):
            pass
        if seconds:
            fault = {"service": service, "kind": "slow", "seconds": seconds, "times": None}
            async with self.session.post(f"{self.world_url}/faults", json=fault) as answer:
                answer.raise_for_status()

    async def quiet(self, seconds: float = 1.0, *, at_most: float = 120.0) -> None:
        """Wait until the bot has asked the sandbox nothing for `seconds`."""
        async with asyncio.timeout(at_most):
            before = -1
            while (now := len(await self.calls())) != before:
                before = now
                await asyncio.sleep(seconds)


async def until(true: Callable[[], Awaitable[T | None]], seconds: float = 30.0, every: float = 0.05) -> T:
    """What `true` gives, once it gives something. TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not (found := await true()):  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(every)
    return found


@asynccontextmanager
async def place(
    *,
    database: str | None = None,
    prometheus: str | None = None,
    runbooks: Mapping[str, str] | None = None,
    team: Mapping[str, str] | None = None,
    measures: bool = True,
    replicas: int = 1,
) -> AsyncIterator[Place]:
    """Both processes, from their start until they have ended; the database is a new SQLite file unless one is given.

    With more `replicas`, other bots run workflows on the same database, and are asked nothing. With `runbooks` (name →
    YAML) the bot has these instead of the shipped ones, and the sandbox's cluster. `team` says what is written in its
    team.yaml instead of what the shipped one has. Unless it `measures`, it has no Prometheus.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        port, cwd = free_port(), Path(folder)
        async with world(f"http://127.0.0.1:{port}") as world_url:
            given = environment(world_url, database or f"sqlite:///{folder}/bot.db", port, prometheus=prometheus)
            given["TEAM_DIR"] = str(_team_folder(cwd / "team", team or {}, runbooks))
            if runbooks is not None:
                (cwd / "kubeconfig").write_text(Sandbox().kubernetes.kubeconfig(f"{world_url}/kubernetes"), "utf-8")
                given["KUBECONFIG"] = str(cwd / "kubeconfig")
            if not measures:
                del given["PROMETHEUS_URL"]
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
                serve(given, session, cwd) as bot,
                contextlib.AsyncExitStack() as others,
            ):
                for _ in range(replicas - 1):
                    await others.enter_async_context(serve(given | {"PORT": str(free_port())}, session, cwd))
                yield Place(f"http://127.0.0.1:{port}", world_url, bot, session, Workspace(f"{world_url}/heard"))


def _team_folder(folder: Path, changes: Mapping[str, str], runbooks: Mapping[str, str] | None) -> Path:
    """The shipped team with some words of its file replaced, and with other runbooks if some are given."""
    shutil.copytree(ROOT / "teams" / "tamv", folder)
    file = folder / "team.yaml"
    text = file.read_text("utf-8")
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    file.write_text(text, "utf-8")
    if runbooks is not None:
        shutil.rmtree(folder / "runbooks")
        (folder / "runbooks").mkdir()
        for name, content in runbooks.items():
            (folder / "runbooks" / f"{name}.yaml").write_text(content, "utf-8")
    return folder


@asynccontextmanager
async def world(bot_url: str) -> AsyncIterator[str]:
    """The sandbox; gives its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.world", bot_url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield (await asyncio.wait_for(process.stdout.readline(), START)).decode().strip()
    finally:
        await _end(process)


@asynccontextmanager
async def serve(
    given: Mapping[str, str], session: aiohttp.ClientSession, cwd: Path = ROOT
) -> AsyncIterator[psutil.Process]:
    """`tamv-bot serve` from the moment at which /readyz says so. Its log is shown when it does not come to that."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "serve", cwd=cwd, env=given, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{given['PORT']}/readyz"
            try:
                await until(lambda: _answers(session, url), START, every=0.02)
            except TimeoutError:
                log.seek(0)
                sys.stderr.write(log.read().decode())
                raise
            yield psutil.Process(process.pid)
        finally:
            await _end(process)


def environment(world_url: str, database: str, port: int, *, prometheus: str | None = None) -> dict[str, str]:
    """The environment of a bot whose every client points at the sandbox."""
    given = sandbox_settings(
        world_url, Sandbox(), database, port=port, prometheus_url=prometheus or f"{world_url}/prometheus"
    )
    bare = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return bare | {name.upper(): text for name in Settings.model_fields if (text := _text(getattr(given, name)))}


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ",".join(_text(one) for one in value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as answer:
            return answer.status == 200 and (await answer.json())["engine"] == "runs"
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
