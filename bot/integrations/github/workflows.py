"""GitHub's workflows by PyGithub: started, waited for, cancelled. Each may be done twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """A run of a workflow: `status` is queued, in_progress, completed, …; `conclusion` is how it ended."""

    id: int
    url: str
    title: str
    branch: str
    sha: str
    status: str
    conclusion: str | None


class Workflows:
    """The workflows of one repository, by their files' names. Every method raises what Session.do says."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def newest_run(
        self, workflow: str, branch: str | None = None, *, after: int = 0, ours: bool = False
    ) -> WorkflowRun | None:
        """The newest run of a workflow (a file's name) with an id above `after`; with `ours`, that we dispatched."""

        def look(work: ThreadContext) -> WorkflowRun | None:
            query = {"branch": branch} if branch else {}
            who = self._session.login(work) if ours else None
            for workflow_run in islice(work.repository.get_workflow(workflow).get_runs(**query), 20):  # type: ignore[arg-type]
                if workflow_run.id > after and (
                    not ours or (workflow_run.event == DISPATCHED and workflow_run.actor.login == who)
                ):
                    return _run(workflow_run)
            return None

        return await self._session.call("read the workflow's runs", look)

    async def run_for(self, workflow: str, sha: str) -> WorkflowRun | None:
        """The newest run of a workflow for a commit."""

        def look(work: ThreadContext) -> WorkflowRun | None:
            paginated_list = work.repository.get_workflow(workflow).get_runs(head_sha=sha)
            return next((_run(workflow_run) for workflow_run in islice(paginated_list, 1)), None)

        return await self._session.call("read the workflow's runs", look)

    async def run(self, id: int) -> WorkflowRun:
        """Refused if there is none."""
        return await self._session.call(
            "read the workflow's run", lambda work: _run(work.repository.get_workflow_run(id))
        )

    @effect("github.dispatch_workflow")
    async def dispatch(self, workflow: str, branch: str, inputs: Mapping[str, str], after: int) -> int:
        """Start a workflow; gives its run's id. One of ours with an id above `after` was started by an earlier try."""

        def start(work: ThreadContext) -> int:
            work.before_writing()
            made = work.repository.get_workflow(workflow).create_dispatch(
                branch, dict(inputs), throw=True, return_run_details=True
            )
            if not isinstance(made, github_run.WorkflowRun):
                raise ValueError("no run")
            return made.id

        there = await self.newest_run(workflow, branch, after=after, ours=True)
        return there.id if there else await self._session.call("start the workflow", start, writes=True)

    @effect("github.cancel_workflow_run")
    async def cancel(self, id: int) -> None:
        """Also when it has ended."""

        def cancel(work: ThreadContext) -> None:
            run = work.repository.get_workflow_run(id)
            if run.status != "completed":
                work.before_writing()
                run.cancel()

        await self._session.call("cancel the workflow's run", cancel, writes=True)


def _run(raw: github_run.WorkflowRun) -> WorkflowRun:
    if not isinstance(raw.id, int) or not raw.status:
        raise ValueError("no run")
    return WorkflowRun(
        raw.id, raw.html_url, raw.display_title, raw.head_branch, raw.head_sha, raw.status, raw.conclusion
    )
