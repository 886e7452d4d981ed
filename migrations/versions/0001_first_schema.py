"""First schema: ledger, lake, models, scores, detections, monitoring and the views on them.

The statements stand in `migrations/sql/0001`, one file per subject, run in order of their names.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = Path(__file__).parents[1] / "sql" / revision


def upgrade() -> None:
    # The driver's own connection: these files hold several statements and bare percent signs.
    connection = op.get_bind().connection.driver_connection
    for file in sorted(_STATEMENTS.glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))


def downgrade() -> None:
    raise RuntimeError("the first schema has nothing before it: drop the database instead")
