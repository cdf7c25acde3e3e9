"""Branches, pull requests, reviews and merges on GitHub, by PyGithub. Every method is idempotent."""

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
    from github.ContentFile import ContentFile
    from github.PullRequest import PullRequest
else:
    github = LazyModule("github")


# Conclusions of checks that do not block a merge.
# https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks
GREEN = frozenset({"success", "neutral", "skipped"})
MANIFESTS = (".yaml", ".yml")
MOST_MANIFESTS = 40  # of one folder: each is a request of its own
MERGE_QUEUE = """
query ($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) { merged isMergeQueueEnabled mergeQueueEntry { position } }
  }
}"""
MOST_FILES = 3000  # GitHub lists no more files of a pull request


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request. `checks` maps a name to its conclusion (None: still running); people are logins.

    `approved_by` and `refused_by` are those whose latest review is of the current `sha`. `merged_as` is the merge
    commit, `merged_at` its time; None before.
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
        """The checks that did not succeed, or not yet."""
        return sorted(name for name, ended in self.checks.items() if ended not in GREEN)


@dataclass(frozen=True, slots=True)
class Queued:
    """How a pull request stands with the merge queue of its base branch: its place from 1, None if it is not in it."""

    merged: bool
    position: int | None


class Code:
    """The code of one repository. Methods raise as Session.call."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def head(self, branch: str | None = None) -> tuple[str, str] | None:
        """Return name and commit of a branch (default: the default branch); None if it does not exist."""

        def fetch(context: ThreadContext) -> tuple[str, str] | None:
            name = branch or context.repository.complete().default_branch
            try:
                return name, context.repository.get_branch(name).commit.sha
            except github.UnknownObjectException:
                return None

        return await self._session.call("read the branch", fetch)

    async def commit(self, ref: str) -> str | None:
        """Return the commit of a tag, a branch or a (short) hash; None if GitHub knows none.

        GitHub answers 422 for a name that is no reference.
        Source: https://docs.github.com/en/rest/commits/commits#get-a-commit
        """

        def fetch(context: ThreadContext) -> str | None:
            try:
                return str(context.repository.get_commit(ref).complete().sha)
            except github.GithubException as error:
                if error.status in (404, 422):
                    return None
                raise

        return await self._session.call("read the commit", fetch)

    async def checks(self, sha: str) -> dict[str, str | None]:
        """Return the conclusions of a commit's checks by name; None for one that is still running."""
        return await self._session.call("read the checks", lambda context: _checks(context, sha))

    async def is_at(self, address: str) -> bool:
        """Return True if this is the repository at an address as Git takes it: HTTPS, `ssh://` or `git@host:path`.

        The name may be the present one, or that of the settings.
        """
        page = await self._session.call(
            "read the repository", lambda context: str(context.repository.complete().html_url)
        )
        host = _place(page).partition("/")[0]
        return _place(address) in (_place(page), _place(f"{host}/{self._session.repository}"))

    async def manifests(self, folder: str, branch: str) -> dict[str, str]:
        """Return the YAML files of a folder by path, without those of folders below it; nothing if it does not exist
        or holds more than MOST_MANIFESTS.
        """

        def fetch(context: ThreadContext) -> dict[str, str]:
            try:
                entries = context.repository.get_contents(folder.strip("/") or ".", ref=branch)
            except github.UnknownObjectException:
                return {}
            listed = entries if isinstance(entries, list) else []
            paths = [entry.path for entry in listed if entry.type == "file" and entry.path.endswith(MANIFESTS)]
            return {path: _text(context, path, branch) for path in paths} if len(paths) <= MOST_MANIFESTS else {}

        return await self._session.call("read the manifests", fetch)

    @effect("github.write_file", hidden=("before", "after"))
    async def write_file(self, branch: str, path: str, before: str, after: str, message: str) -> None:
        """Commit a file's new text to a branch, unless it is there.

        Raises WrongState if it is neither as it was nor as it is to be.
        """

        def write(context: ThreadContext) -> None:
            present = _file(context, path, branch)
            text = present.decoded_content.decode("utf-8")
            if text == after:
                return
            if text != before:
                raise WrongState("changed_since", name=path)
            context.before_writing()
            context.repository.update_file(path, message, after, present.sha, branch=branch)

        await self._session.call("write the file", write, writes=True)

    @effect("github.create_branch")
    async def create_branch(self, name: str, base: str, sha: str) -> None:
        """Create a branch at a commit of `base`. Raises WrongState if it exists at another commit."""

        def create(context: ThreadContext) -> None:
            context.before_writing()
            try:
                context.repository.create_git_ref(f"refs/heads/{name}", sha)
            except github.GithubException as error:
                if "already exists" not in error_message(error.data):
                    raise
                if context.repository.get_branch(name).commit.sha != sha:
                    raise WrongState("branch_exists", branch=name) from error

        await self._session.call("create the branch", create, writes=True)

    @effect("github.delete_branch")
    async def delete_branch(self, name: str) -> None:
        """Delete a branch. Does nothing if it does not exist."""

        def delete(context: ThreadContext) -> None:
            try:
                # delete() needs the URL of the complete reference
                git_ref = context.repository.get_git_ref(f"heads/{name}").complete()
            except github.UnknownObjectException:
                return
            context.before_writing()
            git_ref.delete()

        await self._session.call("delete the branch", delete, writes=True)

    async def pull(self, number: int) -> Pull:
        """Return a pull request with its files, checks and reviews. Raises Refused if it does not exist."""
        return await self._session.call("read the pull request", lambda context: _pull(context, number))

    async def open_pull(self, branch: str, base: str) -> int | None:
        """Return the number of the open pull request from one branch into another, if any."""

        def fetch(context: ThreadContext) -> int | None:
            owner = context.repository.full_name.partition("/")[0]
            pulls = context.repository.get_pulls(state="open", head=f"{owner}:{branch}", base=base)
            return next((pull.number for pull in pulls), None)

        return await self._session.call("look for the pull request", fetch)

    @effect("github.open_pull_request")
    async def open_pull_request(self, title: str, branch: str, base: str, body: str, draft: bool) -> int:
        """Open a pull request and return its number, or the number of the one that is open already."""

        def create(context: ThreadContext) -> int:
            context.before_writing()
            return context.repository.create_pull(base, branch, title=title, body=body, draft=draft).number

        if existing := await self.open_pull(branch, base):
            return existing
        return await self._session.call("open the pull request", create, writes=True)

    @effect("github.close_pull_request")
    async def close_pull_request(self, number: int) -> None:
        def close(context: ThreadContext) -> None:
            context.before_writing()
            context.repository.get_pull(number).edit(state="closed")

        await self._session.call("close the pull request", close, writes=True)

    @effect("github.request_review")
    async def request_review(self, number: int, reviewers: Sequence[str], teams: Sequence[str]) -> None:
        """Request reviews from people by login and teams by slug; GitHub ignores repeated requests."""

        def request(context: ThreadContext) -> None:
            context.before_writing()
            pull = context.repository.get_pull(number)
            pull.create_review_request(reviewers=list(reviewers), team_reviewers=list(teams))

        await self._session.call("request a review", request, writes=True)

    @effect("github.merge")
    async def merge(self, number: int, title: str, sha: str, base: str) -> None:
        """Squash and merge exactly the commit `sha`.

        Raises Refused if the branch moved; does nothing if it is merged.
        """

        def merge(context: ThreadContext) -> None:
            pull = context.repository.get_pull(number).complete()
            if pull.merged:
                return
            context.before_writing()
            pull.merge(commit_title=f"{title} (#{number})", merge_method="squash", sha=sha)

        await self._session.call("merge", merge, writes=True)

    async def merge_queue(self, number: int) -> Queued | None:
        """Return how a pull request stands with its base branch's merge queue; None if the branch has none.

        Source: https://docs.github.com/en/graphql/reference/objects#pullrequest
        """

        def fetch(context: ThreadContext) -> Queued | None:
            owner, _, name = context.repository.full_name.partition("/")
            variables = {"owner": owner, "name": name, "number": number}
            try:
                _, answer = context.repository.requester.graphql_query(MERGE_QUEUE, variables)
            except github.GithubException as error:
                if _knows_no_queue(error.data):
                    return None
                raise
            pull = answer["data"]["repository"]["pullRequest"]
            entry = pull["mergeQueueEntry"]
            return Queued(pull["merged"], entry and int(entry["position"])) if pull["isMergeQueueEnabled"] else None

        return await self._session.call("read the merge queue", fetch)

    @effect("github.enqueue")
    async def enqueue(self, number: int, title: str, sha: str, base: str) -> None:
        """Put exactly the commit `sha` at the end of the merge queue of `base`, which merges it once its checks pass.

        Raises Refused if the branch moved.
        """

        def enqueue(context: ThreadContext) -> None:
            context.before_writing()
            variables = {"pullRequestId": _node_id(context, number), "expectedHeadOid": sha}
            context.repository.requester.graphql_named_mutation(
                "enqueuePullRequest", variables, "mergeQueueEntry { position }"
            )

        await self._session.call("enqueue", enqueue, writes=True)

    @effect("github.dequeue")
    async def dequeue(self, number: int) -> None:
        """Take a pull request out of its merge queue. Raises Refused if it is not in it."""

        def dequeue(context: ThreadContext) -> None:
            context.before_writing()
            context.repository.requester.graphql_named_mutation(
                "dequeuePullRequest", {"id": _node_id(context, number)}, "mergeQueueEntry { position }"
            )

        await self._session.call("dequeue", dequeue, writes=True)

    @effect("github.revert")
    async def revert(self, number: int) -> int:
        """Open a pull request that reverts a merged one, unless there is one; returns its number.

        Source: https://docs.github.com/en/graphql/reference/mutations#revertpullrequest
        """

        def revert(context: ThreadContext) -> int:
            pull = context.repository.get_pull(number).complete()
            for existing in context.repository.get_pulls(state="open", base=pull.base.ref):
                if existing.head.ref.startswith(f"revert-{number}-"):
                    return existing.number
            context.before_writing()
            variables = {"pullRequestId": _node_id(context, number)}
            _, response = context.repository.requester.graphql_named_mutation(
                "revertPullRequest", variables, "revertPullRequest { number }"
            )
            return int(response["revertPullRequest"]["number"])

        return await self._session.call("revert", revert, writes=True)


