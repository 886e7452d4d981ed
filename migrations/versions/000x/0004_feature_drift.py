"""Drift of single features; thresholds that decide.

The statements stand in `migrations/sql/0004`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("ALTER TABLE series_drift DROP COLUMN features")
    op.execute("ALTER TABLE feature_drift DROP COLUMN usual_psi_median")
