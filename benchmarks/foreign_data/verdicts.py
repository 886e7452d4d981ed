"""What a method says about the rows of one file."""

from __future__ import annotations

from typing import NamedTuple

from anomaly_platform.ml.arrays import Bools, Floats


class Verdicts(NamedTuple):
    """Score and decision of each row; methods without calls have none."""

    scores: Floats
    flags: Bools
    calls: Bools | None = None
