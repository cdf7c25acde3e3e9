"""`github.*`: issues, and a hotfix's path: branch, pull request, review, merge, workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from bot.actions.context import Context
from bot.actions.registry import action, undo
from bot.codeowners import logins, owners, slack_mentions
from bot.domain.errors import NotFound, WrongState
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.integrations.effects import effect
from bot.integrations.github.code import Pull
from bot.integrations.github.github import IssueDraft
from bot.integrations.github.workflows import WorkflowRun
from bot.messages.message import Message
from bot.names import BranchName, BranchPrefix, WorkflowFile
from bot.slack_messages import Place, upsert_message

POLL_SECONDS = 10.0  # seconds of the bot's clock between two requests

Number = Annotated[int, Field(ge=1)]
Title = Annotated[str, Field(min_length=1, max_length=250)]
SHORT = 7  # hexadecimal digits of a commit in an image tag, as Git abbreviates it


def _well_formed(name: str) -> str:
    """Validate a branch name. Raises ValueError. Source: https://git-scm.com/docs/git-check-ref-format"""
    if ".." in name or "//" in name or name.endswith((".", "/", ".lock")):
        raise ValueError("is not a valid branch name")
    return name


Branch = Annotated[BranchName, AfterValidator(_well_formed)]


@dataclass(frozen=True, slots=True)
class IssueCreated:
    """Number 0 and an empty URL in a dry run."""

    number: int
    url: str


@dataclass(frozen=True, slots=True)
class Branched:
    """`sha` is the branch's first commit; `made` is False if it existed before."""

    branch: str
    base: str
    sha: str
    made: bool


@dataclass(frozen=True, slots=True)
class PullRequestOpened:
    """A pull request; number 0 in a dry run. `made` is False if it existed before."""

    number: int
    url: str
    branch: str
    base: str
    made: bool


@dataclass(frozen=True, slots=True)
class ReviewRequested:
    number: int
    reviewers: list[str]
    teams: list[str]


@dataclass(frozen=True, slots=True)
class Merged:
    number: int
    url: str
    sha: str
    approved_by: list[str]


