"""What GitHub remembers: one repository of one organisation, with its people, issues, code, workflows and hooks."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sandbox.clock import Clock
from sandbox.company import Company

TOKEN = "ghp_sandboxTokenOfTheTamvBot0000000000"
BOT = "tamv-bot"
QUEUE_BOT = "github-merge-queue[bot]"
MAIN = "main"
SHORTEST_SHA = 7
CANARY, BUILD = ".github/workflows/cd_canary.yml", ".github/workflows/ci.yml"
NOT_FOUND = "Not Found"
WEB = "https://github.com"
REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
USER_LINKS = {
    "events_url": "/events{/privacy}",
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "organizations_url": "/orgs",
    "received_events_url": "/received_events",
    "repos_url": "/repos",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
}

Conclusion = Literal["success", "failure", "cancelled", "timed_out", "skipped"]
ReviewState = Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED"]


class Problem(Exception):
    """An error response; `errors` name the invalid fields of a 422."""

    def __init__(self, status: int, message: str, *errors: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


def invalid(resource: str, field_name: str, code: str, **more: Any) -> Problem:
    """Return a 422 in GitHub's words; the code is `missing_field`, `invalid`, `already_exists` or `custom`."""
    return Problem(422, "Validation Failed", {"resource": resource, "field": field_name, "code": code, **more})


@dataclass(frozen=True)
class User:
    id: int
    login: str
    name: str
    email: str | None
    type: Literal["User", "Bot", "Organization"] = "User"


@dataclass(frozen=True)
class Team:
    id: int
    name: str
    slug: str
    members: tuple[str, ...]


@dataclass
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass
class Milestone:
    id: int
    number: int
    title: str
    creator: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    due_on: datetime | None = None
    state: Literal["open", "closed"] = "open"
    closed_at: datetime | None = None


@dataclass
class Comment:
    id: int
    author: str
    body: str
    created_at: datetime


@dataclass
class Issue:
    """An issue, or the issue side of a pull request. People are logins, labels are names."""

    id: int
    number: int
    title: str
    body: str | None
    author: str
    created_at: datetime
    updated_at: datetime
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    milestone: int | None = None
    comments: list[Comment] = field(default_factory=list)
    closed_at: datetime | None = None
    closed_by: str | None = None
    is_pull_request: bool = False


@dataclass
class Hook:
    id: int
    url: str
    secret: str
    events: tuple[str, ...]
    created_at: datetime


@dataclass
class Delivery:
    """One webhook; `answer` is the HTTP status, or the name of the error, None while it is not answered."""

    guid: str
    hook: Hook
    event: str
    payload: dict[str, Any]
    answer: int | str | None = None
    redelivery: bool = False


