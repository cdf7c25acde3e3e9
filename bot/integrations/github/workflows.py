"""GitHub Actions workflows by PyGithub: start, wait, cancel. Every method is idempotent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from bot.integrations.effects import effect
from bot.integrations.github.session import Session, ThreadContext
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import github.WorkflowRun as github_run
else:
    github_run = LazyModule("github.WorkflowRun")


DISPATCHED = "workflow_dispatch"


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """A run of a workflow: `status` is queued, in_progress, completed, …; `conclusion` is its result.

    `name` is the workflow's, `by` the login of who started it.
    """

    id: int
    url: str
    title: str
    branch: str
    sha: str
    status: str
    conclusion: str | None
    name: str = ""
    by: str = ""
    at: datetime | None = None


class Workflows:
    """The workflows of one repository, by file name. Methods raise as Session.call."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def newest_run(
        self, workflow: str, branch: str | None = None, *, after: int = 0, ours: bool = False
    ) -> WorkflowRun | None:
        """Return the newest run of a workflow with an id above `after`; with `ours`, one dispatched by the bot."""

        def fetch(context: ThreadContext) -> WorkflowRun | None:
            query = {"branch": branch} if branch else {}
            own_login = self._session.login(context) if ours else None
            for run in islice(context.repository.get_workflow(workflow).get_runs(**query), 20):  # type: ignore[arg-type]
                if run.id > after and (not ours or (run.event == DISPATCHED and run.actor.login == own_login)):
                    return _run(run)
            return None

        return await self._session.call("read the workflow's runs", fetch)

    async def runs_since(self, since: datetime, limit: int = 30) -> list[WorkflowRun]:
        """Return the newest runs of all workflows that were started since then, the newest first."""

        def fetch(context: ThreadContext) -> list[WorkflowRun]:
            runs = islice(context.repository.get_workflow_runs(), limit)
            return [_run(run) for run in runs if run.created_at >= since]

        return await self._session.call("read the workflow runs", fetch)

    async def run_for(self, workflow: str, sha: str) -> WorkflowRun | None:
        """Return the newest run of a workflow for a commit."""

        def fetch(context: ThreadContext) -> WorkflowRun | None:
            runs = context.repository.get_workflow(workflow).get_runs(head_sha=sha)
            return next((_run(run) for run in islice(runs, 1)), None)

        return await self._session.call("read the workflow's runs", fetch)

    async def run(self, id: int) -> WorkflowRun:
        """Return a run. Raises Refused if it does not exist."""
        return await self._session.call(
            "read the workflow's run", lambda context: _run(context.repository.get_workflow_run(id))
        )

    @effect("github.dispatch_workflow")
    async def dispatch(self, workflow: str, branch: str, inputs: Mapping[str, str], after: int) -> int:
        """Start a workflow and return its run's id. A run of the bot above `after` is from an earlier attempt."""

        def start(context: ThreadContext) -> int:
            context.before_writing()
            run = context.repository.get_workflow(workflow).create_dispatch(
                branch, dict(inputs), throw=True, return_run_details=True
            )
            if not isinstance(run, github_run.WorkflowRun):
                raise ValueError("no run")
            return run.id

        existing = await self.newest_run(workflow, branch, after=after, ours=True)
        return existing.id if existing else await self._session.call("start the workflow", start, writes=True)

    @effect("github.cancel_workflow_run")
    async def cancel(self, id: int) -> None:
        """Cancel a run. Does nothing if it has ended."""

        def cancel(context: ThreadContext) -> None:
            run = context.repository.get_workflow_run(id)
            if run.status != "completed":
                context.before_writing()
                run.cancel()

        await self._session.call("cancel the workflow's run", cancel, writes=True)


def _run(raw: github_run.WorkflowRun) -> WorkflowRun:
    if not isinstance(raw.id, int) or not raw.status:
        raise ValueError("no run")
    return WorkflowRun(
        raw.id,
        raw.html_url,
        raw.display_title,
        raw.head_branch,
        raw.head_sha,
        raw.status,
        raw.conclusion,
        raw.name or "",
        raw.actor.login if raw.actor else "",
        raw.created_at,
    )
