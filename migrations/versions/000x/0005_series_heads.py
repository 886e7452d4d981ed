"""Heads of series apart from their look-backs; features and models of metrics anew.

The statements stand in `migrations/sql/0005`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION add_newer_readings")
    op.execute("DROP TABLE series_heads")
    op.execute("DELETE FROM series_state")
    op.execute("ALTER TABLE series_state RENAME COLUMN snapshot_at TO updated_at")
    op.execute("ALTER TABLE series_state RENAME COLUMN snapshot_until TO last_event")
    op.execute(
        "ALTER TABLE series_state ADD COLUMN revision bigint NOT NULL DEFAULT 0, "
        "ADD COLUMN tail bytea NOT NULL DEFAULT ''"
    )
    op.execute("ALTER TABLE series_state ALTER COLUMN tail SET STORAGE PLAIN")
