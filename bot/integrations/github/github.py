"""GitHub by PyGithub: issues of follow-ups, code owners, deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from http.client import NOT_FOUND
from itertools import islice
from typing import TYPE_CHECKING, Any

from bot.domain.errors import Refused, Unavailable
from bot.integrations.effects import effect
from bot.integrations.github.code import Code
from bot.integrations.github.session import (
    SERVICE,
    App,
    Merge,
    Session,
    ThreadContext,
    exists_already,
    invalid_assignees,
    service_of,
    without,
)
from bot.integrations.github.session import Deployment as Deployment
from bot.integrations.github.session import Issue as Issue
from bot.integrations.github.session import marker as marker
from bot.integrations.github.session import verify_signature as verify_signature
from bot.integrations.github.workflows import Workflows
from bot.integrations.in_flight import InFlight
from bot.lazy import LazyModule

if TYPE_CHECKING:
    import github
    from github.Deployment import Deployment as GithubDeployment
    from github.Issue import Issue as GithubIssue
    from github.Milestone import Milestone
    from github.Repository import Repository
else:
    github = LazyModule("github")


FOLLOWUP_LABEL = "incident-followup"
LABEL_COLOURS = {FOLLOWUP_LABEL: "b60205"}
DEFAULT_COLOUR = "ededed"
TITLE_LIMIT = 256
BODY_LIMIT = 65_536
CODEOWNERS_PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # in GitHub's order; the first one counts
NOON = time_of_day(12, tzinfo=UTC)  # GitHub reads due dates in Pacific time: noon UTC is on the same day there
CLOCK_SKEW = timedelta(hours=1)
CREATION_SECONDS = 110.0


@dataclass(frozen=True, slots=True)
class IssueDraft:
    """An issue to create. `milestone` is a title and a due date; it is created if missing."""

    title: str
    body: str
    labels: tuple[str, ...] = ()
    milestone: tuple[str, date | None] | None = None
    assignees: tuple[str, ...] = ()


class GitHub:
    """One repository, by a token or as a GitHub App. `timeout` in seconds applies to each method as a whole.

    `code` has its branches and pull requests, `workflows` its GitHub Actions. Methods raise as Session.call.
    """

    def __init__(
        self,
        token: str | None,
        repository: str,
        api_url: str = "https://api.github.com",
        timeout: float = 20.0,
        *,
        app: App | None = None,
        seconds_between_writes: float = 0.25,
    ) -> None:
        self._timeout = timeout
        options: dict[str, Any] = {"app": app, "seconds_between_writes": seconds_between_writes}
        self._session = Session(token, repository, api_url, timeout, **options)
        # An issue whose creation takes long must not be created again meanwhile.
        self._patient_session = Session(token, repository, api_url, CREATION_SECONDS, **options)
        self._in_flight = InFlight()
        self.code = Code(self._session)
        self.workflows = Workflows(self._session)

    async def create_issue(
        self,
        key: str,
        draft: IssueDraft,
        *,
        since: datetime | None = None,
    ) -> Issue:
        """Create an issue once: a second call with the same `key` returns the first one, even if edited or closed.

        Looks among the issues with FOLLOWUP_LABEL, which each issue gets, because GitHub's search index lags behind;
        `since` (start of the incident) narrows that. Missing labels and the milestone are created.
        """
        last_line = marker(key)

        def create(context: ThreadContext) -> Issue:
            issue = _marked(context.repository, last_line, since) or self._create(
                context,
                " ".join(draft.title.split())[:TITLE_LIMIT],
                f"{draft.body.rstrip()[: BODY_LIMIT - len(last_line) - 2]}\n\n{last_line}",
                _labels(context, (FOLLOWUP_LABEL, *draft.labels)),
                _milestone(context, *draft.milestone) if draft.milestone else None,
                draft.assignees,
            )
            return _issue(issue, draft.assignees)

        async def send() -> Issue:
            return await self._patient_session.call("create the issue", create, writes=True)

        try:
            return await self._in_flight.run(key, send, wait_seconds=self._timeout)
        except TimeoutError as slow:
            raise Unavailable("timed_out", service=SERVICE, seconds=self._timeout, uncertain=True) from slow

    async def issue(self, number: int) -> Issue:
        """Return an issue. Raises Refused if it does not exist."""
        return await self._session.call(
            "read the issue", lambda context: _issue(context.repository.get_issue(number).complete())
        )

    @effect("github.close_issue")
    async def close_issue(self, number: int) -> None:
        """Close an issue. Does nothing if it is closed."""

        def close(context: ThreadContext) -> None:
            context.before_writing()
            context.repository.get_issue(number).edit(state="closed", state_reason="completed")

        await self._session.call("close the issue", close, writes=True)

    async def codeowners(self) -> str | None:
        """Return the text of the default branch's CODEOWNERS file; None if there is none."""

        def fetch(context: ThreadContext) -> str | None:
            for path in CODEOWNERS_PLACES:
                try:
                    files = context.repository.get_contents(path)
                except github.UnknownObjectException:
                    continue
                if isinstance(files, list):
                    raise ValueError("a folder")
                return files.decoded_content.decode("utf-8", "replace")
            return None

        return await self._session.call("read CODEOWNERS", fetch)

    async def recent_deployments(
        self, service: str | None = None, environment: str | None = None, limit: int = 5
    ) -> list[Deployment]:
        """Return the newest deployments, the newest first, without those whose payload names another `service`."""

        def fetch(context: ThreadContext) -> list[Deployment]:
            filters = {"environment": environment} if environment else {}
            deployments = (
                (deployment, service_of(_payload(deployment)))
                for deployment in context.repository.get_deployments(**filters)
            )
            ours = (pair for pair in islice(deployments, 100) if service is None or pair[1] in (None, service))
            result = []
            for deployment, service_name in islice(ours, limit):
                status = next(iter(deployment.get_statuses()), None)
                result.append(
                    Deployment(
                        deployment.id,
                        deployment.sha,
                        deployment.ref,
                        deployment.environment,
                        service_name,
                        status.state if status else None,
                        deployment.description or "",
                        deployment.creator.login,
                        deployment.created_at,
                    )
                )
            return result

        return await self._session.call("read the deployments", fetch)

    async def merged_since(self, since: datetime, limit: int = 30) -> list[Merge]:
        """Return the newest pull requests that were merged since then, the newest first."""

        def fetch(context: ThreadContext) -> list[Merge]:
            pulls = context.repository.get_pulls(state="closed", sort="updated", direction="desc")
            return [
                Merge(pull.number, pull.title, pull.html_url, pull.user.login, pull.merged_at)
                for pull in islice(pulls, limit)
                if pull.merged_at and pull.merged_at >= since
            ]

        return await self._session.call("read the merged pull requests", fetch)

    async def check(self) -> str:
        """Check access, issues and write permission, read-only. Returns the login and the remaining rate limit."""

        def fetch(context: ThreadContext) -> str:
            repository = context.repository.complete()
            login = "app" if self._session.is_app else context.client.get_user().login
            if repository.archived or not repository.has_issues:
                raise Refused("github_no_issues", service=SERVICE, repository=repository.full_name)
            if repository.permissions and not repository.permissions.push:
                raise Refused("github_no_write", service=SERVICE, repository=repository.full_name, who=login)
            return f"{repository.full_name} as {login}{_requests_left(context)}"

        return await self._session.call("check", fetch)

    def _create(
        self,
        context: ThreadContext,
        title: str,
        body: str,
        labels: list[str],
        milestone: Milestone | None,
        assignees: Sequence[str],
    ) -> GithubIssue:
        """Create the issue; leaves out assignees that GitHub does not accept, since it refuses the whole issue
        otherwise.
        """
        optional: dict[str, Any] = {"milestone": milestone} if milestone else {}
        logins = list(dict.fromkeys(assignees))
        while True:
            context.before_writing()
            try:
                return context.repository.create_issue(title, body, labels=labels, assignees=logins, **optional)
            except github.GithubException as error:
                invalid = invalid_assignees(error.data)
                if not logins or invalid is None:
                    raise
                logins = [login for login in logins if login not in invalid] if invalid & set(logins) else []


