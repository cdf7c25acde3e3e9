"""Who handles a delivery says that it is still about it"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("deliveries") as table:
        table.add_column(sa.Column("alive_at", Utc(), nullable=True))
    op.execute("UPDATE deliveries SET alive_at = received_at")
    with op.batch_alter_table("deliveries") as table:
        table.alter_column("alive_at", nullable=False)


def downgrade() -> None:
    op.drop_column("deliveries", "alive_at")
