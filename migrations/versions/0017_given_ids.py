"""Storing a reading finds its place in fewer indexes: one of ids is kept for those of senders.

The statements stand in `migrations/sql/0017`.
"""

from pathlib import Path

from alembic import context, op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION add_newer_readings")
    op.execute("DROP INDEX online_readings_unclaimed")
    op.execute(
        "CREATE INDEX online_readings_unclaimed ON online_readings (stream, id) "
        "WHERE batch_id IS NULL"
    )
    # The index goes with the column.
    op.execute(
        "ALTER TABLE online_readings DROP COLUMN id_given, "
        "ADD CONSTRAINT online_readings_event_id_stream_key UNIQUE (event_id, stream)"
    )
    adding = Path(context.script.dir, "sql", "0014", "20_newer_readings.sql")
    statements = adding.read_text(encoding="utf-8").replace("DROP FUNCTION add_newer_readings;", "")
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
