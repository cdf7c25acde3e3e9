"""The JSON of GitHub's responses and webhooks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.github.state import (
    BOT,
    REPOSITORY_LINKS,
    USER_LINKS,
    WEB,
    CheckRun,
    Comment,
    Commit,
    CommitStatus,
    Deployment,
    DeploymentStatus,
    Hook,
    Issue,
    Label,
    Links,
    Milestone,
    Pull,
    Repository,
    Review,
    Run,
    Team,
    User,
    Workflow,
)

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


def organization_json(repo: Repository, links: Links) -> dict[str, Any]:
    url = f"{links.api}/orgs/{repo.owner}"
    return {
        "login": repo.owner,
        "id": repo.organization.id,
        "node_id": node_id("Organization", repo.organization.id),
        "url": url,
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events",
        "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues",
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{repo.organization.id}?v=4",
        "description": None,
    }


def minimal_repository_json(repo: Repository, links: Links) -> dict[str, Any]:
    return {
        "id": repo.id,
        "node_id": node_id("Repository", repo.id),
        "name": repo.name,
        "full_name": links.repository,
        "private": True,
        "owner": user_json(repo.organization, links),
        "html_url": links.web_repo,
        "description": None,
        "fork": False,
        "url": links.api_repo,
        **{name: f"{links.api_repo}{path}" for name, path in REPOSITORY_LINKS.items()},
    }


def repository_json(repo: Repository, links: Links) -> dict[str, Any]:
    created = timestamp(repo.created_at)
    open_issues = sum(issue.state == "open" for issue in repo.issues.values())
    return minimal_repository_json(repo, links) | {
        "created_at": created,
        "updated_at": created,
        "pushed_at": timestamp(repo.commit_of(None).at),
        "git_url": f"git://github.com/{links.repository}.git",
        "ssh_url": f"git@github.com:{links.repository}.git",
        "clone_url": f"{links.web_repo}.git",
        "svn_url": links.web_repo,
        "homepage": None,
        "size": 0,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": repo.has_issues,
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
        "default_branch": repo.default_branch,
        "custom_properties": {},
    }


def team_json(repo: Repository, team: Team, links: Links) -> dict[str, Any]:
    url = f"{links.api}/organizations/{repo.organization.id}/team/{team.id}"
    return {
        "name": team.name,
        "id": team.id,
        "node_id": node_id("Team", team.id),
        "slug": team.slug,
        "description": None,
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "url": url,
        "html_url": f"{WEB}/orgs/{repo.owner}/teams/{team.slug}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "permission": "push",
        "parent": None,
    }


def label_json(label: Label, links: Links) -> dict[str, Any]:
    return {
        "id": label.id,
        "node_id": node_id("Label", label.id),
        "url": f"{links.api_repo}/labels/{label.name.replace(' ', '%20')}",
        "name": label.name,
        "color": label.color,
        "default": label.name in ("bug", "enhancement", "documentation"),
        "description": label.description,
    }


def milestone_json(repo: Repository, milestone: Milestone, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/milestones/{milestone.number}"
    return {
        "url": url,
        "html_url": f"{links.web_repo}/milestone/{milestone.number}",
        "labels_url": f"{url}/labels",
        "id": milestone.id,
        "node_id": node_id("Milestone", milestone.id),
        "number": milestone.number,
        "title": milestone.title,
        "description": milestone.description,
        "creator": user_json(repo.users[milestone.creator], links),
        "open_issues": repo.count_issues(milestone.number, "open"),
        "closed_issues": repo.count_issues(milestone.number, "closed"),
        "state": milestone.state,
        "created_at": timestamp(milestone.created_at),
        "updated_at": timestamp(milestone.updated_at),
        "due_on": timestamp(milestone.due_on) if milestone.due_on else None,
        "closed_at": timestamp(milestone.closed_at) if milestone.closed_at else None,
    }


def issue_json(repo: Repository, issue: Issue, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/issues/{issue.number}"
    page = f"{links.web_repo}/{'pull' if issue.is_pull_request else 'issues'}/{issue.number}"
    assignees = [user_json(repo.users[login], links) for login in issue.assignees]
    milestone = repo.milestones.get(issue.milestone or 0)
    result = {
        "url": url,
        "repository_url": links.api_repo,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "id": issue.id,
        "node_id": node_id("Issue", issue.id),
        "number": issue.number,
        "title": issue.title,
        "user": user_json(repo.users[issue.author], links),
        "labels": [label_json(repo.label(name), links) for name in issue.labels],
        "state": issue.state,
        "locked": False,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": milestone_json(repo, milestone, links) if milestone else None,
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
    if issue.state_reason:  # not nullable in the OpenAPI description
        result["state_reason"] = issue.state_reason
    if issue.is_pull_request:
        result["pull_request"] = {
            "url": f"{links.api_repo}/pulls/{issue.number}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": None,
        }
    return result


def comment_json(repo: Repository, issue: Issue, comment: Comment, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/issues/comments/{comment.id}"
    return {
        "url": url,
        "html_url": f"{links.web_repo}/issues/{issue.number}#issuecomment-{comment.id}",
        "issue_url": f"{links.api_repo}/issues/{issue.number}",
        "id": comment.id,
        "node_id": node_id("IssueComment", comment.id),
        "user": user_json(repo.users[comment.author], links),
        "created_at": timestamp(comment.created_at),
        "updated_at": timestamp(comment.created_at),
        "author_association": "MEMBER",
        "body": comment.body,
        "reactions": {"url": f"{url}/reactions", "total_count": 0} | dict.fromkeys(REACTIONS, 0),
        "performed_via_github_app": None,
    }


def hook_json(repo: Repository, hook: Hook) -> dict[str, Any]:
    url = f"{repo.web_links.api_repo}/hooks/{hook.id}"
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


# Commits, branches, files, pull requests, reviews, checks.


def signature_json(repo: Repository, commit: Commit) -> dict[str, Any]:
    user = repo.users[commit.author]
    email = user.email or f"{user.login}@users.noreply.github.com"
    return {"name": user.name, "email": email, "date": timestamp(commit.at)}


def git_commit_json(repo: Repository, commit: Commit, links: Links) -> dict[str, Any]:
    """Return the Git object, which is `commit` in most responses."""
    tree = tree_sha(commit)
    return {
        "url": f"{links.api_repo}/git/commits/{commit.sha}",
        "author": signature_json(repo, commit),
        "committer": signature_json(repo, commit),
        "message": commit.message,
        "comment_count": 0,
        "tree": {"sha": tree, "url": f"{links.api_repo}/git/trees/{tree}"},
        "verification": {
            "verified": False,
            "reason": "unsigned",
            "signature": None,
            "payload": None,
            "verified_at": None,
        },
    }


def tree_sha(commit: Commit) -> str:
    names = "\0".join(f"{path} {text}" for path, text in sorted(commit.files.items()))
    return hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()


def commit_json(repo: Repository, commit: Commit, links: Links) -> dict[str, Any]:
    author = user_json(repo.users[commit.author], links)
    return {
        "url": f"{links.api_repo}/commits/{commit.sha}",
        "sha": commit.sha,
        "node_id": f"C_{commit.sha[:12]}",
        "html_url": f"{links.web_repo}/commit/{commit.sha}",
        "comments_url": f"{links.api_repo}/commits/{commit.sha}/comments",
        "commit": git_commit_json(repo, commit, links),
        "author": author,
        "committer": author,
        "parents": [
            {
                "sha": sha,
                "url": f"{links.api_repo}/commits/{sha}",
                "html_url": f"{links.web_repo}/commit/{sha}",
            }
            for sha in commit.parents
        ],
    }


def branch_json(repo: Repository, name: str, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/branches/{name}"
    return {
        "name": name,
        "commit": commit_json(repo, repo.commit_of(name), links),
        "_links": {"self": url, "html": f"{links.web_repo}/tree/{name}"},
        "protected": name == repo.default_branch,
        "protection": {"enabled": name == repo.default_branch},
        "protection_url": f"{url}/protection",
    }


def ref_json(name: str, sha: str, links: Links) -> dict[str, Any]:
    return {
        "ref": f"refs/heads/{name}",
        "node_id": base64.b64encode(f"ref:{name}".encode()).decode(),
        "url": f"{links.api_repo}/git/refs/heads/{name}",
        "object": {"sha": sha, "type": "commit", "url": f"{links.api_repo}/git/commits/{sha}"},
    }


def file_json(path: str, text: str, sha: str, ref: str, links: Links) -> dict[str, Any]:
    """Return a file with its `content`: base64 in lines of 60 characters."""
    encoded = base64.b64encode(text.encode()).decode()
    lines = [encoded[start : start + 60] for start in range(0, len(encoded), 60)]
    url = f"{links.api_repo}/contents/{path}?ref={ref}"
    git = f"{links.api_repo}/git/blobs/{sha}"
    page = f"{links.web_repo}/blob/{ref}/{path}"
    return {
        "type": "file",
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": len(text.encode()),
        "url": url,
        "git_url": git,
        "html_url": page,
        "download_url": f"https://raw.githubusercontent.com/{links.repository}/{ref}/{path}",
        "content": "".join(f"{line}\n" for line in lines),
        "encoding": "base64",
        "_links": {"self": url, "git": git, "html": page},
    }


def pull_json(repo: Repository, pull: Pull, links: Links) -> dict[str, Any]:
    issue = pull.issue
    url = f"{links.api_repo}/pulls/{issue.number}"
    issue_url = f"{links.api_repo}/issues/{issue.number}"
    page = f"{links.web_repo}/pull/{issue.number}"
    commits = repo.commits_of(pull)
    changed = changed_files(repo, pull)
    assignees = [user_json(repo.users[login], links) for login in issue.assignees]
    milestone = repo.milestones.get(issue.milestone or 0)
    statuses = f"{links.api_repo}/statuses/{pull.head_sha}"
    comment = f"{links.api_repo}/pulls/comments{{/number}}"
    state = repo.mergeable_state(pull)
    related = {
        "self": url,
        "html": page,
        "issue": issue_url,
        "comments": f"{issue_url}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": comment,
        "commits": f"{url}/commits",
        "statuses": statuses,
    }
    return {
        "url": url,
        "id": pull.id,
        "node_id": node_id("PullRequest", pull.id),
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": issue_url,
        "number": issue.number,
        "state": issue.state,
        "locked": False,
        "title": issue.title,
        "user": user_json(repo.users[issue.author], links),
        "body": issue.body,
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": timestamp(issue.closed_at) if issue.closed_at else None,
        "merged_at": timestamp(pull.merged_at) if pull.merged_at else None,
        "merge_commit_sha": pull.merge_commit,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "requested_reviewers": [user_json(repo.users[login], links) for login in pull.reviewers],
        "requested_teams": [team_json(repo, repo.teams[slug], links) for slug in pull.team_reviewers],
        "labels": [label_json(repo.label(name), links) for name in issue.labels],
        "milestone": milestone_json(repo, milestone, links) if milestone else None,
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "review_comment_url": comment,
        "comments_url": f"{issue_url}/comments",
        "statuses_url": statuses,
        "head": _branch_json(repo, pull.head, pull.head_sha, links),
        "base": _branch_json(repo, pull.base, pull.base_sha, links),
        "_links": {name: {"href": href} for name, href in related.items()},
        "author_association": "MEMBER",
        "auto_merge": None,
        "active_lock_reason": None,
        "draft": pull.draft,
        "merged": pull.merged_at is not None,
        "mergeable": None if state == "unknown" else True,
        "rebaseable": None if state == "unknown" else True,
        "mergeable_state": state,
        "merged_by": user_json(repo.users[pull.merged_by], links) if pull.merged_by else None,
        "comments": len(issue.comments),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(commits),
        "additions": sum(file["additions"] for file in changed),
        "deletions": sum(file["deletions"] for file in changed),
        "changed_files": len(changed),
    }


def changed_files(repo: Repository, pull: Pull) -> list[dict[str, Any]]:
    """Return the files that differ between base and head."""
    before = repo.commits[pull.base_sha].files
    after = repo.commits[pull.head_sha].files
    changed = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        additions, deletions = _lines_only_in(new, old), _lines_only_in(old, new)
        changed.append(
            {
                "filename": path,
                "status": "added" if old is None else "removed" if new is None else "modified",
                "additions": additions,
                "deletions": deletions,
                "changes": additions + deletions,
            }
        )
    return changed


def changed_file_json(file: dict[str, Any], pull: Pull, links: Links) -> dict[str, Any]:
    path = file["filename"]
    return file | {
        "sha": hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest(),
        "blob_url": f"{links.web_repo}/blob/{pull.head_sha}/{path}",
        "raw_url": f"{links.web_repo}/raw/{pull.head_sha}/{path}",
        "contents_url": f"{links.api_repo}/contents/{path}?ref={pull.head_sha}",
    }


def review_json(repo: Repository, pull: Pull, review: Review, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/pulls/{pull.issue.number}"
    page = f"{links.web_repo}/pull/{pull.issue.number}#pullrequestreview-{review.id}"
    return {
        "id": review.id,
        "node_id": node_id("PullRequestReview", review.id),
        "user": user_json(repo.users[review.author], links),
        "body": review.body,
        "state": review.state,
        "html_url": page,
        "pull_request_url": url,
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        "submitted_at": timestamp(review.at),
        "commit_id": review.commit,
        "author_association": "MEMBER",
    }


def check_run_json(repo: Repository, check: CheckRun, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/check-runs/{check.id}"
    return {
        "id": check.id,
        "node_id": node_id("CheckRun", check.id),
        "head_sha": check.sha,
        "external_id": "",
        "url": url,
        "html_url": f"{links.web_repo}/runs/{check.id}",
        "details_url": f"{links.web_repo}/runs/{check.id}",
        "status": "completed" if check.conclusion else "in_progress",
        "conclusion": check.conclusion,
        "started_at": timestamp(check.started_at),
        "completed_at": timestamp(check.completed_at) if check.completed_at else None,
        "output": {
            "title": None,
            "summary": None,
            "text": None,
            "annotations_count": 0,
            "annotations_url": f"{url}/annotations",
        },
        "name": check.name,
        "check_suite": {"id": check.id},
        "app": _app_json(repo, check.app, links),
        "pull_requests": [],
    }


def combined_status_json(
    repo: Repository, sha: str, statuses: Sequence[CommitStatus], page: list[dict[str, Any]], links: Links
) -> dict[str, Any]:
    """Return one page of the newest statuses, and what they come to; checks do not affect it."""
    url = f"{links.api_repo}/commits/{sha}"
    states = {status.state for status in statuses}
    worst = "failure" if states & {"error", "failure"} else "success" if states == {"success"} else "pending"
    return {
        "state": worst,
        "statuses": page,
        "sha": sha,
        "total_count": len(statuses),
        "repository": minimal_repository_json(repo, links),
        "commit_url": url,
        "url": f"{url}/status",
    }


def simple_status_json(repo: Repository, status: CommitStatus, links: Links) -> dict[str, Any]:
    bot = user_json(repo.users[BOT], links)
    return {
        "url": f"{links.api_repo}/statuses/{status.sha}",
        "avatar_url": bot["avatar_url"],
        "id": status.id,
        "node_id": node_id("StatusContext", status.id),
        "state": status.state,
        "description": None,
        "target_url": None,
        "context": status.context,
        "created_at": timestamp(status.at),
        "updated_at": timestamp(status.at),
    }


def status_json(repo: Repository, status: CommitStatus, links: Links) -> dict[str, Any]:
    return simple_status_json(repo, status, links) | {"creator": user_json(repo.users[BOT], links)}


def _app_json(repo: Repository, slug: str, links: Links) -> dict[str, Any]:
    number = int.from_bytes(slug.encode()[-3:])
    created = timestamp(repo.created_at)
    return {
        "id": number,
        "slug": slug,
        "node_id": node_id("App", number),
        "owner": user_json(repo.organization, links),
        "name": slug.replace("-", " ").capitalize(),
        "description": "",
        "external_url": WEB,
        "html_url": f"{WEB}/apps/{slug}",
        "created_at": created,
        "updated_at": created,
        "permissions": {"checks": "write", "metadata": "read"},
        "events": [],
    }


def _branch_json(repo: Repository, branch: str, sha: str, links: Links) -> dict[str, Any]:
    return {
        "label": f"{repo.owner}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": user_json(repo.organization, links),
        "repo": repository_json(repo, links),
    }


def _lines_only_in(text: str | None, other: str | None) -> int:
    return len(set((text or "").splitlines()) - set((other or "").splitlines()))


# Deployments, workflows and their runs.


def deployment_json(repo: Repository, deployment: Deployment, links: Links) -> dict[str, Any]:
    url = f"{links.api_repo}/deployments/{deployment.id}"
    return {
        "url": url,
        "id": deployment.id,
        "node_id": node_id("Deployment", deployment.id),
        "sha": deployment.sha,
        "ref": deployment.ref,
        "task": deployment.task,
        "payload": deployment.payload,
        "original_environment": deployment.environment,
        "environment": deployment.environment,
        "description": deployment.description,
        "creator": user_json(repo.users[deployment.creator], links),
        "created_at": timestamp(deployment.created_at),
        "updated_at": timestamp(deployment.statuses[-1].at if deployment.statuses else deployment.created_at),
        "statuses_url": f"{url}/statuses",
        "repository_url": links.api_repo,
        "transient_environment": False,
        "production_environment": deployment.environment == "production",
    }


def deployment_status_json(
    repo: Repository, deployment: Deployment, status: DeploymentStatus, links: Links
) -> dict[str, Any]:
    url = f"{links.api_repo}/deployments/{deployment.id}"
    return {
        "url": f"{url}/statuses/{status.id}",
        "id": status.id,
        "node_id": node_id("DeploymentStatus", status.id),
        "state": status.state,
        "creator": user_json(repo.users[status.creator], links),
        "description": status.description,
        "environment": deployment.environment,
        "target_url": "",
        "created_at": timestamp(status.at),
        "updated_at": timestamp(status.at),
        "deployment_url": url,
        "repository_url": links.api_repo,
        "environment_url": "",
        "log_url": "",
    }


def workflow_json(workflow: Workflow, links: Links) -> dict[str, Any]:
    created = timestamp(workflow.created_at)
    file = workflow.path.rpartition("/")[2]
    return {
        "id": workflow.id,
        "node_id": node_id("Workflow", workflow.id),
        "name": workflow.name,
        "path": workflow.path,
        "state": "active",
        "created_at": created,
        "updated_at": created,
        "url": f"{links.api_repo}/actions/workflows/{workflow.id}",
        "html_url": f"{links.web_repo}/blob/main/{workflow.path}",
        "badge_url": f"{links.web_repo}/actions/workflows/{file}/badge.svg",
    }


def run_json(repo: Repository, run: Run, links: Links) -> dict[str, Any]:
    """Return a run as in webhooks, without `inputs`."""
    url = f"{links.api_repo}/actions/runs/{run.id}"
    actor = user_json(repo.users[run.actor], links)
    commit = repo.commits[run.sha]
    signature = {name: signature_json(repo, commit)[name] for name in ("name", "email")}
    repository = minimal_repository_json(repo, links)
    return {
        "id": run.id,
        "name": run.workflow.name,
        "node_id": node_id("WorkflowRun", run.id),
        "head_branch": run.branch,
        "head_sha": run.sha,
        "path": run.workflow.path,
        "display_title": run.workflow.name,
        "run_number": run.number,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": run.workflow.id,
        "check_suite_id": run.id,
        "check_suite_node_id": node_id("CheckSuite", run.id),
        "url": url,
        "html_url": f"{links.web_repo}/actions/runs/{run.id}",
        "pull_requests": [],
        "created_at": timestamp(run.created_at),
        "updated_at": timestamp(run.updated_at),
        "actor": actor,
        "triggering_actor": actor,
        "run_attempt": 1,
        "run_started_at": timestamp(run.created_at),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "check_suite_url": f"{links.api_repo}/check-suites/{run.id}",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": None,
        "workflow_url": f"{links.api_repo}/actions/workflows/{run.workflow.id}",
        "head_commit": {
            "id": commit.sha,
            "tree_id": tree_sha(commit),
            "message": commit.message,
            "timestamp": timestamp(commit.at),
            "author": signature,
            "committer": signature,
        },
        "repository": repository,
        "head_repository": repository,
    }
