"""Since when a message of the bot may be in Slack"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("posts", sa.Column("reserved_at", Utc(), nullable=True))


def downgrade() -> None:
    op.drop_column("posts", "reserved_at")
