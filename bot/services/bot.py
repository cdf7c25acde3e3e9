"""The bot: its parts, its engine, and what may be asked of it."""

from __future__ import annotations

from bot.parts import Parts
from bot.runbooks import Library
from bot.services.alerts import Alerts
from bot.services.drills import Drills
from bot.services.followups import FollowUps
from bot.services.home import Home
from bot.services.incidents import Incidents
from bot.services.pagerduty import PagerDutyNews
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
        self.incidents = Incidents(parts, engine.wake)
        self.alerts = Alerts(parts, library, engine.wake)
        self.paging = Paging(parts, engine.wake)
        self.pagerduty = PagerDutyNews(parts, self.incidents, engine.wake)
        self.followups = FollowUps(parts, engine.wake)
        self.reports = Reports(parts, engine.wake)
        self.snapshots = Snapshots(parts, engine.wake)
        self.statistics = Statistics(parts)
        self.runs = Runs(parts, library, engine.wake)
        self.drills = Drills(parts, self.incidents, self.runs)
        self.home = Home(parts)
