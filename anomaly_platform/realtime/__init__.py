"""A reading on its way: states of series, the append path, late readings, alerts, verdicts.

HTTP does not belong here (``serving``), nor do the arithmetic of features and scores (``ml``).
"""
