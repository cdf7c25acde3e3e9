"""Issues, comments, labels and milestones: what may change, and the webhooks of each change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sandbox.github import shapes
from sandbox.github.state import Comment, Issue, Label, Links, Milestone, Repository, invalid

MAX_TITLE = 256
MAX_BODY = 65536
PACIFIC = timedelta(hours=8)  # GitHub keeps a due date as a day in its own time zone

# Sends a webhook: event, action, sender, and the function that makes what the event adds to the payload.
SendWebhook = Callable[[str, str, str, Callable[[Links], dict[str, Any]]], None]


class Tracker:
    """Opens, edits and closes the repository's issues, labels and milestones."""

    def __init__(self, repo: Repository, send_webhook: SendWebhook) -> None:
        self._repo = repo
        self._send_webhook = send_webhook
        self._numbers = itertools.count(1)

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
        """Open an issue. Raises Problem 422 for a blank or long title, a long body, or people not assignable."""
        self._check_text(title, body)
        assignees = assignees if self._repo.can_assign else ()
        self._check_assignees(assignees)
        self._check_milestone(milestone)
        now = self._repo.clock.now()
        issue = Issue(
            self._repo.new_id(),
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
        self._repo.issues[issue.number] = issue
        if not is_pull_request:
            self._notify("opened", issue, author)
            for name in issue.labels:
                self._notify("labeled", issue, author, label=name)
            for login in issue.assignees:
                self._notify("assigned", issue, author, assignee=login)
        return issue

    def edit(self, issue: Issue, changes: dict[str, Any], by: str) -> None:
        """Apply a PATCH: title, body, state, state_reason, labels, assignees, milestone. Raises Problem as `open`."""
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
            self._notify("edited", issue, by, changes=edited)
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
        self._notify("closed", issue, by)

    def reopen(self, issue: Issue, by: str) -> None:
        if issue.state == "open":
            return
        self._touch(issue)
        issue.state, issue.state_reason = "open", "reopened"
        issue.closed_at = issue.closed_by = None
        self._notify("reopened", issue, by)

    def comment(self, issue: Issue, body: str, author: str) -> Comment:
        if not body.strip():
            raise invalid("IssueComment", "body", "missing_field")
        comment = Comment(self._repo.new_id(), author, body, self._repo.clock.now())
        issue.comments.append(comment)
        self._touch(issue)
        return comment

    def set_labels(self, issue: Issue, names: Sequence[str], by: str) -> None:
        new = [self._ensure_label(name).name for name in names]
        added = [name for name in new if name not in issue.labels]
        removed = [name for name in issue.labels if name not in new]
        issue.labels = list(dict.fromkeys(new))
        self._touch(issue)
        for name in added:
            self._notify("labeled", issue, by, label=name)
        for name in removed:
            self._notify("unlabeled", issue, by, label=name)

    def set_assignees(self, issue: Issue, logins: Sequence[str], by: str) -> None:
        added = [login for login in logins if login not in issue.assignees]
        removed = [login for login in issue.assignees if login not in logins]
        issue.assignees = list(dict.fromkeys(logins))
        self._touch(issue)
        for login in added:
            self._notify("assigned", issue, by, assignee=login)
        for login in removed:
            self._notify("unassigned", issue, by, assignee=login)

    def add_label(self, name: str, color: str, description: str | None) -> Label:
        """Create a label. Raises Problem 422 if it exists or the colour is invalid."""
        if not name.strip():
            raise invalid("Label", "name", "missing_field")
        if name.lower() in self._repo.labels:
            raise invalid("Label", "name", "already_exists")
        if not re.fullmatch(r"[0-9a-fA-F]{6}", color):
            raise invalid("Label", "color", "invalid")
        label = Label(self._repo.new_id(), name, color.lower(), description)
        self._repo.labels[name.lower()] = label
        return label

    def add_milestone(
        self, title: str, creator: str, *, description: str | None = None, due_on: datetime | None = None
    ) -> Milestone:
        """Create a milestone. Raises Problem 422 if the title is taken."""
        if not title.strip():
            raise invalid("Milestone", "title", "missing_field")
        if any(milestone.title == title for milestone in self._repo.milestones.values()):
            raise invalid("Milestone", "title", "already_exists")
        now = self._repo.clock.now()
        number = len(self._repo.milestones) + 1
        milestone = Milestone(self._repo.new_id(), number, title, creator, now, now, description)
        milestone.due_on = due_on and due_day(due_on)
        self._repo.milestones[number] = milestone
        return milestone

    def edit_milestone(self, milestone: Milestone, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(milestone, name, value)
        milestone.due_on = milestone.due_on and due_day(milestone.due_on)
        milestone.updated_at = self._repo.clock.now()
        milestone.closed_at = milestone.updated_at if milestone.state == "closed" else None

    def _ensure_label(self, name: str) -> Label:
        """Return the label; GitHub creates labels that an issue names."""
        if name.lower() not in self._repo.labels:
            self._repo.labels[name.lower()] = Label(self._repo.new_id(), name)
        return self._repo.labels[name.lower()]

    def _check_text(self, title: str, body: str | None) -> None:
        if not title.strip():
            raise invalid("Issue", "title", "missing_field")
        if len(title) > MAX_TITLE:
            raise invalid("Issue", "title", "custom", message="title is too long (maximum is 256 characters)")
        if body and len(body) > MAX_BODY:
            raise invalid("Issue", "body", "custom", message="body is too long (maximum is 65536 characters)")

    def _check_assignees(self, logins: Sequence[str]) -> None:
        strangers = [login for login in logins if login not in self._repo.assignable]
        if strangers:
            raise invalid("Issue", "assignees", "invalid", value=strangers)

    def _check_milestone(self, number: int | None) -> None:
        if number is not None and number not in self._repo.milestones:
            raise invalid("Issue", "milestone", "invalid", value=number)

    def _touch(self, issue: Issue) -> None:
        issue.updated_at = self._repo.clock.now()

    def _notify(
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

        def to_json(links: Links) -> dict[str, Any]:
            event: dict[str, Any] = {"issue": shapes.issue_json(self._repo, issue, links)}
            if label is not None:
                event["label"] = shapes.label_json(self._repo.label(label), links)
            if assignee is not None:
                event["assignee"] = shapes.user_json(self._repo.users[assignee], links)
            if changes is not None:
                event["changes"] = changes
            return event

        self._send_webhook("issues", action, sender, to_json)


def due_day(at: datetime) -> datetime:
    """Return the start of that day on the Pacific coast, as GitHub answers it."""
    local = at - PACIFIC
    return local.replace(hour=0, minute=0, second=0, microsecond=0) + PACIFIC
