"""Feature definitions and their two executions, over days and one row at a time."""
