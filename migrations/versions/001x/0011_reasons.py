"""Scored readings say why they are flagged.

The statements stand in `migrations/sql/0011`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("ALTER TABLE scored_metrics DROP COLUMN reason CASCADE")
    op.execute(
        "DO $views$ BEGIN "
        "EXECUTE replace(pg_get_functiondef('ensure_stream_tables'::regproc), "
        "'AS decision_score, reason', 'AS decision_score'); END $views$"
    )
