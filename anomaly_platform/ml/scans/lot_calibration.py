"""What a p-value of a scan is worth where scans come by lots, and lots are few.

What belongs here: the calibration of fused evidence by lots, and of codes that left their company.

What a share of *scans* promises holds for scans that are independent, and those of a lot are not:
a lot that takes a road for the first time is a hundred scans at once. Where few lots were there to
calibrate on, a new one may do anything, and a p-value is no smaller than one in the number of lots
plus one, until the evidence goes beyond all that was ever seen. Habits say hundreds of nats of a
lot that does what its product did not do yet. A few lots tell no tail of that, so that habits
never say more of them than that the lot is a new one.

A code that left those that it came with is no lot: what it does, it does alone. Where the lots are
too few to call anything within what was seen, such scans are held against those like them, as the
share of all scans that they are (a conformal p-value within a class that is part of what is
scored).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats
from anomaly_platform.ml.calibration.conformal import P_FLOOR, Calibration
from anomaly_platform.ml.detectors.base import part_of, under

PARTED_SHARE: Final = 1 / 3
"""Share of alpha that codes which left their company may use up where lots are few."""
_PARTED: Final = "parted_"


@dataclass(frozen=True)
class LotCalibration:
    """Fused evidence of held-out scans.

    Attributes
    ----------
    scans
        Of all of them, or, where there is `parted`, of those that went with others.
    parted
        Of those whose codes left their company; None where lots are many, or no code did.
    """

    scans: Calibration
    parted: Calibration | None = None

    @classmethod
    def fit(cls, raw: Floats, parted: Bools | None = None) -> Self:
        """Fit on the (n,) evidence of held-out scans.

        Parameters
        ----------
        parted
            (n,) scans of codes that left their company, where lots are few.
        """
        if parted is None or parted.all() or not parted.any():
            return cls(Calibration.fit(raw))
        return cls(Calibration.fit(raw[~parted]), Calibration.fit(raw[parted]))

    @property
    def rows(self) -> int:
        """Scans that were calibrated on."""
        return self.scans.rows + (0 if self.parted is None else self.parted.rows)

    def p_value(self, raw: Floats, lots: int | None, parted: Bools | None = None) -> Floats:
        """Return the (n,) p-values of scans of new lots.

        Parameters
        ----------
        lots
            That were calibrated on; None where scans are independent.
        parted
            (n,) scans of codes that left their company; none by default.
        """
        p = self.scans.p_value(raw)
        if lots is not None:
            p = p_of_new_lot(p, self.scans.rows, lots)
        if self.parted is not None and parted is not None:
            share = (self.parted.rows + 1) / (self.rows + 1) / PARTED_SHARE
            p[parted] = np.clip(self.parted.p_value(raw[parted]) * share, P_FLOOR, 1.0)
        return p

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return everything that a p-value depends on."""
        parted = {} if self.parted is None else under(_PARTED, self.parted.to_arrays())
        return {**self.scans.to_arrays(), **parted}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        parted = part_of(arrays, _PARTED)
        return cls(
            Calibration.from_arrays(arrays), Calibration.from_arrays(parted) if parted else None
        )


def calibrations_of(
    arrays: Mapping[str, AnyArray], room: str
) -> dict[tuple[str, ...], LotCalibration]:
    """Return the calibrations in `room/detectors/array`, by their detectors."""
    found: dict[tuple[str, ...], dict[str, AnyArray]] = {}
    for path, array in arrays.items():
        parts = path.split("/")
        if parts[0] == room and len(parts) == 3:
            found.setdefault(tuple(parts[1].split("+")), {})[parts[2]] = array
    return {names: LotCalibration.from_arrays(group) for names, group in found.items()}


def p_of_new_lot(p: Floats, rows: int, lots: int) -> Floats:
    """P-values of scans of a lot that calibration did not see, from those of single scans.

    (k + m) / (n + m) instead of (k + 1) / (n + 1), with m = n / lots: what comes is a whole lot.
    Beyond the largest calibration score the fitted tail goes on from there.

    Parameters
    ----------
    p
        (n,) conformal p-values.
    rows, lots
        Scans that were calibrated on, and of how many lots they are.

    Examples
    --------
    >>> p_of_new_lot(np.array([1.0, 1 / 1001]), rows=1000, lots=9).round(3).tolist()
    [1.0, 0.1]
    """
    size = max(rows / lots, 1.0)
    within = (p * (rows + 1) - 1 + size) / (rows + size)
    beyond = p * (rows + 1) * size / (rows + size)
    return np.asarray(np.maximum(np.where(p * (rows + 1) >= 1.0, within, beyond), P_FLOOR))