@dataclass(frozen=True, slots=True)
class Dispatched:
    """`after` is the id of the newest earlier run; `run` is 0 in a dry run."""

    workflow: str
    branch: str
    after: int
    run: int
    url: str
    conclusion: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The newest run of a workflow; None if there is none."""

    workflow: str
    newest: WorkflowRun | None


@action("github.create_issue", risk=Risk.CHANGE, example="/ops github.create_issue 'Alertar antes' labels=monitoring")
async def create_issue(ctx: Context, title: Title, body: str = "", labels: str = "") -> IssueCreated:
    """Create an issue; labels are separated by commas."""
    github, label_names = ctx.github, [label.strip() for label in labels.split(",") if label.strip()]

    @effect("github.create_issue")
    async def create(title: str, labels: list[str]) -> IssueCreated:
        issue = await github.create_issue(ctx.key, IssueDraft(title, body, tuple(labels)))
        return IssueCreated(issue.number, issue.url)

    return await create(title, label_names) or IssueCreated(0, "")


@undo(create_issue)
async def close_issue(ctx: Context, done: IssueCreated) -> IssueCreated:
    """Close the issue."""
    if done.number:
        await ctx.github.close_issue(done.number)
    return done


@action("github.create_branch", risk=Risk.CHANGE, target="branch/{branch}", example="/ops create_branch hotfix/lento")
async def create_branch(ctx: Context, branch: Branch, base: Branch | None = None) -> Branched:
    """Create a branch from the newest commit of another one (default: the default branch)."""
    code, existing, start = ctx.github.code, await ctx.github.code.head(branch), await ctx.github.code.head(base)
    if start is None:
        raise NotFound("no_such_branch", branch=base)
    if existing and not ctx.planned.get("made"):
        return Branched(branch, start[0], existing[1], made=False)
    sha = str(ctx.planned.get("sha", start[1]))
    if existing is None:
        await code.create_branch(branch, start[0], sha)
    return Branched(branch, start[0], sha, made=True)


@undo(create_branch)
async def delete_branch(ctx: Context, done: Branched) -> Branched:
    """Delete the branch, unless something was pushed to it since."""
    head = await ctx.github.code.head(done.branch)
    if done.made and head:
        if head[1] != done.sha:
            raise WrongState("changed_since", name=done.branch)
        await ctx.github.code.delete_branch(done.branch)
    return done


@action(
    "github.open_pull_request",
    risk=Risk.CHANGE,
    target="branch/{branch}",
    example="/ops open_pull_request hotfix/lento 'Bajar la calidad del render'",
)
async def open_pull_request(
    ctx: Context, branch: Branch, title: Title, body: str = "", base: Branch | None = None, draft: bool = False
) -> PullRequestOpened:
    """Open a pull request for a branch."""
    code, into = ctx.github.code, await ctx.github.code.head(base)
    if into is None:
        raise NotFound("no_such_branch", branch=base)
    existing = await code.open_pull(branch, into[0])
    if existing and not ctx.planned.get("made"):
        return PullRequestOpened(existing, (await code.pull(existing)).url, branch, into[0], made=False)
    description = "\n\n".join(filter(None, [body.strip(), ctx.incident_id, f"tamv-bot {ctx.key}"]))
    number = await code.open_pull_request(title, branch, into[0], description, draft)
    return PullRequestOpened(number or 0, (await code.pull(number)).url if number else "", branch, into[0], made=True)


@undo(open_pull_request)
async def close_pull_request(ctx: Context, done: PullRequestOpened) -> PullRequestOpened:
    """Close the pull request, unless it is merged."""
    code = ctx.github.code
    number = done.number or await code.open_pull(done.branch, done.base)
    if done.made and number and (await code.pull(number)).is_open:
        await code.close_pull_request(number)
    return done


@action("github.request_review", risk=Risk.CHANGE, example="/ops request_review 42")
async def request_review(ctx: Context, number: Number, reviewers: str = "") -> ReviewRequested:
    """Request a review from the named people (separated by commas), or else from the owners of the changed files."""
    pull = await ctx.github.code.pull(number)
    handles = [reviewer.strip() for reviewer in reviewers.split(",") if reviewer.strip()] or await _owners(ctx, pull)
    people = [handle.removeprefix("@") for handle in handles if "/" not in handle]
    teams = [handle.partition("/")[2].lower() for handle in handles if "/" in handle]
    people = [person for person in people if person.casefold() != pull.author.casefold()]
    if people or teams:
        await ctx.github.code.request_review(number, people, teams)
    return ReviewRequested(number, people, teams)


@action("github.merge", risk=Risk.DISRUPTIVE, target="pull/{number}", example="/ops github.merge 42")
async def merge(ctx: Context, number: Number, within: Duration = timedelta(minutes=30)) -> Merged:
    """Squash and merge once the checks pass and an owner of every changed file has approved.

    Where the branch has a merge queue, it goes into that, and is waited for.
    """
    code, pull = ctx.github.code, await ctx.github.code.pull(number)
    if not pull.merged:
        if pull.sha != ctx.planned.get("sha", pull.sha):  # the approval was for another commit
            raise WrongState("changed_since", name=pull.branch)
        await mergeable(ctx, pull)
        queued = await code.merge_queue(number)
        if queued is None:
            await code.merge(number, pull.title, pull.sha, pull.base)
        elif queued.position is None:
            await code.enqueue(number, pull.title, pull.sha, pull.base)
        if queued and not ctx.dry_run:
            await _wait_in_queue(ctx, pull, within)
    return Merged(number, pull.url, pull.sha, sorted(pull.approved_by))


async def _wait_in_queue(ctx: Context, pull: Pull, within: timedelta) -> None:
    """Wait until the merge queue has merged it. Raises WrongState if it is removed or too slow."""
    until, missing = ctx.began + within, False
    while (queued := await ctx.github.code.merge_queue(pull.number)) and not queued.merged:
        if queued.position is None and missing:  # twice: leaving the queue may be seen before the merge
            raise WrongState("left_merge_queue", number=pull.number, url=pull.url)
        missing = queued.position is None
        if ctx.clock.now() >= until:
            facts = {"position": queued.position, "seconds": within.total_seconds()}
            raise WrongState("merge_queue_slow", number=pull.number, url=pull.url, **facts)
        await ctx.clock.sleep(POLL_SECONDS)


@undo(merge, risk=Risk.CHANGE)
async def revert(ctx: Context, done: Merged) -> IssueCreated:
    """Open a pull request that reverts it; people review and merge it. What is still in a merge queue is taken out."""
    if not (await ctx.github.code.pull(done.number)).merged:
        queued = await ctx.github.code.merge_queue(done.number)
        if queued and queued.position is not None:
            await ctx.github.code.dequeue(done.number)
        return IssueCreated(0, "")
    number = await ctx.github.code.revert(done.number) or 0
    return IssueCreated(number, (await ctx.github.code.pull(number)).url if number else "")


@action(
    "github.dispatch_workflow",
    risk=Risk.DISRUPTIVE,
    target="workflow/{workflow}",
    example="/ops dispatch_workflow cd_canary.yml inputs=image_tag=v4.2.0,environment=production",
)
async def dispatch_workflow(
    ctx: Context,
    workflow: WorkflowFile,
    branch: Branch | None = None,
    inputs: dict[str, str] | None = None,
    within: Duration = timedelta(minutes=30),
) -> Dispatched:
    """Start a workflow with its inputs, and wait until it succeeds."""
    workflows, head = ctx.github.workflows, await ctx.github.code.head(branch)
    if head is None:
        raise NotFound("no_such_branch", branch=branch)
    newest = await workflows.newest_run(workflow)
    after = int(ctx.planned.get("after", newest.id if newest else 0))
    id = await workflows.dispatch(workflow, head[0], inputs or {}, after)
    if not id:
        return Dispatched(workflow, head[0], after, 0, "", None)
    until = ctx.began + within
    while (run := await workflows.run(id)).status != "completed":
        if ctx.clock.now() >= until:
            raise WrongState("workflow_slow", workflow=workflow, url=run.url, seconds=within.total_seconds())
        await ctx.clock.sleep(POLL_SECONDS)
    if run.conclusion != "success":
        raise WrongState("workflow_failed", workflow=workflow, url=run.url, conclusion=run.conclusion)
    return Dispatched(workflow, head[0], after, id, run.url, run.conclusion)


@undo(dispatch_workflow, risk=Risk.CHANGE)
async def cancel_workflow(ctx: Context, done: Dispatched) -> Dispatched:
    """Cancel the run if it is still going; what it has done stays."""
    workflows = ctx.github.workflows
    newest = None if done.run else await workflows.newest_run(done.workflow, done.branch, after=done.after, ours=True)
    run = await workflows.run(done.run) if done.run else newest
    if run and run.status != "completed":
        await workflows.cancel(run.id)
    return done


@action("github.workflow_status", risk=Risk.READ, example="/ops workflow_status cd_canary.yml")
async def workflow_status(ctx: Context, workflow: WorkflowFile, branch: Branch | None = None) -> Status:
    """Show the result of a workflow's newest run."""
    return Status(workflow, await ctx.github.workflows.newest_run(workflow, branch))