@dataclass(frozen=True)
class Request:
    """A request that came in, for tests; `body` is the decoded JSON, None if empty."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Commit:
    """A commit. `files` is its whole tree: path → text."""

    sha: str
    parents: tuple[str, ...]
    message: str
    author: str
    at: datetime
    files: dict[str, str]


@dataclass
class Review:
    id: int
    author: str
    state: ReviewState
    body: str
    at: datetime
    commit: str


@dataclass
class Pull:
    """A pull request; number, title, state and people are those of its issue."""

    id: int
    issue: Issue
    head: str
    base: str
    head_sha: str
    base_sha: str
    draft: bool = False
    reviewers: list[str] = field(default_factory=list)
    team_reviewers: list[str] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    merge_commit: str | None = None
    merged_at: datetime | None = None
    merged_by: str | None = None


@dataclass
class CheckRun:
    """A check of a commit, by an app: two apps may give theirs the same name."""

    id: int
    sha: str
    name: str
    started_at: datetime
    app: str = "github-actions"
    conclusion: Conclusion | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True)
class CommitStatus:
    """The older kind of check: the newest of a context counts."""

    id: int
    sha: str
    context: str
    state: Literal["error", "failure", "pending", "success"]
    at: datetime


@dataclass
class DeploymentStatus:
    id: int
    state: str
    creator: str
    description: str
    at: datetime


@dataclass
class Deployment:
    id: int
    sha: str
    ref: str
    environment: str
    creator: str
    created_at: datetime
    task: str = "deploy"
    description: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    statuses: list[DeploymentStatus] = field(default_factory=list)


@dataclass(frozen=True)
class Workflow:
    """A workflow. `inputs` are the names of its dispatch inputs."""

    id: int
    name: str
    path: str
    created_at: datetime
    inputs: tuple[str, ...] = ()


@dataclass
class Run:
    """A workflow run."""

    id: int
    number: int
    workflow: Workflow
    branch: str
    sha: str
    actor: str
    created_at: datetime
    updated_at: datetime
    event: str = "workflow_dispatch"
    inputs: dict[str, Any] = field(default_factory=dict)
    status: Literal["queued", "in_progress", "completed"] = "queued"
    conclusion: Conclusion | None = None


@dataclass(frozen=True)
class Links:
    """The URLs in responses. `api` is the API as the client called it: clients check that its host is the same."""

    api: str
    repository: str

    @property
    def api_repo(self) -> str:
        return f"{self.api}/repos/{self.repository}"

    @property
    def web_repo(self) -> str:
        return f"{WEB}/{self.repository}"


class Repository:
    """The repository. TOKEN belongs to the user BOT; people are logins, labels are keyed by lower-case name.

    `required_approvals` and green checks are the protection of the default branch; with `has_merge_queue`, only its
    `queue` merges into it. `former_names` of the repository redirect to it. Without `can_assign` (push access),
    assignees are dropped in silence. `requests` are for tests.
    """

    def __init__(self, company: Company, clock: Clock) -> None:
        self.company = company
        self.clock = clock
        self.owner, self.name = company.github.repository.split("/")
        self.created_at = clock.now()
        self.web_links = Links("https://api.github.com", f"{self.owner}/{self.name}")
        self._ids = itertools.count(1_000_001)
        self.organization = User(self.new_id(), self.owner, company.workspace.name, None, "Organization")
        self.users = {
            person.github: User(self.new_id(), person.github, person.name, person.email) for person in company.people
        }
        self.users[BOT] = User(self.new_id(), BOT, company.workspace.bot_name, None)
        self.assignable = set(self.users)
        self.users[QUEUE_BOT] = User(self.new_id(), QUEUE_BOT, "Merge queue", None, "Bot")
        self.can_assign = True
        self.has_issues = True
        self.default_branch = MAIN
        self.former_names: set[str] = set()
        self.teams = {team.slug: team for team in self._teams()}
        self.tokens = {TOKEN: BOT}
        self.hooks: list[Hook] = []
        self.requests: list[Request] = []
        self.issues: dict[int, Issue] = {}
        self.labels = {name.lower(): Label(self.new_id(), name) for name in company.github.labels}
        self.milestones: dict[int, Milestone] = {}
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pulls: dict[int, Pull] = {}
        self.has_merge_queue = False
        self.queue: list[Pull] = []
        self.checks: list[CheckRun] = []
        self.statuses: list[CommitStatus] = []
        self.required_approvals = 1
        self.deployments: dict[int, Deployment] = {}
        self.workflows = [
            Workflow(self.new_id(), "Canary", CANARY, self.created_at, ("image_tag", "environment")),
            Workflow(self.new_id(), "CI", BUILD, self.created_at),
        ]
        self.runs: dict[int, Run] = {}
        seed = {
            "README.md": f"# {self.name}\n",
            ".github/CODEOWNERS": company.github.codeowners,
            CANARY: "name: Canary\n",
            BUILD: "name: CI\n",
        }
        self.branches[MAIN] = self.add_commit((), "Start", next(iter(self.users)), seed).sha

    def new_id(self) -> int:
        return next(self._ids)

    @property
    def id(self) -> int:
        return self.organization.id + 1

    def rename(self, name: str) -> None:
        """Give the repository another name; the former one redirects to it."""
        self.former_names.add(self.name)
        self.name = name
        self.web_links = Links(self.web_links.api, f"{self.owner}/{name}")

    def rename_default_branch(self, name: str) -> None:
        """Give the default branch another name, with the pull requests that go into it."""
        former, self.default_branch = self.default_branch, name
        self.branches[name] = self.branches.pop(former)
        for pull in self.pulls.values():
            pull.base = name if pull.base == former else pull.base

    def user(self, login: str) -> User:
        """Return the user. Raises Problem 404."""
        for user in self.users.values():
            if user.login.lower() == login.lower():
                return user
        raise Problem(404, NOT_FOUND)

    def _teams(self) -> list[Team]:
        return [
            Team(
                self.new_id(),
                name,
                name.lower(),
                tuple(self.company.person(handle).github for handle in self.company.usergroup(name).members),
            )
            for name in self.company.github.teams
        ]

    # Issues.

    def issue(self, number: int) -> Issue:
        """Return the issue, or the issue of a pull request. Raises Problem 404."""
        if number not in self.issues:
            raise Problem(404, NOT_FOUND)
        return self.issues[number]

    def label(self, name: str) -> Label:
        """Return the label. Raises Problem 404."""
        if name.lower() not in self.labels:
            raise Problem(404, NOT_FOUND)
        return self.labels[name.lower()]

    def milestone(self, number: int) -> Milestone:
        """Return the milestone. Raises Problem 404."""
        if number not in self.milestones:
            raise Problem(404, NOT_FOUND)
        return self.milestones[number]

    def count_issues(self, milestone: int, state: Literal["open", "closed"]) -> int:
        return sum(issue.milestone == milestone and issue.state == state for issue in self.issues.values())

    # Code.

    def commit_of(self, ref: str | None) -> Commit:
        """Return the commit of a branch, a tag, a full ref or a sha, also a short one; without one, of the
        default branch.

        Raises Problem 404.
        """
        name = (ref or self.default_branch).removeprefix("refs/").removeprefix("heads/").removeprefix("tags/")
        sha = self.branches.get(name) or self.tags.get(name) or name
        found = [commit for known, commit in self.commits.items() if known.startswith(sha)]
        if len(sha) < SHORTEST_SHA or len(found) != 1:
            raise Problem(404, f"No commit found for the ref {ref}")
        return found[0]

    def add_commit(self, parents: tuple[str, ...], message: str, author: str, files: dict[str, str]) -> Commit:
        at = self.clock.now()
        content = json.dumps([parents, message, author, at.isoformat(), files, len(self.commits)])
        sha = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = Commit(sha, parents, message, author, at, files)
        return self.commits[sha]

    def pull(self, number: int) -> Pull:
        """Return the pull request. Raises Problem 404."""
        if number not in self.pulls:
            raise Problem(404, NOT_FOUND)
        return self.pulls[number]

    def commits_of(self, pull: Pull) -> list[Commit]:
        """Return the commits that the pull request adds, the oldest first."""
        commits, sha = [], pull.head_sha
        while sha != pull.base_sha and sha in self.commits:
            commits.append(self.commits[sha])
            sha = next(iter(self.commits[sha].parents), "")
        return commits[::-1]

    def approvals(self, pull: Pull) -> int:
        """Return how many people's last review is an approval."""
        last = {r.author: r.state for r in pull.reviews if r.state != "COMMENTED"}
        return sum(state == "APPROVED" for state in last.values())

    def checks_of(self, sha: str) -> list[CheckRun]:
        return [check for check in self.checks if check.sha == sha]

    def statuses_of(self, sha: str) -> list[CommitStatus]:
        """Return the newest status of each context, the newest first."""
        newest = {status.context: status for status in self.statuses if status.sha == sha}
        return sorted(newest.values(), key=lambda status: status.id, reverse=True)

    def mergeable_state(self, pull: Pull) -> str:
        """Return `clean`; `blocked` without an approval or a green check; `draft`; `unknown` when closed."""
        if pull.issue.state == "closed":
            return "unknown"
        if pull.draft:
            return "draft"
        green = all(check.conclusion == "success" for check in self.checks_of(pull.head_sha))
        green = green and all(status.state == "success" for status in self.statuses_of(pull.head_sha))
        return "clean" if green and self.approvals(pull) >= self.required_approvals else "blocked"

    # Deployments and workflows.

    def deployment(self, number: int) -> Deployment:
        """Return the deployment. Raises Problem 404."""
        if number not in self.deployments:
            raise Problem(404, NOT_FOUND)
        return self.deployments[number]

    def workflow(self, id_or_file: str) -> Workflow:
        """Return the workflow. Raises Problem 404."""
        for workflow in self.workflows:
            if id_or_file in (str(workflow.id), workflow.path.rpartition("/")[2]):
                return workflow
        raise Problem(404, NOT_FOUND)
