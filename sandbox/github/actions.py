"""Deployments and workflow runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sandbox.github import action_shapes
from sandbox.github.code_records import Conclusion, Deployment, DeploymentStatus, Run, Workflow
from sandbox.github.links import Links
from sandbox.github.records import NOT_FOUND, Problem

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub


CANARY, BUILD = ".github/workflows/cd_canary.yml", ".github/workflows/ci.yml"


class Actions:
    """CANARY is dispatched; BUILD runs by itself for each merge.

    `run_seconds` is how long a workflow run takes in world time; None: it waits for `complete`.
    """

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self.deployments: dict[int, Deployment] = {}
        self.workflows = [self._workflow("Canary", CANARY, "image_tag", "environment"), self._workflow("CI", BUILD)]
        self.runs: dict[int, Run] = {}
        self.run_seconds: float | None = None
        self._running: set[asyncio.Task[None]] = set()

    def deploy(self, ref: str, environment: str, creator: str, state: str = "success", **more: Any) -> Deployment:
        """A deployment with its first status; `more` are its task, description, payload."""
        now = self._github.clock.now()
        sha = self._github.code.commit_of(ref).sha
        deployment = Deployment(self._github.new_id(), sha, ref, environment, creator, now, **more)
        self.deployments[deployment.id] = deployment
        self.set_state(deployment, state, creator)
        return deployment

    def set_state(self, deployment: Deployment, state: str, creator: str, description: str = "") -> DeploymentStatus:
        now = self._github.clock.now()
        status = DeploymentStatus(self._github.new_id(), state, creator, description, now)
        deployment.statuses.append(status)
        return status

    def deployment(self, number: int) -> Deployment:
        """Problem 404 if there is none."""
        if number not in self.deployments:
            raise Problem(404, NOT_FOUND)
        return self.deployments[number]

    def workflow(self, id_or_file: str) -> Workflow:
        """Problem 404 if there is none."""
        for workflow in self.workflows:
            if id_or_file in (str(workflow.id), workflow.path.rpartition("/")[2]):
                return workflow
        raise Problem(404, NOT_FOUND)

    def dispatch(self, workflow: Workflow, ref: str, inputs: dict[str, Any], actor: str) -> Run:
        """Start a run. Problem 422 for an unknown ref or input."""
        branch = ref.removeprefix("refs/heads/")
        if branch not in self._github.code.branches:
            raise Problem(422, f"No ref found for: {ref}")
        unexpected = [name for name in inputs if name not in workflow.inputs]
        if unexpected:
            raise Problem(422, f"Unexpected inputs provided: {unexpected}")
        return self._begin(workflow, branch, actor, inputs=inputs)

    def build(self, branch: str, actor: str) -> Run:
        """What a push to this branch starts."""
        return self._begin(self.workflow(BUILD.rpartition("/")[2]), branch, actor, event="push")

    def _workflow(self, name: str, path: str, *inputs: str) -> Workflow:
        return Workflow(self._github.new_id(), name, path, self._github.created_at, inputs)

    def _begin(self, workflow: Workflow, branch: str, actor: str, **more: Any) -> Run:
        now = self._github.clock.now()
        number = 1 + sum(run.workflow == workflow for run in self.runs.values())
        sha = self._github.code.branches[branch]
        run = Run(self._github.new_id(), number, workflow, branch, sha, actor, now, now, **more)
        self.runs[run.id] = run
        self._tell("requested", run)
        if self.run_seconds is not None:
            task = asyncio.create_task(self._run(run, self.run_seconds))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return run

    def start(self, run: Run) -> None:
        run.status, run.updated_at = "in_progress", self._github.clock.now()
        self._tell("in_progress", run)

    def complete(self, run: Run, conclusion: Conclusion = "success") -> None:
        run.status, run.conclusion = "completed", conclusion
        run.updated_at = self._github.clock.now()
        self._tell("completed", run)

    async def aclose(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, run: Run, seconds: float) -> None:
        self.start(run)
        await self._github.clock.sleep(seconds)
        if run.status != "completed":
            self.complete(run)

    def _tell(self, action: str, run: Run) -> None:
        def draw(links: Links) -> dict[str, Any]:
            return {
                "workflow": action_shapes.workflow_json(run.workflow, links),
                "workflow_run": action_shapes.webhook_run_json(self._github, run, links),
            }

        self._github.tell("workflow_run", action, run.actor, draw)
