"""Numbers for Prometheus: of the workers and of the database."""
