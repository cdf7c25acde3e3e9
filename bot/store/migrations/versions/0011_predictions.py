"""Predictions that a metric will cross its threshold"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(300), nullable=False),
        sa.Column("service", sa.String(128), nullable=False),
        sa.Column("query", sa.String(128), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("crosses_at", Utc(), nullable=False),
        sa.Column("earliest", Utc(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("came_at", Utc()),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
    )
    name = "ix_predictions_service_predictions_query_predictions_at"
    op.create_index(op.f(name), "predictions", ["service", "query", "at"], unique=False)


def downgrade() -> None:
    op.drop_table("predictions")
