"""Thresholds may be 0 and 1.

The statements stand in `migrations/sql/0006`, one file per subject, run in order of their names.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = Path(__file__).parents[1] / "sql" / revision


def upgrade() -> None:
    # The driver's own connection: these files may hold several statements.
    connection = op.get_bind().connection.driver_connection
    for file in sorted(_STATEMENTS.glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("ALTER TABLE thresholds DROP CONSTRAINT thresholds_threshold_check")
    op.execute("DELETE FROM thresholds WHERE threshold <= 0 OR threshold >= 1")
    op.execute(
        "ALTER TABLE thresholds ADD CONSTRAINT thresholds_threshold_check "
        "CHECK (threshold > 0 AND threshold < 1)"
    )
