"""Conversions of the score in [0, 1) to the scales of clients, one number at a time."""


def signed_score(score: float, threshold: float) -> float:
    """Return a score in [0, 1) as devices' clients see it: 1 ordinary, an anomaly at 0 and below.

    Parameters
    ----------
    score
        0 ordinary to 1 most unusual.
    threshold
        In [0, 1].
    """
    if score < threshold:
        return (threshold - score) / threshold
    return -(score - threshold) / (1.0 - threshold)


def prediction(is_anomaly: bool | None) -> int | None:
    """Return −1 for an anomaly, 1 for an ordinary reading, None where nobody knows."""
    if is_anomaly is None:
        return None
    return -1 if is_anomaly else 1
