"""All tables, in one value."""

from __future__ import annotations

from bot.metrics import Metrics
from bot.store.alerts import Alerts
from bot.store.calendar import Calendar
from bot.store.database import Database
from bot.store.deliveries import Deliveries
from bot.store.documents import Documents, Snapshots
from bot.store.followups import FollowUps
from bot.store.forecasts import Forecasts
from bot.store.incidents import Incidents
from bot.store.locks import KillSwitch, TargetLocks
from bot.store.outbox import Outbox
from bot.store.pages import Pages
from bot.store.runs import Runs
from bot.store.slack_messages import SlackMessages


class Store:
    """The repositories of one database. `owner` identifies this process; `metrics` counts deliveries."""

    def __init__(self, database: Database, owner: str, metrics: Metrics | None = None) -> None:
        self.database = database
        self.incidents = Incidents(database)
        self.alerts = Alerts(database)
        self.outbox = Outbox(database)
        self.deliveries = Deliveries(database, owner, metrics or Metrics())
        self.slack_messages = SlackMessages(database)
        self.pages = Pages(database)
        self.followups = FollowUps(database)
        self.forecasts = Forecasts(database)
        self.documents = Documents(database)
        self.snapshots = Snapshots(database)
        self.runs = Runs(database)
        self.locks = TargetLocks(database)
        self.calendar = Calendar(database)
        self.kill_switch = KillSwitch(database)
