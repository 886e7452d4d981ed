"""Scored scans name the rules that could not judge, and sequences without a beginning.

The statements stand in `migrations/sql/0009`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("ALTER TABLE scored_scans DROP COLUMN partial_sequence CASCADE")
    op.execute("ALTER TABLE scored_scans DROP COLUMN blind_rules CASCADE")
    op.execute(
        "DO $views$ BEGIN "
        "EXECUTE replace(replace(pg_get_functiondef('ensure_scan_stream_tables'::regproc), "
        "'epc_malformed, partial_sequence,', 'epc_malformed,'), "
        "'ml_explanation, blind_rules,', 'ml_explanation,'); "
        "PERFORM ensure_scan_stream_tables(substr(relid::text, length('scored_') + 1)) "
        "FROM pg_partition_tree('scored_scans') WHERE isleaf; END $views$"
    )