async def mergeable(ctx: Context, pull: Pull) -> None:
    """Raise WrongState with what blocks the merge."""
    if not pull.is_open or pull.draft:
        raise WrongState("pull_not_open", number=pull.number, url=pull.url)
    if not pull.checks or pull.missing_checks:
        raise WrongState("checks_missing", number=pull.number, url=pull.url, checks=pull.missing_checks)
    if pull.refused_by:
        raise WrongState("changes_requested", number=pull.number, url=pull.url, by=sorted(pull.refused_by))
    text = await ctx.github.codeowners() or ""
    approved = {login.casefold() for login in pull.approved_by}
    for path in pull.files:
        path_owners = owners(text, path)
        eligible = (
            frozenset[str]().union(*(logins(handle, ctx.team) for handle in path_owners)) if path_owners else approved
        )
        if not approved & eligible:
            raise WrongState("owner_missing", number=pull.number, url=pull.url, path=path, owners=path_owners)


async def _owners(ctx: Context, pull: Pull) -> list[str]:
    text = await ctx.github.codeowners() or ""
    return list(dict.fromkeys(handle for path in pull.files for handle in owners(text, path)))


@dataclass(frozen=True, slots=True)
class Ready:
    """A pull request that may be merged; `until` is the deadline it was given, `reminders` the number that were
    sent.
    """

    number: int
    until: datetime
    approved_by: list[str]
    reminders: int


