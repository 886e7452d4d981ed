"""The EMS: its client, its database, and pulling metrics from it."""
