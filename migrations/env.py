"""Alembic's entry: runs the migrations on the connection that the caller hands over.

The platform upgrades through `anomaly_platform.storage.postgres.database.upgrade`, which opens the
connection, holds the lock and commits; this file never sees a URL.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run the migrations with: anomaly db upgrade")
context.configure(connection=connection, target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
