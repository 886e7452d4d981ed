"""Moments as integers: microseconds since 1970, in UTC."""

import datetime as dt
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def microseconds_of(time: dt.datetime) -> int:
    """Return a time, which names its zone, in microseconds since 1970.

    Examples
    --------
    >>> microseconds_of(dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC))
    1000000
    """
    return (time - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> dt.datetime:
    """Return the time that lies so many microseconds after the beginning of 1970.

    Examples
    --------
    >>> time_of(1_000_000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + microseconds * _MICROSECOND
