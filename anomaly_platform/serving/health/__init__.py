"""Health of the service, of what it depends on, and of the pipeline."""
