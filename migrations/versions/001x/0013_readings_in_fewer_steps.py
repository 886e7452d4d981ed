"""Storing a reading compares fewer names: the stream comes last in the indexes of readings.

The statements stand in `migrations/sql/0013`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute(
        "ALTER TABLE online_readings DROP CONSTRAINT online_readings_event_id_stream_key, "
        "DROP CONSTRAINT online_readings_entity_metric_event_time_stream_key, "
        "ADD UNIQUE (stream, event_id), ADD UNIQUE (stream, entity, metric, event_time)"
    )
