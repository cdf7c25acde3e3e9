"""The process itself: how soon it is ready, what it takes while nothing happens, and the demo as a whole."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

import aiohttp

from benchmarks.figures import Figure, median
from benchmarks.place import ROOT, environment, place, serve, world
from demo.bot_process import free_port

STARTS = 5
IDLE = 8.0
START_BAR, IDLE_BAR, DEMO_BAR = "start to ready", "resident memory, idle", "make demo-auto after the set-up"


async def start() -> list[Figure]:
    port = free_port()
    seconds, used = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with world(f"http://127.0.0.1:{port}") as url, aiohttp.ClientSession() as session:
            given = environment(url, f"sqlite:///{folder}/bot.db", port)
            for _ in range(STARTS + 1):
                began = time.perf_counter()
                async with serve(given, session) as bot:
                    seconds.append(time.perf_counter() - began)
                    used.append(bot.cpu_times().user + bot.cpu_times().system)
    new, *again = seconds
    return [
        Figure(START_BAR, "a new database, migrated", new, "s", 1.0),
        Figure(START_BAR, "median of the next starts", median(again), "s", 1.0, f"{STARTS} times"),
        Figure(START_BAR, "slowest", max(again), "s", 1.0),
        Figure(START_BAR, "processor time until then", median(used[1:]), "s"),
    ]


async def memory() -> list[Figure]:
    async with place() as here:
        await asyncio.sleep(IDLE)
        before = here.bot.cpu_times()
        await asyncio.sleep(IDLE)
        after = here.bot.cpu_times()
        resident = sum(one.memory_info().rss for one in (here.bot, *here.bot.children(recursive=True))) / 1e6
    busy = (after.user + after.system - before.user - before.system) / IDLE * 100
    return [
        Figure(IDLE_BAR, "resident", resident, "MB", 130.0),
        Figure(IDLE_BAR, "processor", busy, "% of a core", 1.0),
    ]


async def demo() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "demo", "--auto", "--out", folder, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        took = time.perf_counter() - began
    last = said.decode().strip().splitlines()[-1] if said else ""
    if process.returncode:
        return [Figure(DEMO_BAR, "played to its end", None, "s", 20.0, f"exit {process.returncode}: {last}")]
    return [Figure(DEMO_BAR, "played to its end", took, "s", 20.0)]
