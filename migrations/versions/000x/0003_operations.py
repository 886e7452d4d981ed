"""What runs the platform by itself: training requests, drift, online tables, alerts, labels, keys.

The statements stand in `migrations/sql/0003`, one file per subject, run in order of their names.
"""

from anomaly_platform.storage.postgres.database import run_statements

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    raise RuntimeError("acknowledged readings and alerts would be lost: restore a backup instead")
