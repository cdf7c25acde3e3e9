"""The JSON of people, the repository, issues and hooks as webhooks carry it; the REST API adds to it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox.github.links import REPOSITORY_LINKS, USER_LINKS, WEB, Links
from sandbox.github.records import Comment, Hook, Issue, Label, Milestone, Team, User

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub

REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def timestamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: int) -> str:
    return base64.b64encode(f"0:{kind}{number}".encode()).decode()


def user_json(user: User, links: Links) -> dict[str, Any]:
    url = f"{links.api}/users/{user.login}"
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("User", user.id),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{user.id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{WEB}/{user.login}",
        **{name: f"{url}{path}" for name, path in USER_LINKS.items()},
        "type": user.type,
        "site_admin": False,
    }


def organization_json(github: GitHub, links: Links) -> dict[str, Any]:
    url = f"{links.api}/orgs/{github.owner}"
    return {
        "login": github.owner,
        "id": github.organization.id,
        "node_id": node_id("Organization", github.organization.id),
        "url": url,
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events",
        "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues",
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{github.organization.id}?v=4",
        "description": None,
    }


def minimal_repository_json(github: GitHub, links: Links) -> dict[str, Any]:
    return {
        "id": github.organization.id + 1,
        "node_id": node_id("Repository", github.organization.id + 1),
        "name": github.name,
        "full_name": links.repository,
        "private": True,
        "owner": user_json(github.organization, links),
        "html_url": links.web,
        "description": None,
        "fork": False,
        "url": links.repo,
        **{name: f"{links.repo}{path}" for name, path in REPOSITORY_LINKS.items()},
    }


def repository_json(github: GitHub, links: Links) -> dict[str, Any]:
    created = timestamp(github.created_at)
    open_issues = sum(issue.state == "open" for issue in github.tracker.issues.values())
    return minimal_repository_json(github, links) | {
        "created_at": created,
        "updated_at": created,
        "pushed_at": timestamp(github.code.commit_of(None).at),
        "git_url": f"git://github.com/{links.repository}.git",
        "ssh_url": f"git@github.com:{links.repository}.git",
        "clone_url": f"{links.web}.git",
        "svn_url": links.web,
        "homepage": None,
        "size": 0,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": True,
        "has_projects": False,
        "has_downloads": False,
        "has_wiki": False,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "mirror_url": None,
        "archived": False,
        "disabled": False,
        "open_issues_count": open_issues,
        "license": None,
        "allow_forking": False,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private",
        "forks": 0,
        "open_issues": open_issues,
        "watchers": 0,
        "default_branch": "main",
        "custom_properties": {},
    }


def team_json(github: GitHub, team: Team, links: Links) -> dict[str, Any]:
    url = f"{links.api}/organizations/{github.organization.id}/team/{team.id}"
    return {
        "name": team.name,
        "id": team.id,
        "node_id": node_id("Team", team.id),
        "slug": team.slug,
        "description": None,
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "url": url,
        "html_url": f"{WEB}/orgs/{github.owner}/teams/{team.slug}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "permission": "push",
        "parent": None,
    }


def label_json(label: Label, links: Links) -> dict[str, Any]:
    return {
        "id": label.id,
        "node_id": node_id("Label", label.id),
        "url": f"{links.repo}/labels/{label.name.replace(' ', '%20')}",
        "name": label.name,
        "color": label.color,
        "default": label.name in ("bug", "enhancement", "documentation"),
        "description": label.description,
    }


def milestone_json(github: GitHub, milestone: Milestone, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/milestones/{milestone.number}"
    return {
        "url": url,
        "html_url": f"{links.web}/milestone/{milestone.number}",
        "labels_url": f"{url}/labels",
        "id": milestone.id,
        "node_id": node_id("Milestone", milestone.id),
        "number": milestone.number,
        "title": milestone.title,
        "description": milestone.description,
        "creator": user_json(github.users[milestone.creator], links),
        "open_issues": github.tracker.issues_of(milestone.number, "open"),
        "closed_issues": github.tracker.issues_of(milestone.number, "closed"),
        "state": milestone.state,
        "created_at": timestamp(milestone.created_at),
        "updated_at": timestamp(milestone.updated_at),
        "due_on": timestamp(milestone.due_on) if milestone.due_on else None,
        "closed_at": timestamp(milestone.closed_at) if milestone.closed_at else None,
    }


def issue_json(github: GitHub, issue: Issue, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/issues/{issue.number}"
    page = f"{links.web}/{'pull' if issue.is_pull_request else 'issues'}/{issue.number}"
    assignees = [user_json(github.users[login], links) for login in issue.assignees]
    milestone = github.tracker.milestones.get(issue.milestone or 0)
    drawn = {
        "url": url,
        "repository_url": links.repo,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "id": issue.id,
        "node_id": node_id("Issue", issue.id),
        "number": issue.number,
        "title": issue.title,
        "user": user_json(github.users[issue.author], links),
        "labels": [label_json(github.tracker.label(name), links) for name in issue.labels],
        "state": issue.state,
        "locked": False,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": milestone_json(github, milestone, links) if milestone else None,
        "comments": len(issue.comments),
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": timestamp(issue.closed_at) if issue.closed_at else None,
        "author_association": "MEMBER",
        "active_lock_reason": None,
        "body": issue.body,
        "reactions": {"url": f"{url}/reactions", "total_count": 0} | dict.fromkeys(REACTIONS, 0),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": None,
    }
    if issue.state_reason:  # the description does not know that it can be null
        drawn["state_reason"] = issue.state_reason
    if issue.is_pull_request:
        drawn["pull_request"] = {
            "url": f"{links.repo}/pulls/{issue.number}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": None,
        }
    return drawn


def comment_json(github: GitHub, issue: Issue, comment: Comment, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/issues/comments/{comment.id}"
    return {
        "url": url,
        "html_url": f"{links.web}/issues/{issue.number}#issuecomment-{comment.id}",
        "issue_url": f"{links.repo}/issues/{issue.number}",
        "id": comment.id,
        "node_id": node_id("IssueComment", comment.id),
        "user": user_json(github.users[comment.author], links),
        "created_at": timestamp(comment.created_at),
        "updated_at": timestamp(comment.created_at),
        "author_association": "MEMBER",
        "body": comment.body,
        "reactions": {"url": f"{url}/reactions", "total_count": 0} | dict.fromkeys(REACTIONS, 0),
        "performed_via_github_app": None,
    }


def hook_json(github: GitHub, hook: Hook) -> dict[str, Any]:
    url = f"{github.web_links.repo}/hooks/{hook.id}"
    return {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": True,
        "events": list(hook.events),
        "config": {"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": hook.url},
        "updated_at": timestamp(hook.created_at),
        "created_at": timestamp(hook.created_at),
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }
