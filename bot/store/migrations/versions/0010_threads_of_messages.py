"""Messages know the thread that they are in, or are being sent to"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("posts", sa.Column("thread", sa.String(32)))


def downgrade() -> None:
    with op.batch_alter_table("posts") as posts:
        posts.drop_column("thread")
