"""Reload the team's folder while the bot runs: when a file in it changes, and on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from bot.actions.catalogue import ACTIONS
from bot.domain.errors import BotError
from bot.roles import refresh_roles
from bot.runbooks import Library
from bot.services.bot import Bot
from bot.team import TeamFile, load_team

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # a ConfigMap reaches its pods within a minute anyway
Fingerprint = tuple[tuple[str, int, int], ...]


class TeamFolder:
    """The folder of a running bot. What is wrong in it is logged, and what was read before stays in use.

    Names of commands and the team's templates are read at the start only.
    """

    def __init__(self, bot: Bot, path: Path) -> None:
        self._bot = bot
        self._path = path
        self._seen = self._fingerprint()

    async def watch(self) -> None:
        """Reload when a file changes, and keep the members of the roles' user groups, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await refresh_roles(self._bot.deps)
            if (seen := await asyncio.to_thread(self._fingerprint)) != self._seen:
                self._seen = seen
                await self.reload()

    async def reload(self) -> bool:
        """Use what the folder contains now; return False and go on with what was read before if it is wrong."""
        metrics = self._bot.deps.metrics
        try:
            team, library = await asyncio.to_thread(self._read)
        except BotError as problem:
            metrics.team_reloads.labels("refused").inc()
            lines = problem.facts.get("lines") or problem.facts.get("mistakes") or [str(problem)]
            for line in lines if isinstance(lines, list) else [lines]:
                log.error("%s is not reloaded, the previous version stays in use: %s", self._path.parent, line)
            return False
        self._bot.use_team(team, library)
        await refresh_roles(self._bot.deps)
        metrics.team_reloads.labels("ok").inc()
        log.info("%s is reloaded: %s runbook(s)", self._path.parent, len(library.runbooks))
        return True

    def _read(self) -> tuple[TeamFile, Library]:
        team = load_team(self._path)
        return team, Library.read(team.runbooks, ACTIONS, team)

    def _fingerprint(self) -> Fingerprint:
        files = [self._path, *sorted((self._path.parent / "runbooks").glob("*.yaml"))]
        return tuple(filter(None, map(_stat, files)))


def _stat(path: Path) -> tuple[str, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_mtime_ns, stat.st_ino


def on_hangup(folder: TeamFolder) -> Callable[[], None]:
    """Return a signal handler that reloads the folder."""
    tasks: set[asyncio.Task[bool]] = set()

    def handle() -> None:
        task = asyncio.get_running_loop().create_task(folder.reload(), name="reload the team's folder")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return handle
