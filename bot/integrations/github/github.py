"""GitHub by PyGithub: follow-ups become issues; code owners and deployments are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import islice
from typing import TYPE_CHECKING, Any

from bot.domain.errors import Refused
from bot.integrations.github.code import Code
from bot.integrations.github.session import (
    SERVICE,
    App,
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
COLOURS = {FOLLOWUP_LABEL: "b60205"}
COLOUR = "ededed"
TITLE_LIMIT = 256
BODY_LIMIT = 65_536
CODEOWNERS_PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # the first one found counts
NOON = time_of_day(12, tzinfo=UTC)  # a due date is a day on the Pacific coast: noon in UTC is on the same day there
SLOW_CLOCK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IssueDraft:
    """An issue to be filed. `milestone` is a title and the day when it is due; it is made if it is missing."""

    title: str
    body: str
    labels: tuple[str, ...] = ()
    milestone: tuple[str, date | None] | None = None
    assignees: tuple[str, ...] = ()


class GitHub:
    """One repository, by a token or as a GitHub App. `timeout` in seconds holds for each method as a whole.

    `code` is its branches and pull requests, `workflows` what runs there. Every method raises what Session.do says.
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
        self._session = Session(
            token,
            repository,
            api_url,
            timeout,
            app=app,
            seconds_between_writes=seconds_between_writes,
        )
        self.code = Code(self._session)
        self.workflows = Workflows(self._session)

    async def create_issue(
        self,
        key: str,
        draft: IssueDraft,
        *,
        since: datetime | None = None,
    ) -> Issue:
        """File an issue once: a second time with the same `key` finds the first one, changed or closed as it may be.

        It is looked for among the issues with FOLLOWUP_LABEL, which it gets besides its own, not by search, whose
        index is behind; `since` (when what it is about began) makes that quick. Labels and milestone are made if
        missing.
        """
        last_line = marker(key)

        def file(work: ThreadContext) -> Issue:
            made = _marked(work.repository, last_line, since) or self._create(
                work,
                " ".join(draft.title.split())[:TITLE_LIMIT],
                f"{draft.body.rstrip()[: BODY_LIMIT - len(last_line) - 2]}\n\n{last_line}",
                _labels(work, (FOLLOWUP_LABEL, *draft.labels)),
                _milestone(work, *draft.milestone) if draft.milestone else None,
                draft.assignees,
            )
            return _issue(made, draft.assignees)

        return await self._session.call("create the issue", file, writes=True)

    async def issue(self, number: int) -> Issue:
        """Refused if there is none."""
        return await self._session.call(
            "read the issue", lambda work: _issue(work.repository.get_issue(number).complete())
        )

    async def close_issue(self, number: int) -> None:
        """Also when it is closed already."""

        def close(work: ThreadContext) -> None:
            work.before_writing()
            work.repository.get_issue(number).edit(state="closed", state_reason="completed")

        await self._session.call("close the issue", close, writes=True)

    async def codeowners(self) -> str | None:
        """The text of the CODEOWNERS file of the default branch; None if there is none."""

        def read(work: ThreadContext) -> str | None:
            for path in CODEOWNERS_PLACES:
                try:
                    files = work.repository.get_contents(path)
                except github.UnknownObjectException:
                    continue
                if isinstance(files, list):
                    raise ValueError("a folder")
                return files.decoded_content.decode("utf-8", "replace")
            return None

        return await self._session.call("read CODEOWNERS", read)

    async def recent_deployments(
        self, service: str | None = None, environment: str | None = None, limit: int = 5
    ) -> list[Deployment]:
        """The newest deployments, the newest first. One whose payload names another `service` is left out."""

        def read(work: ThreadContext) -> list[Deployment]:
            filters = {"environment": environment} if environment else {}
            every = (
                (deployment, service_of(_payload(deployment)))
                for deployment in work.repository.get_deployments(**filters)
            )
            ours = (pair for pair in islice(every, 100) if service is None or pair[1] in (None, service))
            result = []
            for deployment, of in islice(ours, limit):
                status = next(iter(deployment.get_statuses()), None)
                result.append(
                    Deployment(
                        deployment.id,
                        deployment.sha,
                        deployment.ref,
                        deployment.environment,
                        of,
                        status.state if status else None,
                        deployment.description or "",
                        deployment.creator.login,
                        deployment.created_at,
                    )
                )
            return result

        return await self._session.call("read the deployments", read)

    async def check(self) -> str:
        """Read-only: we are let in, issues are on, and we may write. Says as whom, and what is left of the limit."""

        def look(work: ThreadContext) -> str:
            repository = work.repository.complete()
            who = "app" if self._session.is_app else work.client.get_user().login
            if repository.archived or not repository.has_issues:
                raise Refused("github_no_issues", service=SERVICE, repository=repository.full_name)
            if repository.permissions and not repository.permissions.push:
                raise Refused("github_no_write", service=SERVICE, repository=repository.full_name, who=who)
            left, limit = work.client.rate_limiting
            return f"{repository.full_name} as {who}, {left} of {limit} requests left"

        return await self._session.call("check", look)

    def _create(
        self,
        work: ThreadContext,
        title: str,
        body: str,
        labels: list[str],
        milestone: Milestone | None,
        assignees: Sequence[str],
    ) -> GithubIssue:
        """Without whom GitHub will not have: it refuses the whole issue for one of them."""
        optional: dict[str, Any] = {"milestone": milestone} if milestone else {}
        wanted = list(dict.fromkeys(assignees))
        while True:
            work.before_writing()
            try:
                return work.repository.create_issue(title, body, labels=labels, assignees=wanted, **optional)
            except github.GithubException as error:
                wrong = invalid_assignees(error.data)
                if not wanted or wrong is None:
                    raise
                wanted = [login for login in wanted if login not in wrong] if wrong & set(wanted) else []


