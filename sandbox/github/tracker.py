"""Issues, comments, labels and milestones, and the search for them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sandbox.github import shapes
from sandbox.github.links import Links
from sandbox.github.records import NOT_FOUND, Comment, Issue, Label, Milestone, Problem, invalid

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub

LONGEST_TITLE = 256
LONGEST_BODY = 65536
PACIFIC = timedelta(hours=8)  # GitHub keeps a due date as a day in its own time zone


class Tracker:
    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._numbers = itertools.count(1)
        self.issues: dict[int, Issue] = {}
        self.labels = {name.lower(): Label(github.new_id(), name) for name in github.company.github.labels}
        self.milestones: dict[int, Milestone] = {}

    def issue(self, number: int) -> Issue:
        """Problem 404 if there is none."""
        if number not in self.issues:
            raise Problem(404, NOT_FOUND)
        return self.issues[number]

    def open(
        self,
        title: str,
        body: str | None,
        author: str,
        *,
        labels: Sequence[str] = (),
        assignees: Sequence[str] = (),
        milestone: int | None = None,
        is_pull_request: bool = False,
    ) -> Issue:
        """Problem 422 when the title is blank or too long, the body too long, or somebody not assignable."""
        self._check_text(title, body)
        self._check_assignees(assignees)
        self._check_milestone(milestone)
        now = self._github.clock.now()
        issue = Issue(
            self._github.new_id(),
            next(self._numbers),
            title,
            body,
            author,
            now,
            now,
            labels=[self._ensure_label(name).name for name in labels],
            assignees=list(assignees),
            milestone=milestone,
            is_pull_request=is_pull_request,
        )
        self.issues[issue.number] = issue
        if not is_pull_request:
            self._tell("opened", issue, author)
            for name in issue.labels:
                self._tell("labeled", issue, author, label=name)
            for login in issue.assignees:
                self._tell("assigned", issue, author, assignee=login)
        return issue

    def edit(self, issue: Issue, changes: dict[str, Any], by: str) -> None:
        """Apply a PATCH: title, body, state, state_reason, labels, assignees, milestone. Problem as for `open`."""
        self._check_text(changes.get("title", issue.title), changes.get("body", issue.body))
        if "assignees" in changes:
            self._check_assignees(changes["assignees"])
        if "milestone" in changes:
            self._check_milestone(changes["milestone"])
        edited: dict[str, Any] = {
            name: {"from": getattr(issue, name) or ""}
            for name in ("title", "body")
            if name in changes and changes[name] != getattr(issue, name)
        }
        for name in edited:
            setattr(issue, name, changes[name])
        issue.milestone = changes.get("milestone", issue.milestone)
        if edited:
            self._touch(issue)
            self._tell("edited", issue, by, changes=edited)
        if "labels" in changes:
            self.set_labels(issue, changes["labels"], by)
        if "assignees" in changes:
            self.set_assignees(issue, changes["assignees"], by)
        if changes.get("state") == "closed":
            self.close(issue, by, changes.get("state_reason") or "completed")
        elif changes.get("state") == "open":
            self.reopen(issue, by)

    def close(self, issue: Issue, by: str, reason: str = "completed") -> None:
        if issue.state == "closed":
            return
        self._touch(issue)
        issue.state, issue.state_reason = "closed", reason
        issue.closed_at, issue.closed_by = issue.updated_at, by
        self._tell("closed", issue, by)

    def reopen(self, issue: Issue, by: str) -> None:
        if issue.state == "open":
            return
        self._touch(issue)
        issue.state, issue.state_reason = "open", "reopened"
        issue.closed_at = issue.closed_by = None
        self._tell("reopened", issue, by)

    def comment(self, issue: Issue, body: str, author: str) -> Comment:
        if not body.strip():
            raise invalid("IssueComment", "body", "missing_field")
        comment = Comment(self._github.new_id(), author, body, self._github.clock.now())
        issue.comments.append(comment)
        self._touch(issue)
        return comment

    def set_labels(self, issue: Issue, names: Sequence[str], by: str) -> None:
        wanted = [self._ensure_label(name).name for name in names]
        added = [name for name in wanted if name not in issue.labels]
        removed = [name for name in issue.labels if name not in wanted]
        issue.labels = list(dict.fromkeys(wanted))
        self._touch(issue)
        for name in added:
            self._tell("labeled", issue, by, label=name)
        for name in removed:
            self._tell("unlabeled", issue, by, label=name)

    def set_assignees(self, issue: Issue, logins: Sequence[str], by: str) -> None:
        added = [login for login in logins if login not in issue.assignees]
        removed = [login for login in issue.assignees if login not in logins]
        issue.assignees = list(dict.fromkeys(logins))
        self._touch(issue)
        for login in added:
            self._tell("assigned", issue, by, assignee=login)
        for login in removed:
            self._tell("unassigned", issue, by, assignee=login)

    def label(self, name: str) -> Label:
        """Problem 404 if there is none."""
        if name.lower() not in self.labels:
            raise Problem(404, NOT_FOUND)
        return self.labels[name.lower()]

    def add_label(self, name: str, color: str, description: str | None) -> Label:
        """Problem 422 when it is there already or the colour is none."""
        if not name.strip():
            raise invalid("Label", "name", "missing_field")
        if name.lower() in self.labels:
            raise invalid("Label", "name", "already_exists")
        if not re.fullmatch(r"[0-9a-fA-F]{6}", color):
            raise invalid("Label", "color", "invalid")
        label = Label(self._github.new_id(), name, color.lower(), description)
        self.labels[name.lower()] = label
        return label

    def milestone(self, number: int) -> Milestone:
        """Problem 404 if there is none."""
        if number not in self.milestones:
            raise Problem(404, NOT_FOUND)
        return self.milestones[number]

    def add_milestone(
        self, title: str, creator: str, *, description: str | None = None, due_on: datetime | None = None
    ) -> Milestone:
        """Problem 422 when the title is taken."""
        if not title.strip():
            raise invalid("Milestone", "title", "missing_field")
        if any(milestone.title == title for milestone in self.milestones.values()):
            raise invalid("Milestone", "title", "already_exists")
        now = self._github.clock.now()
        number = len(self.milestones) + 1
        milestone = Milestone(self._github.new_id(), number, title, creator, now, now, description)
        milestone.due_on = due_on and due_day(due_on)
        self.milestones[number] = milestone
        return milestone

    def edit_milestone(self, milestone: Milestone, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(milestone, name, value)
        milestone.due_on = milestone.due_on and due_day(milestone.due_on)
        milestone.updated_at = self._github.clock.now()
        milestone.closed_at = milestone.updated_at if milestone.state == "closed" else None

    def issues_of(self, milestone: int, state: Literal["open", "closed"]) -> int:
        return sum(issue.milestone == milestone and issue.state == state for issue in self.issues.values())

    def _ensure_label(self, name: str) -> Label:
        """An issue may name a label that does not exist yet: GitHub then makes it."""
        if name.lower() not in self.labels:
            self.labels[name.lower()] = Label(self._github.new_id(), name)
        return self.labels[name.lower()]

    def _check_text(self, title: str, body: str | None) -> None:
        if not title.strip():
            raise invalid("Issue", "title", "missing_field")
        if len(title) > LONGEST_TITLE:
            raise invalid("Issue", "title", "custom", message="title is too long (maximum is 256 characters)")
        if body and len(body) > LONGEST_BODY:
            raise invalid("Issue", "body", "custom", message="body is too long (maximum is 65536 characters)")

    def _check_assignees(self, logins: Sequence[str]) -> None:
        wrong = [login for login in logins if login not in self._github.assignable]
        if wrong:
            raise invalid("Issue", "assignees", "invalid", value=wrong)

    def _check_milestone(self, number: int | None) -> None:
        if number is not None and number not in self.milestones:
            raise invalid("Issue", "milestone", "invalid", value=number)

    def _touch(self, issue: Issue) -> None:
        issue.updated_at = self._github.clock.now()

    def _tell(
        self,
        action: str,
        issue: Issue,
        sender: str,
        *,
        label: str | None = None,
        assignee: str | None = None,
        changes: dict[str, Any] | None = None,
    ) -> None:
        if issue.is_pull_request:
            return

        def draw(links: Links) -> dict[str, Any]:
            drawn: dict[str, Any] = {"issue": shapes.issue_json(self._github, issue, links)}
            if label is not None:
                drawn["label"] = shapes.label_json(self.label(label), links)
            if assignee is not None:
                drawn["assignee"] = shapes.user_json(self._github.users[assignee], links)
            if changes is not None:
                drawn["changes"] = changes
            return drawn

        self._github.tell("issues", action, sender, draw)


def due_day(at: datetime) -> datetime:
    """The start of that day on the Pacific coast, as GitHub answers it."""
    local = at - PACIFIC
    return local.replace(hour=0, minute=0, second=0, microsecond=0) + PACIFIC
