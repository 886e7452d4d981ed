"""What was tried to find better settings of a stream, and what was gained.

The statements stand in `migrations/sql/0016`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP TABLE tunings")
