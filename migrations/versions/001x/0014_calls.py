"""Scored readings say whether somebody is told of them.

The statements stand in `migrations/sql/0014`.
"""

from pathlib import Path

from alembic import context, op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION add_newer_readings")
    op.execute("ALTER TABLE online_readings DROP COLUMN is_call")
    adding = Path(context.script.dir, "sql", "0005", "20_newer_readings.sql")
    op.get_bind().exec_driver_sql(adding.read_text(encoding="utf-8").replace("%", "%%"))
    # With the columns go the views; those of a stream come back with its next run.
    op.execute(
        "ALTER TABLE scored_metrics DROP COLUMN is_call CASCADE, DROP COLUMN entity_is_call CASCADE"
    )
    op.execute(
        "DO $views$ BEGIN EXECUTE replace(replace("
        "pg_get_functiondef('ensure_stream_tables'::regproc), "
        "'AS decision_score, reason, is_call, entity_is_call', 'AS decision_score, reason'), "
        "'AS max_value, count(*) FILTER (WHERE is_call) AS calls', 'AS max_value'); END $views$"
    )