def _marked(repository: Repository, last_line: str, since: datetime | None) -> GithubIssue | None:
    """The issue that ends with this line. Text of people stands before it, so that theirs cannot pass for it."""
    after = since.astimezone(UTC) - SLOW_CLOCK if since else github.GithubObject.NotSet
    for issue in repository.get_issues(state="all", labels=[FOLLOWUP_LABEL], since=after):
        if (issue.body or "").rstrip().endswith(last_line):
            return issue
    return None


def _payload(deployment: GithubDeployment) -> Any:
    """An object or a text; PyGithub knows of objects only."""
    try:
        return deployment.payload
    except github.BadAttributeException as error:
        return error.actual_value


def _issue(raw: GithubIssue, wanted: Sequence[str] = ()) -> Issue:
    if not isinstance(raw.number, int) or raw.state not in ("open", "closed"):
        raise ValueError("no issue")
    assignees = tuple(user.login for user in raw.assignees)
    return Issue(raw.number, raw.html_url, raw.title, raw.state, assignees, without(wanted, assignees), raw.closed_at)


def _labels(work: ThreadContext, names: Sequence[str]) -> list[str]:
    """The labels, made where they are missing."""
    wanted = list(dict.fromkeys(names))
    there = {label.name.casefold() for label in work.repository.get_labels()}
    for name in wanted:
        if name.casefold() not in there:
            work.before_writing()
            try:
                work.repository.create_label(name, COLOURS.get(name, COLOUR))
            except github.GithubException as error:
                if not exists_already(error.data):  # somebody was quicker
                    raise
    return wanted


def _milestone(work: ThreadContext, title: str, due: date | None) -> Milestone:
    """The milestone of this title, open or closed, made if there is none."""

    def there() -> Milestone | None:
        return next(
            (milestone for milestone in work.repository.get_milestones(state="all") if milestone.title == title), None
        )

    milestone = there()
    if milestone is None:
        work.before_writing()
        try:
            return work.repository.create_milestone(
                title, due_on=datetime.combine(due, NOON) if due else github.GithubObject.NotSet
            )
        except github.GithubException as error:
            milestone = there() if exists_already(error.data) else None  # somebody was quicker
            if milestone is None:
                raise
    return milestone
