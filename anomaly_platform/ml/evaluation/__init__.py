"""Measures of quality: against labels, against injected anomalies, and their pictures."""
