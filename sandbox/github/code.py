"""The repository's code: branches, files, pull requests and checks; deployments and workflow runs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from sandbox.github import shapes
from sandbox.github.state import (
    BUILD,
    QUEUE_BOT,
    CheckRun,
    Commit,
    CommitStatus,
    Conclusion,
    Deployment,
    DeploymentStatus,
    Links,
    Problem,
    Pull,
    Repository,
    Review,
    ReviewState,
    Run,
    Workflow,
    invalid,
)
from sandbox.github.tracker import SendWebhook, Tracker


def blob_sha(text: str) -> str:
    """Return Git's name for a file with this text."""
    data = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Code:
    """Branches, files, pull requests, reviews and checks of a repository."""

    def __init__(self, repo: Repository, send_webhook: SendWebhook, tracker: Tracker, actions: Actions) -> None:
        self._repo = repo
        self._send_webhook = send_webhook
        self._tracker = tracker
        self._actions = actions

    def add_branch(self, name: str, sha: str) -> None:
        """Raise Problem 422 if it exists or the commit is unknown."""
        if name in self._repo.branches:
            raise Problem(422, "Reference already exists")
        if sha not in self._repo.commits:
            raise Problem(422, "Object does not exist")
        self._repo.branches[name] = sha

    def remove_branch(self, name: str) -> None:
        """Raise Problem 422 if there is none."""
        if name not in self._repo.branches:
            raise Problem(422, "Reference does not exist")
        del self._repo.branches[name]

    def put_file(self, path: str, text: str, message: str, by: str, *, branch: str, replaces: str | None) -> Commit:
        """Commit one file. Raises Problem 409 unless `replaces` is the sha of the present file."""
        if branch not in self._repo.branches:
            raise Problem(404, f"Branch {branch} not found")
        head = self._repo.commit_of(branch)
        present = blob_sha(head.files[path]) if path in head.files else None
        if replaces is None and present is not None:
            raise Problem(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
        if replaces != present:
            raise Problem(409, f"{path} does not match {replaces}")
        commit = self._repo.add_commit((head.sha,), message, by, {**head.files, path: text})
        self._repo.branches[branch] = commit.sha
        for pull in self._repo.pulls.values():
            if pull.head == branch and pull.issue.state == "open":
                pull.head_sha = commit.sha
        return commit

    def open_pull(
        self, title: str, body: str | None, head: str, base: str, author: str, *, draft: bool = False
    ) -> Pull:
        """Open a pull request. Raises Problem 422 for a missing branch, no difference, or an open one that exists."""
        head = head.removeprefix(f"{self._repo.owner}:")
        for name, branch in (("head", head), ("base", base)):
            if branch not in self._repo.branches:
                raise invalid("PullRequest", name, "invalid")
        if self._repo.branches[head] == self._repo.branches[base]:
            raise invalid("PullRequest", "base", "custom", message=f"No commits between {base} and {head}")
        if any(p.head == head and p.base == base and p.issue.state == "open" for p in self._repo.pulls.values()):
            message = f"A pull request already exists for {self._repo.owner}:{head}."
            raise invalid("PullRequest", "head", "custom", message=message)
        issue = self._tracker.open(title, body, author, is_pull_request=True)
        pull = Pull(
            self._repo.new_id(), issue, head, base, self._repo.branches[head], self._repo.branches[base], draft=draft
        )
        self._repo.pulls[issue.number] = pull
        self._notify("opened", pull, author)
        return pull

    def request_reviewers(self, pull: Pull, logins: Sequence[str], teams: Sequence[str], by: str) -> None:
        """Request reviews. Raises Problem 422 for the author, for strangers and for unknown teams."""
        if pull.issue.author in logins:
            raise Problem(422, "Review cannot be requested from pull request author.")
        if any(login not in self._repo.assignable for login in logins):
            message = "Reviews may only be requested from collaborators. One or more of the users or teams "
            raise Problem(422, message + "you specified is not a collaborator of the repository.")
        if any(team not in self._repo.teams for team in teams):
            raise Problem(422, "Could not resolve to a node with the global id of the team.")
        pull.reviewers = list(dict.fromkeys([*pull.reviewers, *logins]))
        pull.team_reviewers = list(dict.fromkeys([*pull.team_reviewers, *teams]))
        for login in logins:
            self._notify("review_requested", pull, by, reviewer=login)

    def review(
        self,
        pull: Pull,
        author: str,
        state: ReviewState,
        body: str = "",
    ) -> Review:
        """Add a review. Raises Problem 422 if the author approves or requests changes."""
        if author == pull.issue.author and state != "COMMENTED":
            raise Problem(422, "Can not approve or request changes on your own pull request")
        now = self._repo.clock.now()
        review = Review(self._repo.new_id(), author, state, body, now, pull.head_sha)
        pull.reviews.append(review)
        pull.reviewers = [login for login in pull.reviewers if login != author]
        return review

    def check(self, ref: str, name: str, conclusion: Conclusion | None = None, app: str = "github-actions") -> CheckRun:
        """Start or end an app's check of a commit; without a conclusion it is in progress."""
        sha = self._repo.commit_of(ref).sha
        now = self._repo.clock.now()
        same = (check for check in self._repo.checks_of(sha) if (check.name, check.app) == (name, app))
        check = next(same, None)
        if check is None:
            check = CheckRun(self._repo.new_id(), sha, name, now, app)
            self._repo.checks.append(check)
        check.conclusion = conclusion
        check.completed_at = now if conclusion else None
        return check

    def set_status(self, ref: str, context: str, state: Literal["error", "failure", "pending", "success"]) -> None:
        """Set a commit's status of a context."""
        sha, now = self._repo.commit_of(ref).sha, self._repo.clock.now()
        self._repo.statuses.append(CommitStatus(self._repo.new_id(), sha, context, state, now))

    def squash(self, pull: Pull, by: str, *, title: str | None, expected: str | None) -> Commit:
        """Merge as one commit. Raises Problem 405 if it may not be merged, 409 if the head is not `expected`."""
        if self.is_queued_for(pull.base):
            raise Problem(405, "Changes must be made through the merge queue")
        self._check_mergeable(pull, expected)
        return self._merge(pull, by, title)

    def is_queued_for(self, base: str) -> bool:
        return self._repo.has_merge_queue and base == self._repo.default_branch

    def enqueue(self, pull: Pull, expected: str | None) -> None:
        """Put at the end of the merge queue. Raises Problem as `squash`, and 422 if there is none or it is in it."""
        if not self.is_queued_for(pull.base):
            raise Problem(422, "The merge queue is not enabled for this branch")
        if pull in self._repo.queue:
            raise Problem(422, "Pull request is already in the queue")
        self._check_mergeable(pull, expected)
        self._repo.queue.append(pull)

    def dequeue(self, pull: Pull) -> None:
        """Take out of the merge queue. Raises Problem 422 if it is not in it."""
        if pull not in self._repo.queue:
            raise Problem(422, "Pull request is not in the queue")
        self._repo.queue.remove(pull)

    def end_queue(self, pull: Pull, *, merged: bool) -> None:
        """Let the queue's checks of a pull request end: it is merged, or removed from the queue."""
        self._repo.queue.remove(pull)
        if merged:
            self._merge(pull, QUEUE_BOT, None)

    def _check_mergeable(self, pull: Pull, expected: str | None) -> None:
        if pull.issue.state == "closed" or pull.draft:
            raise Problem(405, "Pull Request is not mergeable")
        if expected and expected != pull.head_sha:
            raise Problem(409, "Head branch was modified. Review and try the merge again.")
        if self._repo.approvals(pull) < self._repo.required_approvals:
            raise Problem(405, "At least 1 approving review is required by reviewers with write access.")
        if self._repo.mergeable_state(pull) != "clean":
            raise Problem(405, "Required status check is expected.")

    def _merge(self, pull: Pull, by: str, title: str | None) -> Commit:
        message = title or f"{pull.issue.title} (#{pull.issue.number})"
        files = self._repo.commits[pull.head_sha].files
        commit = self._repo.add_commit((self._repo.branches[pull.base],), message, by, files)
        self._repo.branches[pull.base] = commit.sha
        pull.merge_commit, pull.merged_at, pull.merged_by = commit.sha, commit.at, by
        self._tracker.close(pull.issue, by)
        self._notify("closed", pull, by)
        self._actions.build(pull.base, by)
        return commit

    def revert(self, pull: Pull, by: str) -> Pull:
        """Open a pull request that reverts a merged one. Raises Problem 422 if it is not merged or is reverted."""
        if pull.merge_commit is None:
            raise Problem(422, "Pull request is not merged")
        merged = self._repo.commits[pull.merge_commit]
        before, now = (
            self._repo.commits[merged.parents[0]].files,
            self._repo.commits[self._repo.branches[pull.base]].files,
        )
        changed = {path for path in merged.files.keys() | before.keys() if merged.files.get(path) != before.get(path)}
        files = {path: text for path, text in now.items() if path not in changed}
        files |= {path: before[path] for path in changed if path in before}
        title = f'Revert "{pull.issue.title}"'
        head = f"revert-{pull.issue.number}-{pull.head}"
        self.add_branch(head, self._repo.add_commit((self._repo.branches[pull.base],), title, by, files).sha)
        return self.open_pull(title, f"Reverts {self._repo.name}#{pull.issue.number}", head, pull.base, by)

    def close_pull(self, pull: Pull, by: str) -> None:
        self._tracker.close(pull.issue, by)
        self._notify("closed", pull, by)

    def _notify(self, action: str, pull: Pull, sender: str, *, reviewer: str | None = None) -> None:
        def to_json(links: Links) -> dict[str, Any]:
            event: dict[str, Any] = {
                "number": pull.issue.number,
                "pull_request": shapes.pull_json(self._repo, pull, links),
            }
            if reviewer is not None:
                event["requested_reviewer"] = shapes.user_json(self._repo.users[reviewer], links)
            return event

        self._send_webhook("pull_request", action, sender, to_json)


class Actions:
    """Deployments and workflow runs: CANARY is dispatched, BUILD runs by itself for each merge.

    `run_seconds` is how long a workflow run takes in world time; None: it waits for `complete`.
    """

    def __init__(self, repo: Repository, send_webhook: SendWebhook) -> None:
        self._repo = repo
        self._send_webhook = send_webhook
        self.run_seconds: float | None = None
        self._running: set[asyncio.Task[None]] = set()

    def deploy(self, ref: str, environment: str, creator: str, state: str = "success", **more: Any) -> Deployment:
        """Create a deployment with its first status; `more` are its task, description, payload."""
        now = self._repo.clock.now()
        sha = self._repo.commit_of(ref).sha
        deployment = Deployment(self._repo.new_id(), sha, ref, environment, creator, now, **more)
        self._repo.deployments[deployment.id] = deployment
        self.set_state(deployment, state, creator)
        return deployment

    def set_state(self, deployment: Deployment, state: str, creator: str, description: str = "") -> DeploymentStatus:
        now = self._repo.clock.now()
        status = DeploymentStatus(self._repo.new_id(), state, creator, description, now)
        deployment.statuses.append(status)
        return status

    def dispatch(self, workflow: Workflow, ref: str, inputs: dict[str, Any], actor: str) -> Run:
        """Start a run. Raises Problem 422 for an unknown ref or input."""
        branch = ref.removeprefix("refs/heads/")
        if branch not in self._repo.branches:
            raise Problem(422, f"No ref found for: {ref}")
        unexpected = [name for name in inputs if name not in workflow.inputs]
        if unexpected:
            raise Problem(422, f"Unexpected inputs provided: {unexpected}")
        return self._start_run(workflow, branch, actor, inputs=inputs)

    def build(self, branch: str, actor: str) -> Run:
        """Start the run that a push to this branch triggers."""
        return self._start_run(self._repo.workflow(BUILD.rpartition("/")[2]), branch, actor, event="push")

    def _start_run(self, workflow: Workflow, branch: str, actor: str, **more: Any) -> Run:
        now = self._repo.clock.now()
        number = 1 + sum(run.workflow == workflow for run in self._repo.runs.values())
        sha = self._repo.branches[branch]
        run = Run(self._repo.new_id(), number, workflow, branch, sha, actor, now, now, **more)
        self._repo.runs[run.id] = run
        self._notify("requested", run)
        if self.run_seconds is not None:
            task = asyncio.create_task(self._run(run, self.run_seconds))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return run

    def start(self, run: Run) -> None:
        run.status, run.updated_at = "in_progress", self._repo.clock.now()
        self._notify("in_progress", run)

    def complete(self, run: Run, conclusion: Conclusion = "success") -> None:
        run.status, run.conclusion = "completed", conclusion
        run.updated_at = self._repo.clock.now()
        self._notify("completed", run)

    async def aclose(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, run: Run, seconds: float) -> None:
        self.start(run)
        await self._repo.clock.sleep(seconds)
        if run.status != "completed":
            self.complete(run)

    def _notify(self, action: str, run: Run) -> None:
        def to_json(links: Links) -> dict[str, Any]:
            return {
                "workflow": shapes.workflow_json(run.workflow, links),
                "workflow_run": shapes.run_json(self._repo, run, links),
            }

        self._send_webhook("workflow_run", action, run.actor, to_json)
