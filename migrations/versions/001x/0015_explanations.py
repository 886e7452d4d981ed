"""Scored readings say what was expected, and what made them unusual, in numbers.

The statements stand in `migrations/sql/0015`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0015"
down_revision = "0014"

_COLUMNS = "expected_low, expected_high, deviation, direction, lasting, lasted_s, explanation"
# Columns that only views of older databases have stay in them.
_VIEWS_OF_BEFORE = """
DO $views$
DECLARE
    one record;
BEGIN
    EXECUTE replace(pg_get_functiondef('ensure_stream_tables'::regproc),
        ', expected_low, expected_high, deviation, direction, lasting, lasted_s, explanation', '');
    FOR one IN
        SELECT substr(relid::text, length('scored_') + 1) AS stream, attname AS entity,
            attrelid::regclass::text AS name, regexp_replace(pg_get_viewdef(attrelid),
                ',\\s+(\\w+\\.)?expected_low.*explanation(?=\\s+FROM)', '') AS definition
        FROM pg_partition_tree('scored_metrics') JOIN pg_attribute ON attnum = 3 AND attrelid =
            to_regclass('bi_' || substr(relid::text, length('scored_') + 1) || '_scores')
        WHERE isleaf
    LOOP
        EXECUTE 'DROP VIEW ' || one.name || ' CASCADE';
        EXECUTE 'CREATE VIEW ' || one.name || ' AS ' || one.definition;
        PERFORM ensure_stream_tables(one.stream, one.entity);
    END LOOP;
END $views$
"""


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(_VIEWS_OF_BEFORE)
    for column in _COLUMNS.split(", "):
        op.execute(f"ALTER TABLE scored_metrics DROP COLUMN {column} CASCADE")
