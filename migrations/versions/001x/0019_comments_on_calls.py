"""The columns that explain a reading say that calls are explained, too.

The statements stand in `migrations/sql/0019`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0019"
down_revision = "0018"

_BEFORE = {
    "reason": "Why the reading is flagged, or a cause of its entity''s score; null elsewhere.",
    "expected_low": "Smallest value that would not have reached the threshold; null without an "
    "end, and where nothing is flagged.",
    "expected_high": "Largest value that would not have reached the threshold; null like "
    "expected_low.",
}


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    for column, comment in _BEFORE.items():
        op.execute(f"COMMENT ON COLUMN scored_metrics.{column} IS '{comment}'")
