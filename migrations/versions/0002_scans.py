"""Scored scans: the table of the stream `barcode` and its BI views.

The statements stand in `migrations/sql/0002`, one file per subject, run in order of their names.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = Path(__file__).parents[1] / "sql" / revision


def upgrade() -> None:
    # The driver's own connection: these files hold several statements and bare percent signs.
    connection = op.get_bind().connection.driver_connection
    for file in sorted(_STATEMENTS.glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("DROP VIEW bi_barcode_scores, bi_barcode_daily, bi_barcode_places")
    op.execute("DROP TABLE scored_barcode")
    op.execute("DELETE FROM scored_days WHERE stream = 'barcode'")
