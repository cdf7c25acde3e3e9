"""Every workflow by the name under which it is recovered. Names are never reused for something else."""

from __future__ import annotations

from bot.workflows.announce import announce
from bot.workflows.consequences import handle_event
from bot.workflows.declare import declare
from bot.workflows.engine import Workflow
from bot.workflows.followups import file_followup
from bot.workflows.page import page, page_teams
from bot.workflows.propose import propose
from bot.workflows.remind import remind_loop
from bot.workflows.report import write_report
from bot.workflows.run import play_runbook
from bot.workflows.snapshot import complete_snapshot, snapshot
from bot.workflows.undo import undo_run

WORKFLOWS: dict[str, Workflow] = {
    "follow": handle_event,
    "declare": declare,
    "page_teams": page_teams,
    "page": page,
    "remind": remind_loop,
    "propose": propose,
    "run": play_runbook,
    "undo": undo_run,
    "announce": announce,
    "snapshot": snapshot,
    "complete_snapshot": complete_snapshot,
    "write_report": write_report,
    "file_followup": file_followup,
}
