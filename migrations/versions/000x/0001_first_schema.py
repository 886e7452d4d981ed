"""First schema: ledger, lake, models, scores, detections, monitoring and the views on them.

The statements stand in `migrations/sql/0001`, one file per subject, run in order of their names.
"""

from anomaly_platform.storage.postgres.database import run_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    raise RuntimeError("the first schema has nothing before it: drop the database instead")
