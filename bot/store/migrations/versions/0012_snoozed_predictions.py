"""Who does not want to be told of a prediction's metric until when, and the run that its button started"""

import sqlalchemy as sa
from alembic import op

from bot.store.tables import Utc

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    with op.batch_alter_table("predictions") as table:
        table.add_column(sa.Column("snoozed_until", Utc()))
        table.add_column(sa.Column("snoozed_by", sa.String(64)))
        table.add_column(sa.Column("run", sa.String(32)))


def downgrade() -> None:
    with op.batch_alter_table("predictions") as table:
        for name in ("run", "snoozed_by", "snoozed_until"):
            table.drop_column(name)