@dataclass(frozen=True, slots=True)
class Built:
    """The image tag of a merged pull request (empty in a dry run), and the URL of the run that built it."""

    tag: str
    sha: str
    until: datetime
    url: str


@action("github.wait_for_approval", risk=Risk.READ, example="/ops wait_for_approval 42 within=30m")
async def wait_for_approval(
    ctx: Context,
    number: Number,
    within: Duration = timedelta(minutes=30),
    remind_every: Duration = timedelta(minutes=10),
) -> Ready:
    """Wait until a pull request may be merged: checks passed, owners approved.

    Reminds the owners; fails at the deadline.
    """
    until, reminders = _until(ctx, within), 0
    while True:
        pull, now = await ctx.github.code.pull(number), ctx.clock.now()
        try:
            if not pull.merged:
                await mergeable(ctx, pull)
            return Ready(number, until, sorted(pull.approved_by), reminders)
        except WrongState as missing:
            if ctx.dry_run:
                return Ready(number, until, [], 0)
            if now >= until or not pull.is_open:
                raise
            due = int((now - (until - within)) / remind_every)
            if due > reminders:
                await _remind(ctx, missing, due, until - now)
            reminders = max(reminders, due)
        await ctx.clock.sleep(POLL_SECONDS)


@action("github.wait_for_build", risk=Risk.READ, example="/ops wait_for_build 42 prefix=hotfix")
async def wait_for_build(
    ctx: Context,
    number: Number,
    prefix: BranchPrefix,
    workflow: WorkflowFile = "ci.yml",
    within: Duration = timedelta(minutes=30),
) -> Built:
    """Wait until the image of a merged pull request is built; its tag is PREFIX-YYYYMMDD-SHA."""
    until, pull = _until(ctx, within), await ctx.github.code.pull(number)
    if ctx.dry_run:
        return Built("", "", until, "")
    if pull.merged_as is None or pull.merged_at is None:
        raise WrongState("not_merged", number=number, url=pull.url)
    tag = f"{prefix}-{pull.merged_at:%Y%m%d}-{pull.merged_as[:SHORT]}"
    while True:
        run = await ctx.github.workflows.run_for(workflow, pull.merged_as)
        if run and run.status == "completed":
            break
        if ctx.clock.now() >= until:
            url = run.url if run else pull.url
            raise WrongState("workflow_slow", workflow=workflow, url=url, seconds=within.total_seconds())
        await ctx.clock.sleep(POLL_SECONDS)
    if run.conclusion != "success":
        raise WrongState("workflow_failed", workflow=workflow, url=run.url, conclusion=run.conclusion)
    return Built(tag, pull.merged_as, until, run.url)


def _until(ctx: Context, within: timedelta) -> datetime:
    """Return the deadline set in the dry run: a crash in between does not extend it."""
    planned_deadline = ctx.planned.get("until")
    return datetime.fromisoformat(planned_deadline) if planned_deadline else ctx.clock.now() + within


async def _remind(ctx: Context, missing: WrongState, count: int, left: timedelta) -> None:
    """Post in the channel what is missing, and mention the people who can provide it."""
    incident = await ctx.deps.store.incidents.get(ctx.incident_id) if ctx.incident_id else None
    channel = (incident.channel if incident else None) or ctx.deps.incident_channel
    owners = missing.facts.get("owners")
    groups, people = slack_mentions(owners if isinstance(owners, list) else [], ctx.team)
    text = ctx.deps.words.render_block(
        "review", "reminder", groups=groups, people=people, left=left, why=ctx.deps.words.error(missing)
    )
    place = Place(channel, incident_id=ctx.incident_id)
    await upsert_message(ctx.deps, f"{ctx.key}/reminder/{count}", place, Message.of(text))
