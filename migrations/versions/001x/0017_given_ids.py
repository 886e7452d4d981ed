"""Storing a reading finds its place in fewer indexes: one of ids is kept for those of senders.

Readings are taken in while the index is built, which takes minutes where many are kept. After a
failure the migration begins anew. The other statements stand in `migrations/sql/0017`.
"""

from pathlib import Path

from alembic import context, op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    # Whoever waits for the table makes all others wait: not for long.
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute(
        "ALTER TABLE online_readings "
        "ADD COLUMN IF NOT EXISTS id_given boolean NOT NULL DEFAULT true"
    )
    op.execute(
        "COMMENT ON COLUMN online_readings.id_given IS "
        "'Whether the event id is its sender''s; otherwise it is derived of series and time.'"
    )
    with op.get_context().autocommit_block():
        # What a failure has left may lack readings.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS online_readings_given_ids")
        op.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY online_readings_given_ids "
            "ON online_readings (event_id, stream) WHERE id_given"
        )
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP FUNCTION add_newer_readings")
    # The index goes with the column.
    op.execute(
        "ALTER TABLE online_readings DROP COLUMN id_given, "
        "ADD CONSTRAINT online_readings_event_id_stream_key UNIQUE (event_id, stream)"
    )
    adding = Path(context.script.dir, "sql", "0014", "20_newer_readings.sql")
    statements = adding.read_text(encoding="utf-8").replace("DROP FUNCTION add_newer_readings;", "")
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
