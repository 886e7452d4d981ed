"""What runs the platform by itself: training requests, drift, online tables, alerts, labels, keys.

The statements stand in `migrations/sql/0003`, one file per subject, run in order of their names.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = Path(__file__).parents[1] / "sql" / revision


def upgrade() -> None:
    # The driver's own connection: these files hold several statements and bare percent signs.
    connection = op.get_bind().connection.driver_connection
    for file in sorted(_STATEMENTS.glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("acknowledged readings and alerts would be lost: restore a backup instead")
