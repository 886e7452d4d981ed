"""Verdicts on readings and scans that are not stored."""
