"""The repository's code: commits, branches, files, pull requests and what checks them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sandbox.github import code_shapes
from sandbox.github.code_records import CheckRun, Commit, Conclusion, Judgement, Pull, Review
from sandbox.github.links import Links
from sandbox.github.records import NOT_FOUND, Problem, invalid
from sandbox.github.shapes import user_json

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub

MAIN = "main"


def blob_sha(text: str) -> str:
    """Git's name for a file with this text."""
    data = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Code:
    """`required_approvals` and green checks are what the branch protection of `main` asks for."""

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.pulls: dict[int, Pull] = {}
        self.checks: list[CheckRun] = []
        self.required_approvals = 1
        seed = {
            "README.md": f"# {github.name}\n",
            ".github/CODEOWNERS": github.company.github.codeowners,
            ".github/workflows/cd_canary.yml": "name: Canary\n",
            ".github/workflows/ci.yml": "name: CI\n",
        }
        author = next(iter(github.users))
        self.branches[MAIN] = self._commit((), "Start", author, seed).sha

    def commit_of(self, ref: str | None) -> Commit:
        """The commit of a branch, a full ref or a sha; without one, of `main`. Problem 404 if there is none."""
        name = (ref or MAIN).removeprefix("refs/").removeprefix("heads/")
        sha = self.branches.get(name, name)
        if sha not in self.commits:
            raise Problem(404, f"No commit found for the ref {ref}")
        return self.commits[sha]

    def add_branch(self, name: str, sha: str) -> None:
        """Problem 422 when it is there already or the commit is unknown."""
        if name in self.branches:
            raise Problem(422, "Reference already exists")
        if sha not in self.commits:
            raise Problem(422, "Object does not exist")
        self.branches[name] = sha

    def remove_branch(self, name: str) -> None:
        """Problem 422 if there is none."""
        if name not in self.branches:
            raise Problem(422, "Reference does not exist")
        del self.branches[name]

    def put_file(self, path: str, text: str, message: str, by: str, *, branch: str, replaces: str | None) -> Commit:
        """Commit one file. Problem 409 unless `replaces` is the sha of the file that is there now."""
        if branch not in self.branches:
            raise Problem(404, f"Branch {branch} not found")
        head = self.commit_of(branch)
        present = blob_sha(head.files[path]) if path in head.files else None
        if replaces is None and present is not None:
            raise Problem(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
        if replaces != present:
            raise Problem(409, f"{path} does not match {replaces}")
        commit = self._commit((head.sha,), message, by, {**head.files, path: text})
        self.branches[branch] = commit.sha
        for pull in self.pulls.values():
            if pull.head == branch and pull.issue.state == "open":
                pull.head_sha = commit.sha
        return commit

    def pull(self, number: int) -> Pull:
        """Problem 404 if there is none."""
        if number not in self.pulls:
            raise Problem(404, NOT_FOUND)
        return self.pulls[number]

    def open_pull(
        self, title: str, body: str | None, head: str, base: str, author: str, *, draft: bool = False
    ) -> Pull:
        """Problem 422 when a branch is missing, nothing differs, or there is an open one already."""
        head = head.removeprefix(f"{self._github.owner}:")
        for name, branch in (("head", head), ("base", base)):
            if branch not in self.branches:
                raise invalid("PullRequest", name, "invalid")
        if self.branches[head] == self.branches[base]:
            raise invalid("PullRequest", "base", "custom", message=f"No commits between {base} and {head}")
        if any(p.head == head and p.base == base and p.issue.state == "open" for p in self.pulls.values()):
            message = f"A pull request already exists for {self._github.owner}:{head}."
            raise invalid("PullRequest", "head", "custom", message=message)
        issue = self._github.tracker.open(title, body, author, is_pull_request=True)
        pull = Pull(self._github.new_id(), issue, head, base, self.branches[head], self.branches[base], draft=draft)
        self.pulls[issue.number] = pull
        self._tell("opened", pull, author)
        return pull

    def commits_of(self, pull: Pull) -> list[Commit]:
        """The commits that the pull request adds, the oldest first."""
        commits, sha = [], pull.head_sha
        while sha != pull.base_sha and sha in self.commits:
            commits.append(self.commits[sha])
            sha = next(iter(self.commits[sha].parents), "")
        return commits[::-1]

    def request_reviewers(self, pull: Pull, logins: Sequence[str], teams: Sequence[str], by: str) -> None:
        """Problem 422 for the author, for strangers and for teams that do not exist."""
        if pull.issue.author in logins:
            raise Problem(422, "Review cannot be requested from pull request author.")
        if any(login not in self._github.assignable for login in logins):
            message = "Reviews may only be requested from collaborators. One or more of the users or teams "
            raise Problem(422, message + "you specified is not a collaborator of the repository.")
        if any(team not in self._github.teams for team in teams):
            raise Problem(422, "Could not resolve to a node with the global id of the team.")
        pull.reviewers = list(dict.fromkeys([*pull.reviewers, *logins]))
        pull.team_reviewers = list(dict.fromkeys([*pull.team_reviewers, *teams]))
        for login in logins:
            self._tell("review_requested", pull, by, reviewer=login)

    def review(
        self,
        pull: Pull,
        author: str,
        state: Judgement,
        body: str = "",
    ) -> Review:
        """Problem 422 when somebody judges what is their own."""
        if author == pull.issue.author and state != "COMMENTED":
            raise Problem(422, "Can not approve or request changes on your own pull request")
        now = self._github.clock.now()
        review = Review(self._github.new_id(), author, state, body, now, pull.head_sha)
        pull.reviews.append(review)
        pull.reviewers = [login for login in pull.reviewers if login != author]
        return review

    def approvals(self, pull: Pull) -> int:
        """How many people's last judgement is an approval."""
        last = {r.author: r.state for r in pull.reviews if r.state != "COMMENTED"}
        return sum(state == "APPROVED" for state in last.values())

    def check(self, ref: str, name: str, conclusion: Conclusion | None = None) -> CheckRun:
        """A check starts on a commit, or ends when it was there; no conclusion: it is in progress."""
        sha = self.commit_of(ref).sha
        now = self._github.clock.now()
        for known in self.checks:
            if known.sha == sha and known.name == name:
                break
        else:
            known = CheckRun(self._github.new_id(), sha, name, now)
            self.checks.append(known)
        known.conclusion = conclusion
        known.completed_at = now if conclusion else None
        return known

    def checks_of(self, sha: str) -> list[CheckRun]:
        return [check for check in self.checks if check.sha == sha]

    def mergeable_state(self, pull: Pull) -> str:
        """`clean`, or `blocked` while an approval or a green check is missing, `draft`, `unknown` when closed."""
        if pull.issue.state == "closed":
            return "unknown"
        if pull.draft:
            return "draft"
        green = all(check.conclusion == "success" for check in self.checks_of(pull.head_sha))
        return "clean" if green and self.approvals(pull) >= self.required_approvals else "blocked"

    def squash(self, pull: Pull, by: str, *, title: str | None, expected: str | None) -> Commit:
        """Merge as one commit. Problem 405 when it may not be merged, 409 when the head is another one."""
        if pull.issue.state == "closed" or pull.draft:
            raise Problem(405, "Pull Request is not mergeable")
        if expected and expected != pull.head_sha:
            raise Problem(409, "Head branch was modified. Review and try the merge again.")
        if self.approvals(pull) < self.required_approvals:
            raise Problem(405, "At least 1 approving review is required by reviewers with write access.")
        if self.mergeable_state(pull) != "clean":
            raise Problem(405, "Required status check is expected.")
        message = title or f"{pull.issue.title} (#{pull.issue.number})"
        files = self.commits[pull.head_sha].files
        commit = self._commit((self.branches[pull.base],), message, by, files)
        self.branches[pull.base] = commit.sha
        pull.merge_commit, pull.merged_at, pull.merged_by = commit.sha, commit.at, by
        self._github.tracker.close(pull.issue, by)
        self._tell("closed", pull, by)
        self._github.actions.build(pull.base, by)
        return commit

    def revert(self, pull: Pull, by: str) -> Pull:
        """Propose to take a merged pull request back. Problem 422 when it is not merged, or proposed already."""
        if pull.merge_commit is None:
            raise Problem(422, "Pull request is not merged")
        merged = self.commits[pull.merge_commit]
        before, now = self.commits[merged.parents[0]].files, self.commits[self.branches[pull.base]].files
        changed = {path for path in merged.files.keys() | before.keys() if merged.files.get(path) != before.get(path)}
        files = {path: text for path, text in now.items() if path not in changed}
        files |= {path: before[path] for path in changed if path in before}
        title = f'Revert "{pull.issue.title}"'
        head = f"revert-{pull.issue.number}-{pull.head}"
        self.add_branch(head, self._commit((self.branches[pull.base],), title, by, files).sha)
        return self.open_pull(title, f"Reverts {self._github.name}#{pull.issue.number}", head, pull.base, by)

    def close_pull(self, pull: Pull, by: str) -> None:
        self._github.tracker.close(pull.issue, by)
        self._tell("closed", pull, by)

    def _commit(self, parents: tuple[str, ...], message: str, author: str, files: dict[str, str]) -> Commit:
        at = self._github.clock.now()
        content = json.dumps([parents, message, author, at.isoformat(), files, len(self.commits)])
        sha = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = Commit(sha, parents, message, author, at, files)
        return self.commits[sha]

    def _tell(self, action: str, pull: Pull, sender: str, *, reviewer: str | None = None) -> None:
        def draw(links: Links) -> dict[str, Any]:
            drawn: dict[str, Any] = {
                "number": pull.issue.number,
                "pull_request": code_shapes.pull_json(self._github, pull, links),
            }
            if reviewer is not None:
                drawn["requested_reviewer"] = user_json(self._github.users[reviewer], links)
            return drawn

        self._github.tell("pull_request", action, sender, draw)
