"""Commands about models, labels and thresholds."""
