"""Small curves without axes, as paths of SVG."""

from collections.abc import Sequence
from typing import Final

WIDTH: Final = 160
HEIGHT: Final = 28


def sparkline(spans: Sequence[int], values: Sequence[float | None], number: int) -> str:
    """Return the path of a curve, broken where spans have no value.

    Parameters
    ----------
    spans : sequence of int
        Which span each value is of, from 1 on.
    number : int
        How many spans the width stands for.

    Examples
    --------
    >>> sparkline([1, 2, 4], [0.0, 1.0, 0.5], 4)
    'M20.0 26.0L60.0 2.0M140.0 14.0h0.1'
    """
    known = [(span, one) for span, one in zip(spans, values, strict=True) if one is not None]
    if not known:
        return ""
    low = min(one for _, one in known)
    high = max(one for _, one in known)
    reach = (high - low) or 1.0
    path, before = "", None
    for n, (span, value) in enumerate(known):
        x = (span - 0.5) / number * WIDTH
        y = HEIGHT - 2 - (value - low) / reach * (HEIGHT - 4)
        joined = before is not None and span == before + 1
        path += f"{'L' if joined else 'M'}{x:.1f} {y:.1f}"
        goes_on = n + 1 < len(known) and known[n + 1][0] == span + 1
        if not joined and not goes_on:
            path += "h0.1"
        before = span
    return path
