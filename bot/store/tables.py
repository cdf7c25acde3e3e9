"""The tables. Migrations create the same ones; `tests/store` compares them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy.types import DateTime


class Utc(TypeDecorator[datetime]):
    """A time in UTC. SQLite stores no time zone, so it is stored as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# One row per year with the last incident number. Updated in the declaring transaction, so there are no gaps.
counters = Table(
    "counters",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("last", Integer, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("origin", String(128), unique=True),  # idempotency key of its declaration
    Column("title", String(200), nullable=False),
    Column("severity", String(4), nullable=False),
    Column("status", String(16), nullable=False),
    Column("service", String(128)),
    Column("drill", Boolean, nullable=False),
    Column("source", String(32), nullable=False),
    Column("channel", String(32), unique=True),
    Column("declared_by", JSON, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("impact", JSON, nullable=False),
    Column("cause", JSON, nullable=False),
    Column("detected_at", Utc, nullable=False),
    Column("declared_at", Utc, nullable=False),
    Column("acknowledged_at", Utc),
    Column("mitigated_at", Utc),
    Column("resolved_at", Utc),
    Column("updated_at", Utc, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("alert_edits", Integer, nullable=False, server_default="0"),  # of the line about its alerts
    Index(None, "status"),
    Index(None, "declared_at"),
)

timeline = Table(
    "timeline",
    metadata,
    Column("incident_id", ForeignKey("incidents.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("at", Utc, nullable=False),
    Column("by_id", String(128), nullable=False),
    Column("by_name", String(128), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("cause", String(160)),  # idempotency key
    UniqueConstraint("incident_id", "cause"),
)


@event.listens_for(timeline, "after_create")
def _append_only(_timeline: Table, connection: Connection, **_: Any) -> None:
    """Make the database refuse changes of timeline events, the audit trail; as in migration 0001."""
    refusal = "the timeline is append-only"
    if connection.dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER timeline_no_{change.lower()} BEFORE {change} ON timeline "
                f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        return
    connection.exec_driver_sql(
        "CREATE FUNCTION timeline_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
    )
    connection.exec_driver_sql(
        "CREATE TRIGGER timeline_append_only BEFORE UPDATE OR DELETE ON timeline "
        "FOR EACH STATEMENT EXECUTE FUNCTION timeline_append_only()"
    )


# Workflows to start, saved with the change that needs them; the engine starts and removes them.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workflow_id", String(160), nullable=False, unique=True),
    Column("workflow", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
)

# Only versions that elect a leader use it: one of them may run beside this one during an upgrade (docs/adr/0023).
leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(64), nullable=False),
)

# On PostgreSQL, the processes that run workflows (bot.workflows.engine.lease), by DBOS's executor id, never used again.
executors = Table(
    "executors",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("pid", Integer, nullable=False),  # of the session that sends its heartbeats
    Column("expires_at", Utc, nullable=False),
)

SUBJECT_LIMIT = 160
# On PostgreSQL, the executor of all workflows about one incident, run, … (bot.workflows.engine.assignments).
assignments = Table(
    "assignments",
    metadata,
    Column("subject", String(SUBJECT_LIMIT), primary_key=True),
    Column("executor", String(64), nullable=False),
    Column("since", Utc, nullable=False),
)

# Deliveries from outside, saved before they are acknowledged, so that a crash loses none.
deliveries = Table(
    "deliveries",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("source", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", Utc, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("alive_at", Utc, nullable=False),  # the owner's last heartbeat
    Column("done_at", Utc),
    Index(None, "done_at", "received_at"),
)

# The bot's messages in Slack. Without `ts`, sending was interrupted.
posts = Table(
    "posts",
    metadata,
    Column("key", String(160), primary_key=True),
    Column("channel", String(80), nullable=False),
    Column("ts", String(32)),
    Column("digest", String(64)),
    Column("reserved_at", Utc),
    Column("thread", String(32)),
    Index(None, "channel", "ts"),
)

# Groups of alerts, by SHA-256 of their whole key: an index of PostgreSQL cannot hold a key of any length.
notification_groups = Table(
    "notification_groups",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key", Text, nullable=False),
    Column("incident_id", ForeignKey("incidents.id")),
    Column("opened_at", Utc),  # when it opened an incident, or joined a storm
    Column("seen_at", Utc, nullable=False),
    Index(None, "incident_id"),
    Index(None, "opened_at"),
)

# Alerts as they were reported last. Without `sender` and `started_at`: reported to an older version.
alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("fingerprint", String(256), nullable=False),
    Column("sender", Text),
    Column("started_at", Utc),
    Column("firing", Boolean, nullable=False),
    Column("count", Integer, nullable=False),
    Column("returned", Integer, nullable=False),  # how often it has come back
    Column("labels", JSON, nullable=False),
    Column("group_digest", String(64), nullable=False),
    Column("incident_id", ForeignKey("incidents.id")),
    Column("seen_at", Utc, nullable=False),
    Index(None, "fingerprint"),
    Index(None, "incident_id"),
)

# Alerts that must keep firing: when each was last heard.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("heard_at", Utc, nullable=False),
)

pages = Table(
    "pages",
    metadata,
    Column("key", String(255), primary_key=True),  # PagerDuty's dedup key
    Column("incident_id", ForeignKey("incidents.id"), nullable=False),
    Column("pagerduty_id", String(64), unique=True),
    Column("team", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # sending, sent, failed, acknowledged, resolved
    Index(None, "incident_id"),
)

followups = Table(
    "followups",
    metadata,
    Column("id", String(40), primary_key=True),  # INC-2026-0001/F1
    Column("incident_id", ForeignKey("incidents.id"), nullable=False),
    Column("title", String(200), nullable=False),
    Column("owner", String(128)),
    Column("due", String(10)),
    Column("labels", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # open, filed, done
    Column("number", Integer),
    Column("url", String(300)),
    Column("cause", String(160), unique=True),
    Column("opened_at", Utc, nullable=False),
    Column("done_at", Utc),
    Index(None, "incident_id"),
    Index(None, "number"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("incident_id", ForeignKey("incidents.id")),
    Column("taken_at", Utc, nullable=False),
    Column("content", JSON, nullable=False),
    Index(None, "incident_id"),
)

documents = Table(
    "documents",
    metadata,
    Column("incident_id", ForeignKey("incidents.id"), primary_key=True),
    Column("name", String(160), primary_key=True),
    Column("media_type", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("written_at", Utc, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("origin", String(160), unique=True),  # idempotency key of its start
    Column("incident_id", ForeignKey("incidents.id")),
    Column("channel", String(80)),
    Column("runbook", String(64), nullable=False),
    Column("book", JSON, nullable=False),  # its own copy: editing the file changes no run
    Column("inputs", JSON, nullable=False),
    Column("environment", String(64), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("by", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("cancel_by", JSON),
    Column("started_at", Utc, nullable=False),
    Column("ended_at", Utc),
    Index(None, "state"),
    Index(None, "incident_id"),
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("uses", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("parameters", JSON),
    Column("digest", String(12), nullable=False),
    Column("effects", JSON, nullable=False),
    Column("rehearsed", JSON),  # result of the dry run; undoing a half-done step needs it
    Column("result", JSON),
    Column("verified", Boolean),
    Column("verdict", String(16)),
    Column("error", String(64)),
    Column("facts", JSON, nullable=False),
    Column("began_at", Utc),
    Column("ended_at", Utc),
)

# Approvals. A click updates the row, and the run reads it when it is notified.
approvals = Table(
    "approvals",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("step_id", String(64), primary_key=True),
    Column("digest", String(12), nullable=False),
    Column("needed", Integer, nullable=False),
    Column("role", String(64), nullable=False),
    Column("asked_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("state", String(16), nullable=False),  # waiting, approved, rejected, expired, broken_glass
)

decisions = Table(
    "decisions",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("step_id", String(64), primary_key=True),
    Column("person", String(128), primary_key=True),
    Column("digest", String(12), nullable=False),
    Column("verdict", String(16), nullable=False),  # approved, rejected, broken_glass
    Column("reason", Text),
    Column("at", Utc, nullable=False),
)

# Locks on targets. A row outlives its run by the cool-down.
targets = Table(
    "targets",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("held_until", Utc),  # None while the run is going
)

# The kill switch: while a row has no `until`, no run changes anything.
freezes = Table(
    "freezes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("reason", Text, nullable=False),
    Column("by", JSON, nullable=False),
    Column("since", Utc, nullable=False),
    Column("until", Utc),  # None: still frozen
)

# What the calendar has told, by the key of the due thing, and when it first looked (`began`). Never removed.
calendar = Table(
    "calendar",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("at", Utc, nullable=False),
)

# Predictions that a metric will cross its threshold (bot.domain.forecast), and what became of them. Never removed.
predictions = Table(
    "predictions",
    metadata,
    Column("id", String(300), primary_key=True),
    Column("service", String(128), nullable=False),
    Column("query", String(128), nullable=False),
    Column("at", Utc, nullable=False),
    Column("probability", Float, nullable=False),
    Column("crosses_at", Utc, nullable=False),
    Column("earliest", Utc, nullable=False),
    Column("told", Boolean, nullable=False),
    Column("outcome", String(16), nullable=False),  # waiting, came, did_not, averted, unknown
    Column("came_at", Utc),
    Column("snoozed_until", Utc),
    Column("snoozed_by", String(64)),
    Column("run", String(32)),
    Index(None, "service", "query", "at"),
)
