"""Drift of single features; thresholds that decide.

The statements stand in `migrations/sql/0004`, one file per subject, run in order of their names.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = Path(__file__).parents[1] / "sql" / revision


def upgrade() -> None:
    # The driver's own connection: these files hold several statements.
    connection = op.get_bind().connection.driver_connection
    for file in sorted(_STATEMENTS.glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))


def downgrade() -> None:
    op.execute("ALTER TABLE series_drift DROP COLUMN features")
    op.execute("ALTER TABLE feature_drift DROP COLUMN usual_psi_median")
