"""What the calendar has told"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "calendar",
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_calendar"),
    )


def downgrade() -> None:
    op.drop_table("calendar")
