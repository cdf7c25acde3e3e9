"""Every workflow by its stored name, under which it is recovered. A name is never reused for another workflow."""

from __future__ import annotations

from bot.workflows.calendar import tell_due
from bot.workflows.engine.durable import Workflow
from bot.workflows.forecasts import tell_prediction, watch_prediction
from bot.workflows.incidents.alerts import show_alerts, watch_heartbeat
from bot.workflows.incidents.declare import declare, furnish
from bot.workflows.incidents.diagnose import CHART, chart_causes, check_causes, diagnose_incident
from bot.workflows.incidents.event_handlers import announce, follow, handle_event, propose, sync_pages
from bot.workflows.incidents.messages import point_to_replacement
from bot.workflows.incidents.page import page, page_later, page_teams
from bot.workflows.incidents.remind import remind_loop
from bot.workflows.incidents.snapshot import complete_snapshot, snapshot
from bot.workflows.incidents.stakeholders import tell_stakeholders
from bot.workflows.incidents.status_page import update_status_page
from bot.workflows.reports.followups import file_followup
from bot.workflows.reports.report import write_report
from bot.workflows.runs.play import play_runbook
from bot.workflows.runs.presentation import tell_run
from bot.workflows.runs.propose import PROPOSE, propose_change
from bot.workflows.runs.reverted import WATCH, watch_change
from bot.workflows.runs.undo import undo_run

WORKFLOWS: dict[str, Workflow] = {
    "event": handle_event,
    "follow": follow,
    "declare": declare,
    "furnish": furnish,
    "page_teams": page_teams,
    "page": page,
    "page_later": page_later,
    "show_alerts": show_alerts,
    "watch_heartbeat": watch_heartbeat,
    "remind": remind_loop,
    "propose": propose,
    "diagnose": diagnose_incident,
    "check_causes": check_causes,
    CHART: chart_causes,
    "run": play_runbook,
    "undo": undo_run,
    "tell_run": tell_run,
    WATCH: watch_change,
    PROPOSE: propose_change,
    "announce": announce,
    "sync_pages": sync_pages,
    "snapshot": snapshot,
    "complete_snapshot": complete_snapshot,
    "write_report": write_report,
    "file_followup": file_followup,
    "tell_due": tell_due,
    "watch_prediction": watch_prediction,
    "tell_prediction": tell_prediction,
    "tell_stakeholders": tell_stakeholders,
    "update_status_page": update_status_page,
    "point_to_replacement": point_to_replacement,
}
