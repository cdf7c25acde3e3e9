"""GitHub's code by PyGithub: branches, pull requests, reviews, merges. Each may be done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bot.domain.errors import Refused, WrongState
from bot.integrations.effects import effect
from bot.integrations.github.session import SERVICE, Session, ThreadContext, error_message
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import github
    from github.PullRequest import PullRequest
else:
    github = LazyModule("github")


# A check that ended like this keeps nothing from being merged.
# https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks
GREEN = frozenset({"success", "neutral", "skipped"})
MOST_FILES = 3000  # of one pull request: GitHub lists no more


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request. `checks` is name → how it ended (None: it goes on); people are logins.

    `approved_by` and `refused_by` are those whose last word is about the present `sha`. `merged_as` is the commit that
    it became, and `merged_at` when; None before.
    """

    number: int
    url: str
    title: str
    branch: str
    base: str
    sha: str
    author: str
    is_open: bool
    merged: bool
    draft: bool
    files: tuple[str, ...]
    checks: Mapping[str, str | None]
    approved_by: frozenset[str]
    refused_by: frozenset[str]
    merged_as: str | None
    merged_at: datetime | None

    @property
    def missing_checks(self) -> list[str]:
        """The checks that are not green."""
        return sorted(name for name, ended in self.checks.items() if ended not in GREEN)


