"""The schema of the database at a revision of the past."""

from __future__ import annotations

import psycopg

from anomaly_platform.storage.postgres.database import migrations_config


def migrate(url: str, revision: str, how: str = "upgrade") -> None:
    """Bring the schema to a revision; `how` is upgrade or downgrade."""
    from alembic import command
    from sqlalchemy import create_engine

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    config = migrations_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        getattr(command, how)(config, revision)
    engine.dispose()
