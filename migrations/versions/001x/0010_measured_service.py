"""How long scoring requests took, and how much of an anomaly a model finds.

The statements stand in `migrations/sql/0010`, one file per subject, run in order of their names.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP TABLE prediction_latency")
    op.execute("ALTER TABLE ml_models DROP COLUMN true_positive_rate")
    op.execute("ALTER TABLE ml_models DROP COLUMN event_recall")
