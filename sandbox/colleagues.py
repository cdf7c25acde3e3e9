"""Those at GitHub whom a hotfix waits for: who writes the fix, the checks, who reviews it, and the pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sandbox.github.state import CANARY
from sandbox.server import Sandbox
from sandbox.world.scenario import Strict

T = TypeVar("T")

PIPELINE = 180.0  # seconds of the world that a build or a canary takes


class Colleagues(Strict):
    """`author` (a login) pushes the fix to `branch`; `reviewer` (a handle) approves it, or nobody does.

    The canary that somebody dispatches brings its tag to `service`.
    """

    branch: str
    service: str
    author: str
    file: str
    text: str
    reviewer: str | None = None

    def push(self, sandbox: Sandbox) -> None:
        """The fix, in the branch that the run has made."""
        sandbox.github.code.put_file(
            self.file, self.text, "Fix", self.author, branch=self.branch, replaces=None
        )  # fmt: skip

    @asynccontextmanager
    async def at_work(self, sandbox: Sandbox) -> AsyncIterator[None]:
        """Meanwhile checks, reviewer and pipelines do their part."""
        sandbox.github.actions.run_seconds = PIPELINE
        working = asyncio.create_task(self._work(sandbox), name="people and pipelines at GitHub")
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self, sandbox: Sandbox) -> None:
        code = sandbox.github.code
        pull = await _once(lambda: next((one for one in sandbox.github.pulls.values() if one.team_reviewers), None))
        code.check(self.branch, "tests", "success")
        if self.reviewer is None:
            return
        await sandbox.github.person(self.reviewer).approve(pull)
        canary = await _once(
            lambda: next((one for one in sandbox.github.runs.values() if one.workflow.path == CANARY), None)
        )  # fmt: skip
        await _once(lambda: canary.status == "completed")
        sandbox.world.set_version(self.service, canary.inputs["image_tag"])


async def _once(true: Callable[[], T | None]) -> T:
    while not (found := true()):  # noqa: ASYNC110 - the bot asks GitHub, and tells nobody
        await asyncio.sleep(0.05)
    return found
