"""Pages are kept by their whole keys"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    _resize(160, 255)


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM pages WHERE length(key) > 160"))
    _resize(255, 160)


def _resize(before: int, after: int) -> None:
    with op.batch_alter_table("pages") as pages:
        pages.alter_column("key", existing_type=sa.String(before), type_=sa.String(after), existing_nullable=False)
