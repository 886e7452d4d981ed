"""Thresholds may be 0 and 1.

The statements stand in `migrations/sql/0006`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("ALTER TABLE thresholds DROP CONSTRAINT thresholds_threshold_check")
    op.execute("DELETE FROM thresholds WHERE threshold <= 0 OR threshold >= 1")
    op.execute(
        "ALTER TABLE thresholds ADD CONSTRAINT thresholds_threshold_check "
        "CHECK (threshold > 0 AND threshold < 1)"
    )
