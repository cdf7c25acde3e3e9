"""The App Home: open incidents, and what waits for the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from babel.dates import format_date
from slack_sdk.models.blocks import Block, DividerBlock
from slack_sdk.models.views import View

from bot.domain.backup import Check
from bot.domain.calendar import Due
from bot.domain.drill import NextDrill
from bot.domain.followup import FollowUp
from bot.domain.forecast import Score
from bot.domain.incident import Incident
from bot.domain.rotation import Rotations
from bot.messages.approval import ApprovalView, home_blocks
from bot.messages.backups import backup_sections
from bot.messages.calendar import due_text
from bot.messages.forecast import score_sections
from bot.messages.incident import listing
from bot.messages.message import context, header, section
from bot.messages.translations import Translations


class ShowsApproval(Protocol):
    """An approval that can be shown."""

    def view(self) -> ApprovalView: ...


class AppHomeData(Protocol):
    """What the App Home shows: open incidents, approvals, follow-ups, the next drill, rotations, dates, backups,
    forecasts with the names of their metrics.
    """

    @property
    def incidents(self) -> Sequence[Incident]: ...
    @property
    def approvals(self) -> Sequence[ShowsApproval]: ...
    @property
    def mine(self) -> Sequence[FollowUp]: ...
    @property
    def others(self) -> Sequence[FollowUp]: ...
    @property
    def drill(self) -> NextDrill | None: ...
    @property
    def rotations(self) -> Rotations | None: ...
    @property
    def maintenance(self) -> Sequence[Due]: ...
    @property
    def backups(self) -> Sequence[Check]: ...
    @property
    def forecasts(self) -> Sequence[Score]: ...
    @property
    def titles(self) -> Mapping[str, str]: ...


def home(data: AppHomeData, words: Translations) -> View:
    """Show open incidents, the approvals that wait for the person, follow-ups, the next drill and rotations."""
    rendered = words.render("home")
    blocks: list[Block] = []
    if data.approvals:  # first: somebody waits for them
        blocks = [header(rendered["approvals"])]
        blocks += [block for pending in data.approvals[:10] for block in home_blocks(pending.view(), words)]
        if len(data.approvals) > 10:
            blocks.append(context(words.render_block("home", "more", count=len(data.approvals) - 10)))
    blocks += [header(rendered["title"]), *listing(data.incidents, words).blocks, DividerBlock()]
    if not data.approvals:
        blocks.append(section(rendered["no_approvals"]))
    for title, followups in ((rendered["mine"], data.mine), (rendered["others"], data.others)):
        lines = [words.render_block("home", "line", followup=followup) for followup in followups[:20]]
        blocks.append(section("\n".join([title, *(lines or [rendered["none"]])])))
    if drill := data.drill:
        month = format_date(drill.month, "LLLL y", locale=words.locale)
        blocks.append(
            section(words.render_block("home", "drill", drill=drill, title=words.pick(drill.title), month=month))
        )
    if data.rotations:
        blocks.append(section(words.render_block("home", "rotations", rotations=data.rotations)))
    if data.maintenance:
        blocks.append(section("\n".join(due_text(window, words) for window in data.maintenance)))
    blocks += backup_sections(data.backups, words)
    blocks += score_sections(data.forecasts, data.titles, words)
    return View(type="home", blocks=blocks)
