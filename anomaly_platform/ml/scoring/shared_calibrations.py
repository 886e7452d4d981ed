"""The calibrations of a bundle that belong to no single series, read when one is asked for."""

from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.checking import as_bad_model
from anomaly_platform.ml.calibration.conformal import Calibration


class SharedCalibrations:
    """The calibrations that a bundle keeps for pools of series or for entities.

    Parameters
    ----------
    bundle
        The bundle.
    kind
        `pool` or `entity`.
    """

    def __init__(self, bundle: Bundle, kind: str) -> None:
        self._bundle = bundle
        self._kind = kind
        self._stacked: dict[str, AnyArray] = {}

    def at(self, index: int) -> Calibration:
        """Return one calibration; the arrays of the kind are read with the first."""
        if not self._stacked:
            self._stacked = {
                name: self._bundle.shared(f"{self._kind}/{name}")
                for name in ("values", "exceeding", "tail")
            }
        with as_bad_model(
            f"the {self._kind} calibrations of the bundle at {self._bundle.directory}"
        ):
            return Calibration.from_arrays({n: of[index] for n, of in self._stacked.items()})
