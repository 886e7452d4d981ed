"""Scored scans: the table of the stream `barcode` and its BI views.

The statements stand in `migrations/sql/0002`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP VIEW bi_barcode_scores, bi_barcode_daily, bi_barcode_places")
    op.execute("DROP TABLE scored_barcode")
    op.execute("DELETE FROM scored_days WHERE stream = 'barcode'")
