"""Somebody at GitHub's web page: what a person does, and not the bot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.github.code_records import Pull
from sandbox.github.records import Comment, Issue

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub


class PersonAtGitHub:
    """An issue or a pull request is given as itself or by number. Raises what the backend raises."""

    def __init__(self, github: GitHub, login: str) -> None:
        self.login = login
        self._github = github

    async def open(self, title: str, body: str | None = None, *labels: str) -> Issue:
        return self._github.tracker.open(title, body, self.login, labels=labels)

    async def close(self, issue: Issue | int, reason: str = "completed") -> None:
        """`reason` is `completed` or `not_planned`."""
        self._github.tracker.close(self._issue(issue), self.login, reason)

    async def reopen(self, issue: Issue | int) -> None:
        self._github.tracker.reopen(self._issue(issue), self.login)

    async def comment(self, issue: Issue | int, body: str) -> Comment:
        return self._github.tracker.comment(self._issue(issue), body, self.login)

    async def assign(self, issue: Issue | int, *logins: str) -> None:
        self._github.tracker.set_assignees(self._issue(issue), logins, self.login)

    async def approve(self, pull: Pull | int) -> None:
        self._github.code.review(self._pull(pull), self.login, "APPROVED")

    async def request_changes(self, pull: Pull | int, why: str) -> None:
        self._github.code.review(self._pull(pull), self.login, "CHANGES_REQUESTED", why)

    async def merge(self, pull: Pull | int) -> None:
        self._github.code.squash(self._pull(pull), self.login, title=None, expected=None)

    def _issue(self, issue: Issue | int) -> Issue:
        return issue if isinstance(issue, Issue) else self._github.tracker.issue(issue)

    def _pull(self, pull: Pull | int) -> Pull:
        return pull if isinstance(pull, Pull) else self._github.code.pull(pull)
