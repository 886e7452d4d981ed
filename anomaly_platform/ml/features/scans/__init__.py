"""Features of scans: one definition and its executions."""
