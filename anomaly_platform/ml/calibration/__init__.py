"""From raw scores to conformal p-values, to the one score, and thresholds from labels."""