def _requests_left(context: ThreadContext) -> str:
    """Return what is left of the hour's requests; nothing where none are counted (GitHub Enterprise Server)."""
    try:
        remaining, limit = context.client.rate_limiting
    except github.GithubException as error:
        if error.status != NOT_FOUND:
            raise
        return ""
    return f", {remaining} of {limit} requests left"


def _marked(repository: Repository, last_line: str, since: datetime | None) -> GithubIssue | None:
    """Return the issue that ends with this marker line. People's text comes before it and cannot imitate it."""
    after = since.astimezone(UTC) - CLOCK_SKEW if since else github.GithubObject.NotSet
    for issue in repository.get_issues(state="all", labels=[FOLLOWUP_LABEL], since=after):
        if (issue.body or "").rstrip().endswith(last_line):
            return issue
    return None


def _payload(deployment: GithubDeployment) -> Any:
    """Return a deployment's payload, an object or text; PyGithub supports objects only."""
    try:
        return deployment.payload
    except github.BadAttributeException as error:
        return error.actual_value


def _issue(raw: GithubIssue, wanted: Sequence[str] = ()) -> Issue:
    if not isinstance(raw.number, int) or raw.state not in ("open", "closed"):
        raise ValueError("no issue")
    assignees = tuple(user.login for user in raw.assignees)
    return Issue(raw.number, raw.html_url, raw.title, raw.state, assignees, without(wanted, assignees), raw.closed_at)


def _labels(context: ThreadContext, names: Sequence[str]) -> list[str]:
    """Return the labels, creating missing ones."""
    labels = list(dict.fromkeys(names))
    existing = {label.name.casefold() for label in context.repository.get_labels()}
    for name in labels:
        if name.casefold() not in existing:
            context.before_writing()
            try:
                context.repository.create_label(name, LABEL_COLOURS.get(name, DEFAULT_COLOUR))
            except github.GithubException as error:
                if not exists_already(error.data):  # created concurrently
                    raise
    return labels


def _milestone(context: ThreadContext, title: str, due: date | None) -> Milestone:
    """Return the milestone of this title, open or closed; creates it if missing."""

    def find() -> Milestone | None:
        return next(
            (milestone for milestone in context.repository.get_milestones(state="all") if milestone.title == title),
            None,
        )

    milestone = find()
    if milestone is None:
        context.before_writing()
        try:
            return context.repository.create_milestone(
                title, due_on=datetime.combine(due, NOON) if due else github.GithubObject.NotSet
            )
        except github.GithubException as error:
            milestone = find() if exists_already(error.data) else None  # created concurrently
            if milestone is None:
                raise
    return milestone
