"""Days on which a series was quieter or wider than in training.

The statements stand in `migrations/sql/0018`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute(
        "ALTER TABLE series_drift DROP COLUMN change, DROP COLUMN noise_ratio, "
        "DROP COLUMN swing_ratio"
    )
