"""Every workflow by the name under which it is recovered. Names are never reused for something else."""

from __future__ import annotations

from bot.workflows.announce import announce
from bot.workflows.consequences import follow
from bot.workflows.declare import declare
from bot.workflows.engine import Workflow
from bot.workflows.followups import file_followup
from bot.workflows.page import page, page_teams
from bot.workflows.propose import propose
from bot.workflows.remind import remind
from bot.workflows.report import write_report
from bot.workflows.run import run
from bot.workflows.snapshot import complete_snapshot, snapshot
from bot.workflows.undo import undo_run

WORKFLOWS: dict[str, Workflow] = {
    "follow": follow,
    "declare": declare,
    "page_teams": page_teams,
    "page": page,
    "remind": remind,
    "propose": propose,
    "run": run,
    "undo": undo_run,
    "announce": announce,
    "snapshot": snapshot,
    "complete_snapshot": complete_snapshot,
    "write_report": write_report,
    "file_followup": file_followup,
}
