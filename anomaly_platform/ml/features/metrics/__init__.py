"""Features of readings: one definition and its compiled executions."""
