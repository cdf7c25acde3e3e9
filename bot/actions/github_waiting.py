"""`github.wait_for_*`: what people and machines at GitHub have to do, waited for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from bot.actions.context import Context
from bot.actions.github import POLL_SECONDS, Number, Workflow, mergeable
from bot.actions.registry import action
from bot.codeowners import slack_mentions
from bot.domain.errors import WrongState
from bot.domain.policy import Risk
from bot.messages.message import Message
from bot.post import upsert_message
from bot.team import Duration

SHORT = 7  # hexadecimal digits of a commit in an image's tag, as Git shortens it
Prefix = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,40}$")]


@dataclass(frozen=True, slots=True)
class Ready:
    """A pull request that may be merged; `until` is when it would have been given up. `reminders` counts them."""

    number: int
    until: datetime
    approved_by: list[str]
    reminders: int


@dataclass(frozen=True, slots=True)
class Built:
    """The image of a merged pull request by its tag (empty in a rehearsal), and the run that built it."""

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
    """Wait until a pull request may be merged: green and approved by owners, who are reminded; or give up.

    es: Espera a que un pull request se pueda unir: en verde y aprobado por sus dueños, a quienes se lo recuerda; o
    se rinde.
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
    prefix: Prefix,
    workflow: Workflow = "ci.yml",
    within: Duration = timedelta(minutes=30),
) -> Built:
    """Wait until the image of a merged pull request is built; its tag is PREFIX-YYYYMMDD-SHA.

    es: Espera a que esté construida la imagen de un pull request unido; su tag es PREFIJO-AAAAMMDD-SHA.
    """
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
    """The deadline. The rehearsal has set it: a crash in between gives nobody more time."""
    foreseen = ctx.planned.get("until")
    return datetime.fromisoformat(foreseen) if foreseen else ctx.clock.now() + within


async def _remind(ctx: Context, missing: WrongState, count: int, left: timedelta) -> None:
    """Tell the channel what is missing, and those by name who can give it."""
    incident = await ctx.parts.store.incidents.get(ctx.incident_id) if ctx.incident_id else None
    channel = (incident.channel if incident else None) or ctx.parts.incident_channel
    owners = missing.facts.get("owners")
    groups, people = slack_mentions(owners if isinstance(owners, list) else [], ctx.team)
    text = ctx.parts.words.render_block(
        "review", "reminder", groups=groups, people=people, left=left, why=ctx.parts.words.error(missing)
    )
    await upsert_message(ctx.parts, f"{ctx.key}/reminder/{count}", channel, Message.of(text))
