"""The bot: its parts, its engine, and what may be asked of it."""

from __future__ import annotations

from bot.parts import Parts
from bot.runbooks import Library
from bot.services.alerts import Alerts
from bot.services.drills import Drills
from bot.services.followups import FollowUps
from bot.services.home import Home
from bot.services.incidents import Incidents
from bot.services.pagerduty import PagerDutyEvents
from bot.services.paging import Paging
from bot.services.reports import Reports
from bot.services.runs import Runs
from bot.services.snapshots import Snapshots
from bot.services.statistics import Statistics
from bot.workflows.engine import Engine


class Bot:
    """Handlers get this one value."""

    def __init__(self, parts: Parts, engine: Engine, library: Library) -> None:
        self.parts = parts
        self.engine = engine
        self.incidents = Incidents(parts, engine.notify)
        self.alerts = Alerts(parts, library, engine.notify)
        self.paging = Paging(parts, engine.notify)
        self.pagerduty = PagerDutyEvents(parts, self.incidents, engine.notify)
        self.followups = FollowUps(parts, engine.notify)
        self.reports = Reports(parts, engine.notify)
        self.snapshots = Snapshots(parts, engine.notify)
        self.statistics = Statistics(parts)
        self.runs = Runs(parts, library, engine.notify)
        self.drills = Drills(parts, self.incidents, self.runs)
        self.home = Home(parts)
