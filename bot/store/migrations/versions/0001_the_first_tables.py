"""The first tables"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_counters")),
    )
    op.create_table(
        "deliveries",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("done_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deliveries")),
    )
    op.create_index(
        op.f("ix_deliveries_done_at_deliveries_received_at"), "deliveries", ["done_at", "received_at"], unique=False
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=128), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("severity", sa.String(length=4), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("service", sa.String(length=128), nullable=True),
        sa.Column("drill", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=True),
        sa.Column("declared_by", sa.JSON(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("impact", sa.JSON(), nullable=False),
        sa.Column("cause", sa.JSON(), nullable=False),
        sa.Column("detected_at", Utc(), nullable=False),
        sa.Column("declared_at", Utc(), nullable=False),
        sa.Column("acknowledged_at", Utc(), nullable=True),
        sa.Column("mitigated_at", Utc(), nullable=True),
        sa.Column("resolved_at", Utc(), nullable=True),
        sa.Column("updated_at", Utc(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("last_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        sa.UniqueConstraint("channel", name=op.f("uq_incidents_channel")),
        sa.UniqueConstraint("origin", name=op.f("uq_incidents_origin")),
    )
    op.create_index(op.f("ix_incidents_declared_at"), "incidents", ["declared_at"], unique=False)
    op.create_index(op.f("ix_incidents_status"), "incidents", ["status"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workflow_id", sa.String(length=160), nullable=False),
        sa.Column("workflow", sa.String(length=64), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("workflow_id", name=op.f("uq_outbox_workflow_id")),
    )
    op.create_table(
        "posts",
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("channel", sa.String(length=80), nullable=False),
        sa.Column("ts", sa.String(length=32), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_posts")),
    )
    op.create_index(op.f("ix_posts_channel_posts_ts"), "posts", ["channel", "ts"], unique=False)
    op.create_table(
        "alert_groups",
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("firing", sa.JSON(), nullable=False),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_alert_groups_incident_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alert_groups")),
    )
    op.create_index(op.f("ix_alert_groups_incident_id"), "alert_groups", ["incident_id"], unique=False)
    op.create_table(
        "documents",
        sa.Column("incident_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_documents_incident_id")),
        sa.PrimaryKeyConstraint("incident_id", "name", name=op.f("pk_documents")),
    )
    op.create_table(
        "followups",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("due", sa.String(length=10), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("url", sa.String(length=300), nullable=True),
        sa.Column("cause", sa.String(length=160), nullable=True),
        sa.Column("opened_at", Utc(), nullable=False),
        sa.Column("done_at", Utc(), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_followups_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_followups")),
        sa.UniqueConstraint("cause", name=op.f("uq_followups_cause")),
    )
    op.create_index(op.f("ix_followups_incident_id"), "followups", ["incident_id"], unique=False)
    op.create_index(op.f("ix_followups_number"), "followups", ["number"], unique=False)
    op.create_table(
        "pages",
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=False),
        sa.Column("pagerduty_id", sa.String(length=64), nullable=True),
        sa.Column("team", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_pages_incident_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_pages")),
        sa.UniqueConstraint("pagerduty_id", name=op.f("uq_pages_pagerduty_id")),
    )
    op.create_index(op.f("ix_pages_incident_id"), "pages", ["incident_id"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("incident_id", sa.String(length=32), nullable=True),
        sa.Column("taken_at", Utc(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_snapshots_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_index(op.f("ix_snapshots_incident_id"), "snapshots", ["incident_id"], unique=False)
    op.create_table(
        "timeline",
        sa.Column("incident_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("by_id", sa.String(length=128), nullable=False),
        sa.Column("by_name", sa.String(length=128), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=160), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name=op.f("fk_timeline_incident_id")),
        sa.PrimaryKeyConstraint("incident_id", "seq", name=op.f("pk_timeline")),
        sa.UniqueConstraint("incident_id", "cause", name=op.f("uq_timeline_incident_id_cause")),
    )
    _append_only()


def _append_only() -> None:
    """The timeline is the audit: the database itself refuses to change or remove an event."""
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER timeline_no_{change.lower()} BEFORE {change} ON timeline "
                "BEGIN SELECT RAISE(ABORT, 'the timeline is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION timeline_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the timeline is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER timeline_append_only BEFORE UPDATE OR DELETE ON timeline "
        "FOR EACH STATEMENT EXECUTE FUNCTION timeline_append_only()"
    )


def downgrade() -> None:
    raise NotImplementedError("the first tables hold the audit; they are not dropped by a migration")