def _node_id(context: ThreadContext, number: int) -> str:
    return str(context.repository.get_pull(number).complete().raw_data["node_id"])


def _knows_no_queue(answer: object) -> bool:
    """Return True for the answer of a GitHub Enterprise Server from before merge queues: it has no such field."""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    return any((error.get("extensions") or {}).get("code") == "undefinedField" for error in errors or ())


def _file(context: ThreadContext, path: str, branch: str) -> ContentFile:
    found = context.repository.get_contents(path, ref=branch)
    if isinstance(found, list):
        raise ValueError("a folder")
    return found


def _text(context: ThreadContext, path: str, branch: str) -> str:
    return _file(context, path, branch).decoded_content.decode("utf-8")


def _place(address: str) -> str:
    """Return host and path of a repository, the same for each way to write its address."""
    text = address.strip().lower().removesuffix("/").removesuffix(".git")
    _, separator, rest = text.partition("://")
    if not separator:
        rest = text.replace(":", "/", 1)
    return rest.rpartition("@")[2]


def _pull(context: ThreadContext, number: int) -> Pull:
    pull = context.repository.get_pull(number).complete()
    if not isinstance(pull.number, int) or pull.state not in ("open", "closed"):
        raise ValueError("no pull request")
    if pull.changed_files > MOST_FILES:
        raise Refused("pull_too_large", service=SERVICE, number=number, files=pull.changed_files)
    latest_reviews = {
        review.user.login: review.state
        for review in pull.get_reviews()
        if _counts(review.state) and review.commit_id == pull.head.sha
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
        _checks(context, pull.head.sha),
        frozenset(login for login, state in latest_reviews.items() if state == "APPROVED"),
        frozenset(login for login, state in latest_reviews.items() if state == "CHANGES_REQUESTED"),
        pull.merge_commit_sha if pull.merged else None,  # before the merge this is GitHub's test merge
        pull.merged_at,
    )


def _counts(state: str) -> bool:
    """Return True for a review that changes an approval: a comment does not, dismissing does."""
    return state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")


def _files(pull: PullRequest) -> tuple[str, ...]:
    """Return every changed path, including the old paths of moved files."""
    changed = list(pull.get_files())
    paths = [file.filename for file in changed] + [file.previous_filename for file in changed if file.previous_filename]
    return tuple(dict.fromkeys(paths))


def _checks(context: ThreadContext, sha: str) -> dict[str, str | None]:
    """Return conclusions of check runs and of commit statuses, the two kinds of checks.

    Of statuses, the newest of each context counts. They are all listed: the combined status has the first thirty only.
    """
    commit = context.repository.get_commit(sha)
    found = [(run.name, run.conclusion if run.status == "completed" else None) for run in commit.get_check_runs()]
    newest: dict[str, str] = {}
    for status in commit.get_statuses():  # the newest first
        newest.setdefault(status.context, status.state)
    found += [(name, None if state == "pending" else state) for name, state in newest.items()]
    conclusions: dict[str, str | None] = {}
    for name, conclusion in found:  # several apps and workflows may use one name: each of them counts
        if name not in conclusions or conclusions[name] in GREEN:
            conclusions[name] = conclusion
    return conclusions