class Code:
    """What may be done with the code of one repository. Every method raises what Session.do says."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def head(self, branch: str | None = None) -> tuple[str, str] | None:
        """Name and commit of a branch (of the default one without a name); None if there is none."""

        def look(work: ThreadContext) -> tuple[str, str] | None:
            name = branch or work.repository.complete().default_branch
            try:
                return name, work.repository.get_branch(name).commit.sha
            except github.UnknownObjectException:
                return None

        return await self._session.call("read the branch", look)

    @effect("github.create_branch")
    async def create_branch(self, name: str, base: str, sha: str) -> None:
        """A branch at a commit of `base`. WrongState when there is one of that name elsewhere."""

        def make(work: ThreadContext) -> None:
            work.before_writing()
            try:
                work.repository.create_git_ref(f"refs/heads/{name}", sha)
            except github.GithubException as error:
                if "already exists" not in error_message(error.data):
                    raise
                if work.repository.get_branch(name).commit.sha != sha:
                    raise WrongState("branch_exists", branch=name) from error

        await self._session.call("create the branch", make, writes=True)

    @effect("github.delete_branch")
    async def delete_branch(self, name: str) -> None:
        """Also when it is gone already."""

        def delete(work: ThreadContext) -> None:
            try:
                git_ref = work.repository.get_git_ref(
                    f"heads/{name}"
                ).complete()  # only its answer knows where to delete
            except github.UnknownObjectException:
                return
            work.before_writing()
            git_ref.delete()

        await self._session.call("delete the branch", delete, writes=True)

    async def pull(self, number: int) -> Pull:
        """A pull request with its files, checks and reviews. Refused if there is none."""
        return await self._session.call("read the pull request", lambda work: _pull(work, number))

    async def open_pull(self, branch: str, base: str) -> int | None:
        """The number of the open pull request from one branch into another."""

        def look(work: ThreadContext) -> int | None:
            owner = work.repository.full_name.partition("/")[0]
            paginated_list = work.repository.get_pulls(state="open", head=f"{owner}:{branch}", base=base)
            return next((pull_request.number for pull_request in paginated_list), None)

        return await self._session.call("look for the pull request", look)

    @effect("github.open_pull_request")
    async def open_pull_request(self, title: str, branch: str, base: str, body: str, draft: bool) -> int:
        """The number of the new one, or of the open one that is there already."""

        def make(work: ThreadContext) -> int:
            work.before_writing()
            return work.repository.create_pull(base, branch, title=title, body=body, draft=draft).number

        if there := await self.open_pull(branch, base):
            return there
        return await self._session.call("open the pull request", make, writes=True)

    @effect("github.close_pull_request")
    async def close_pull_request(self, number: int) -> None:
        def close(work: ThreadContext) -> None:
            work.before_writing()
            work.repository.get_pull(number).edit(state="closed")

        await self._session.call("close the pull request", close, writes=True)

    @effect("github.request_review")
    async def request_review(self, number: int, reviewers: Sequence[str], teams: Sequence[str]) -> None:
        """Ask people by login and teams by slug; who is asked already is not asked again by GitHub."""

        def ask(work: ThreadContext) -> None:
            work.before_writing()
            pull = work.repository.get_pull(number)
            pull.create_review_request(reviewers=list(reviewers), team_reviewers=list(teams))

        await self._session.call("request a review", ask, writes=True)

    @effect("github.merge")
    async def merge(self, number: int, title: str, sha: str, base: str) -> None:
        """Squash and merge exactly the commit `sha`; Refused when the branch has moved. Also when it is merged."""

        def merge(work: ThreadContext) -> None:
            pull = work.repository.get_pull(number).complete()
            if pull.merged:
                return
            work.before_writing()
            pull.merge(commit_title=f"{title} (#{number})", merge_method="squash", sha=sha)

        await self._session.call("merge", merge, writes=True)

    @effect("github.revert")
    async def revert(self, number: int) -> int:
        """Open a pull request that takes a merged one back, unless there is one; gives its number.

        https://docs.github.com/en/graphql/reference/mutations#revertpullrequest
        """

        def revert(work: ThreadContext) -> int:
            pull = work.repository.get_pull(number).complete()
            for pull_request in work.repository.get_pulls(state="open", base=pull.base.ref):
                if pull_request.head.ref.startswith(f"revert-{number}-"):
                    return pull_request.number
            work.before_writing()
            variables = {"pullRequestId": str(pull.raw_data["node_id"])}
            _, made = work.repository.requester.graphql_named_mutation(
                "revertPullRequest", variables, "revertPullRequest { number }"
            )
            return int(made["revertPullRequest"]["number"])

        return await self._session.call("revert", revert, writes=True)


def _pull(work: ThreadContext, number: int) -> Pull:
    pull = work.repository.get_pull(number).complete()
    if not isinstance(pull.number, int) or pull.state not in ("open", "closed"):
        raise ValueError("no pull request")
    if pull.changed_files > MOST_FILES:
        raise Refused("pull_too_large", service=SERVICE, number=number, files=pull.changed_files)
    last = {
        pull_request_review.user.login: pull_request_review.state
        for pull_request_review in pull.get_reviews()
        if _counts(pull_request_review.state) and pull_request_review.commit_id == pull.head.sha
    }
    return Pull(
        pull.number,
        pull.html_url,
        pull.title,
        pull.head.ref,
        pull.base.ref,
        pull.head.sha,
        pull.user.login,
        pull.state == "open",
        bool(pull.merged),
        bool(pull.draft),
        _files(pull),
        _checks(work, pull.head.sha),
        frozenset(login for login, state in last.items() if state == "APPROVED"),
        frozenset(login for login, state in last.items() if state == "CHANGES_REQUESTED"),
        pull.merge_commit_sha if pull.merged else None,  # of an open one it is only a trial
        pull.merged_at,
    )


def _counts(state: str) -> bool:
    """A comment takes no approval back; dismissing it does."""
    return state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")


def _files(pull: PullRequest) -> tuple[str, ...]:
    """Every path that is other than before, the old ones of what was moved too."""
    changed = list(pull.get_files())
    paths = [file.filename for file in changed] + [one.previous_filename for one in changed if one.previous_filename]
    return tuple(dict.fromkeys(paths))


def _checks(work: ThreadContext, sha: str) -> dict[str, str | None]:
    """Check runs and commit statuses, the two ways in which GitHub is told."""
    commit = work.repository.get_commit(sha)
    conclusions = {
        check_run.name: check_run.conclusion if check_run.status == "completed" else None
        for check_run in commit.get_check_runs()
    }
    statuses = {commit_status.context: commit_status.state for commit_status in commit.get_combined_status().statuses}
    return conclusions | {name: None if state == "pending" else state for name, state in statuses.items()}
