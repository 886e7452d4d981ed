"""Numbers as people write them: 123000, not 1.23e+05."""

from __future__ import annotations

import math
from typing import Final

#: From here on not every whole number is a float.
_EXACT: Final = 2.0**53
#: All digits that a float has for certain.
_DIGITS: Final = 15
#: A bound is written to this share of its distance from the value, or closer.
_OFF: Final = 0.1


def as_given(value: float) -> str:
    """Return a reading with all its digits.

    Examples
    --------
    >>> as_given(11960555.0), as_given(36.4), as_given(4e9), as_given(-0.0)
    ('11960555', '36.4', '4000000000', '0')
    """
    # What NumPy's own float writes of itself names its type.
    value = float(value)
    if value.is_integer() and abs(value) <= _EXACT:
        return f"{value + 0.0:.0f}"
    text = f"{value:.{_DIGITS}g}"
    return text if float(text) == value else repr(value)


def rounded(number: float, digits: int) -> str:
    """Return a number with so many significant digits at most.

    Examples
    --------
    >>> rounded(123456.7, 4)
    '123500'
    """
    return f"{float(f'{number:.{min(digits, _DIGITS)}g}'):.{_DIGITS}g}"


def as_bound(bound: float, value: float, digits: int) -> str:
    """Return a bound with as many significant digits as tell it from a value, and at least so many.

    Whole numbers keep all of theirs.

    Examples
    --------
    >>> as_bound(99.98, 100.0, 3), as_bound(40.01, 93.1, 3), as_bound(11960670.0, 11960555.0, 3)
    ('99.98', '40', '11960670')
    """
    if float(bound).is_integer() and abs(bound) <= _EXACT:
        return as_given(bound)
    apart = _OFF * abs(bound - value)
    if apart > 0.0 and math.isfinite(apart):
        while digits < _DIGITS and abs(float(f"{bound:.{digits}g}") - bound) > apart:
            digits += 1
    return rounded(bound, digits)
