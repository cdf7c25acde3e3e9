"""Which processes run workflows, and which of them each incident and run is assigned to"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "executors",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_executors"),
    )
    op.create_table(
        "assignments",
        sa.Column("subject", sa.String(160), nullable=False),
        sa.Column("executor", sa.String(64), nullable=False),
        sa.Column("since", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_assignments"),
    )


def downgrade() -> None:
    op.drop_table("assignments")
    op.drop_table("executors")
