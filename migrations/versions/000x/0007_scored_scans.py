"""Scored scans of every stream in one partitioned table.

The statements stand in `migrations/sql/0007`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION ensure_scan_stream_tables")
    op.execute("ALTER TABLE scored_scans DETACH PARTITION scored_barcode")
    op.execute("DROP TABLE scored_scans CASCADE")
    op.execute("ALTER TABLE scored_barcode DROP COLUMN stream")
