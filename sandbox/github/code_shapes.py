"""The JSON of commits, branches, files, pull requests, reviews and checks."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from sandbox.github.code_records import CheckRun, Commit, Pull, Review
from sandbox.github.links import Links
from sandbox.github.shapes import (
    label_json,
    milestone_json,
    node_id,
    repository_json,
    team_json,
    timestamp,
    user_json,
)

if TYPE_CHECKING:
    from sandbox.github.backend import GitHub


def signature_json(github: GitHub, commit: Commit) -> dict[str, Any]:
    user = github.users[commit.author]
    email = user.email or f"{user.login}@users.noreply.github.com"
    return {"name": user.name, "email": email, "date": timestamp(commit.at)}


def git_commit_json(github: GitHub, commit: Commit, links: Links) -> dict[str, Any]:
    """What `commit` is in most answers: the Git object."""
    tree = tree_sha(commit)
    return {
        "url": f"{links.repo}/git/commits/{commit.sha}",
        "author": signature_json(github, commit),
        "committer": signature_json(github, commit),
        "message": commit.message,
        "comment_count": 0,
        "tree": {"sha": tree, "url": f"{links.repo}/git/trees/{tree}"},
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


def commit_json(github: GitHub, commit: Commit, links: Links) -> dict[str, Any]:
    author = user_json(github.users[commit.author], links)
    return {
        "url": f"{links.repo}/commits/{commit.sha}",
        "sha": commit.sha,
        "node_id": f"C_{commit.sha[:12]}",
        "html_url": f"{links.web}/commit/{commit.sha}",
        "comments_url": f"{links.repo}/commits/{commit.sha}/comments",
        "commit": git_commit_json(github, commit, links),
        "author": author,
        "committer": author,
        "parents": [
            {
                "sha": sha,
                "url": f"{links.repo}/commits/{sha}",
                "html_url": f"{links.web}/commit/{sha}",
            }
            for sha in commit.parents
        ],
    }


def branch_json(github: GitHub, name: str, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/branches/{name}"
    return {
        "name": name,
        "commit": commit_json(github, github.code.commit_of(name), links),
        "_links": {"self": url, "html": f"{links.web}/tree/{name}"},
        "protected": name == "main",
        "protection": {"enabled": name == "main"},
        "protection_url": f"{url}/protection",
    }


def ref_json(name: str, sha: str, links: Links) -> dict[str, Any]:
    return {
        "ref": f"refs/heads/{name}",
        "node_id": base64.b64encode(f"ref:{name}".encode()).decode(),
        "url": f"{links.repo}/git/refs/heads/{name}",
        "object": {"sha": sha, "type": "commit", "url": f"{links.repo}/git/commits/{sha}"},
    }


def file_json(path: str, text: str, sha: str, ref: str, links: Links) -> dict[str, Any]:
    """A file's entry; its `content` is base64 in lines of 60 characters."""
    encoded = base64.b64encode(text.encode()).decode()
    lines = [encoded[start : start + 60] for start in range(0, len(encoded), 60)]
    url = f"{links.repo}/contents/{path}?ref={ref}"
    git = f"{links.repo}/git/blobs/{sha}"
    page = f"{links.web}/blob/{ref}/{path}"
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


