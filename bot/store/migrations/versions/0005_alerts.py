"""Alerts are kept by themselves, and groups by their whole keys"""

import hashlib
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0005"
down_revision = "0004"

_GROUPS = sa.table(
    "alert_groups",
    sa.column("key", sa.String),
    sa.column("incident_id", sa.String),
    sa.column("firing", sa.JSON),
    sa.column("seen_at", Utc()),
)


def upgrade() -> None:
    groups = op.create_table(
        "notification_groups",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("opened_at", Utc(), nullable=True),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_notification_groups_incident_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_notification_groups")),
    )
    op.create_index(op.f("ix_notification_groups_incident_id"), "notification_groups", ["incident_id"])
    op.create_index(op.f("ix_notification_groups_opened_at"), "notification_groups", ["opened_at"])
    alerts = op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("fingerprint", sa.String(length=256), nullable=False),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("started_at", Utc(), nullable=True),
        sa.Column("firing", sa.Boolean(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("group_digest", sa.String(length=64), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_alerts_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_fingerprint"), "alerts", ["fingerprint"])
    op.create_index(op.f("ix_alerts_incident_id"), "alerts", ["incident_id"])
    op.create_table(
        "heartbeats",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("heard_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_heartbeats")),
    )
    _copy(groups, alerts)
    op.drop_index(op.f("ix_alert_groups_incident_id"), table_name="alert_groups")
    op.drop_table("alert_groups")


def _copy(groups: sa.Table, alerts: sa.Table) -> None:
    """Copy the groups of before, with the fingerprints of their firing alerts."""
    for row in op.get_bind().execute(sa.select(_GROUPS)).all():
        digest = hashlib.sha256(row.key.encode()).hexdigest()
        group = {"digest": digest, "key": row.key, "incident_id": row.incident_id, "seen_at": row.seen_at}
        op.bulk_insert(groups, [group | {"opened_at": None}])
        rows = [
            {
                "fingerprint": fingerprint[:256],
                "firing": True,
                "count": 1,
                "returned": 0,
                "labels": {},
                "group_digest": digest,
                "incident_id": row.incident_id,
                "seen_at": row.seen_at or datetime.now(UTC),
            }
            for fingerprint in row.firing
        ]
        op.bulk_insert(alerts, rows)


def downgrade() -> None:
    op.create_table(
        "alert_groups",
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("firing", sa.JSON(), nullable=False),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_alert_groups_incident_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alert_groups")),
    )
    op.create_index(op.f("ix_alert_groups_incident_id"), "alert_groups", ["incident_id"])
    for table in ("heartbeats", "alerts", "notification_groups"):
        op.drop_table(table)
