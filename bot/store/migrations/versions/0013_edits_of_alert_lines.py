"""How often the line about an incident's alerts was edited"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("incidents", sa.Column("alert_edits", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("incidents") as table:
        table.drop_column("alert_edits")