def pull_json(github: GitHub, pull: Pull, links: Links) -> dict[str, Any]:
    issue = pull.issue
    url = f"{links.repo}/pulls/{issue.number}"
    issue_url = f"{links.repo}/issues/{issue.number}"
    page = f"{links.web}/pull/{issue.number}"
    commits = github.code.commits_of(pull)
    changed = changed_files(github, pull)
    assignees = [user_json(github.users[login], links) for login in issue.assignees]
    milestone = github.tracker.milestones.get(issue.milestone or 0)
    statuses = f"{links.repo}/statuses/{pull.head_sha}"
    comment = f"{links.repo}/pulls/comments{{/number}}"
    state = github.code.mergeable_state(pull)
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
        "user": user_json(github.users[issue.author], links),
        "body": issue.body,
        "created_at": timestamp(issue.created_at),
        "updated_at": timestamp(issue.updated_at),
        "closed_at": timestamp(issue.closed_at) if issue.closed_at else None,
        "merged_at": timestamp(pull.merged_at) if pull.merged_at else None,
        "merge_commit_sha": pull.merge_commit,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "requested_reviewers": [user_json(github.users[login], links) for login in pull.reviewers],
        "requested_teams": [team_json(github, github.teams[slug], links) for slug in pull.team_reviewers],
        "labels": [label_json(github.tracker.label(name), links) for name in issue.labels],
        "milestone": milestone_json(github, milestone, links) if milestone else None,
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "review_comment_url": comment,
        "comments_url": f"{issue_url}/comments",
        "statuses_url": statuses,
        "head": _side(github, pull.head, pull.head_sha, links),
        "base": _side(github, pull.base, pull.base_sha, links),
        "_links": {name: {"href": href} for name, href in related.items()},
        "author_association": "MEMBER",
        "auto_merge": None,
        "active_lock_reason": None,
        "draft": pull.draft,
        "merged": pull.merged_at is not None,
        "mergeable": None if state == "unknown" else True,
        "rebaseable": None if state == "unknown" else True,
        "mergeable_state": state,
        "merged_by": user_json(github.users[pull.merged_by], links) if pull.merged_by else None,
        "comments": len(issue.comments),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(commits),
        "additions": sum(file["additions"] for file in changed),
        "deletions": sum(file["deletions"] for file in changed),
        "changed_files": len(changed),
    }


def changed_files(github: GitHub, pull: Pull) -> list[dict[str, Any]]:
    """The files that differ between base and head."""
    before = github.code.commits[pull.base_sha].files
    after = github.code.commits[pull.head_sha].files
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
        "blob_url": f"{links.web}/blob/{pull.head_sha}/{path}",
        "raw_url": f"{links.web}/raw/{pull.head_sha}/{path}",
        "contents_url": f"{links.repo}/contents/{path}?ref={pull.head_sha}",
    }


def review_json(github: GitHub, pull: Pull, review: Review, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/pulls/{pull.issue.number}"
    page = f"{links.web}/pull/{pull.issue.number}#pullrequestreview-{review.id}"
    return {
        "id": review.id,
        "node_id": node_id("PullRequestReview", review.id),
        "user": user_json(github.users[review.author], links),
        "body": review.body,
        "state": review.state,
        "html_url": page,
        "pull_request_url": url,
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        "submitted_at": timestamp(review.at),
        "commit_id": review.commit,
        "author_association": "MEMBER",
    }


def check_run_json(check: CheckRun, links: Links) -> dict[str, Any]:
    url = f"{links.repo}/check-runs/{check.id}"
    return {
        "id": check.id,
        "node_id": node_id("CheckRun", check.id),
        "head_sha": check.sha,
        "external_id": "",
        "url": url,
        "html_url": f"{links.web}/runs/{check.id}",
        "details_url": f"{links.web}/runs/{check.id}",
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
        "app": None,
        "pull_requests": [],
    }


def combined_status_json(sha: str, links: Links) -> dict[str, Any]:
    """The old commit status; checks do not count there, so that it is always pending and empty."""
    url = f"{links.repo}/commits/{sha}"
    return {
        "state": "pending",
        "statuses": [],
        "sha": sha,
        "total_count": 0,
        "commit_url": url,
        "url": f"{url}/status",
    }


def _side(github: GitHub, branch: str, sha: str, links: Links) -> dict[str, Any]:
    return {
        "label": f"{github.owner}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": user_json(github.organization, links),
        "repo": repository_json(github, links),
    }


def _lines_only_in(text: str | None, other: str | None) -> int:
    return len(set((text or "").splitlines()) - set((other or "").splitlines()))
