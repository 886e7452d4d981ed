"""Events of detections are made in the EMS once.

The statements stand in `migrations/sql/0012`.
"""

from alembic import op

from anomaly_platform.storage.postgres.database import run_statements

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_statements(revision)


def downgrade() -> None:
    op.execute("DROP TABLE ems_told")
