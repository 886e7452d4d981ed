"""Alembic's entry: runs the migrations on the connection that the caller hands over.

The platform upgrades through `anomaly_platform.storage.postgres.database.upgrade`, which opens the
connection and holds the lock; this file never sees a URL. Each migration is a transaction: one that
fails leaves no half of itself. What builds indexes beside writers says how it begins anew.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run the migrations with: anomaly db upgrade")
context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
