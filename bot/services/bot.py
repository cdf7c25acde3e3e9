"""The bot: its dependencies, its engine and its services."""

from __future__ import annotations

from bot.deps import Deps
from bot.runbooks import Library
from bot.services.alerts import Alerts
from bot.services.drills import Drills
from bot.services.followups import FollowUps
from bot.services.forecasts import Forecasts
from bot.services.home import Home
from bot.services.incidents import Incidents
from bot.services.pagerduty import PagerDutyEvents
from bot.services.paging import Paging
from bot.services.reports import Reports
from bot.services.runs import Runs
from bot.services.snapshots import Snapshots
from bot.services.stakeholders import Stakeholders
from bot.services.statistics import Statistics
from bot.services.status_page import StatusPages
from bot.services.why import Causes
from bot.team import TeamFile
from bot.workflows.engine.engine import Engine


class Bot:
    """The value that all handlers receive."""

    def __init__(self, deps: Deps, engine: Engine, library: Library) -> None:
        self.deps = deps
        self.engine = engine
        self.incidents = Incidents(deps)
        self.alerts = Alerts(deps, library)
        self.paging = Paging(deps, self.incidents)
        self.pagerduty = PagerDutyEvents(deps, self.incidents)
        self.followups = FollowUps(deps)
        self.reports = Reports(deps)
        self.snapshots = Snapshots(deps)
        self.statistics = Statistics(deps)
        self.runs = Runs(deps, library)
        self.forecasts = Forecasts(deps, self.runs)
        self.drills = Drills(deps, self.incidents, self.runs)
        self.home = Home(deps)
        self.status_pages = StatusPages(deps)
        self.causes = Causes(deps)
        self.stakeholders = Stakeholders(deps)

    def use_team(self, team: TeamFile, library: Library) -> None:
        """Replace the team and its runbooks; runs in flight have their own copies of theirs."""
        self.deps.use_team(team)
        self.runs.library.runbooks = library.runbooks
