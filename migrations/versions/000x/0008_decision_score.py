"""One meaning per name: `anomaly_score` in views is 0 to 1, `decision_score` is 1 to -1.

The statements stand in `migrations/sql/0008`, one file per subject, run in order of their names.
"""

from pathlib import Path

from alembic import context, op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION complete_detection CASCADE")
    op.execute("UPDATE anomaly_detections SET anomaly_score = score")
    op.execute("ALTER TABLE anomaly_detections DROP COLUMN score")
    # With it go the views of scores; those of a stream of your own come back with its next run.
    op.execute("DROP FUNCTION decision_score CASCADE")
    op.execute(
        "DO $views$ BEGIN "
        "EXECUTE replace(pg_get_functiondef('ensure_scan_stream_tables'::regproc), "
        "'final_confidence / 100 AS anomaly_score, ', ''); "
        "PERFORM ensure_scan_stream_tables(substr(relid::text, length('scored_') + 1)) "
        "FROM pg_partition_tree('scored_scans') WHERE isleaf; END $views$"
    )
    op.execute("DROP FUNCTION ensure_stream_tables")
    views = Path(context.script.dir, "sql", "0001", "50_stream_tables.sql")
    op.get_bind().exec_driver_sql(views.read_text(encoding="utf-8").replace("%", "%%"))
