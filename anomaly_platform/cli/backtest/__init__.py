"""``anomaly backtest``: files in, scores and reports out."""
