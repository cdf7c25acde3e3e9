"""`tamv-bot serve` in a process that was forked from one in which its modules are loaded already.

To load them takes two seconds of a core: with twenty starts in one test that would be most of its time.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from bot.app import running_bot
from bot.command_line import cli
from bot.settings import Settings, load_settings
from handlers.app import Server
from handlers.http_server import listen
from sandbox.clock import Clock

_forks = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Inside:
    """A bot that goes by another clock, which ticks alike in every process, and has the runbooks of another folder."""

    clock: Clock
    folder: Path


def start(environment: Mapping[str, str], log: Path, inside: Inside | None = None) -> BaseProcess:
    """The process, which is on its way to serving."""
    _forks.set_forkserver_preload([__name__, "kubernetes.aio.client"])
    process = _forks.Process(target=_serve, args=(dict(environment), log, inside), daemon=True)
    process.start()
    return process


def _serve(environment: dict[str, str], log: Path, inside: Inside | None) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            del os.environ[name]
    os.environ.update(environment)
    if inside:
        os.chdir(inside.folder)
        asyncio.run(_serve_by(inside.clock))
    sys.argv = ["tamv-bot", "serve"]
    cli()


async def _serve_by(clock: Clock) -> None:
    logging.basicConfig(level=logging.INFO)
    settings = load_settings()
    async with running_bot(settings, clock) as bot:
        server = Server(bot, settings)
        async with server.recovering_deliveries(), listen(server.app(), settings.host, settings.port):
            await asyncio.Event().wait()
