"""The forest over the model inputs of one series, beside their distance from ordinary.

A forest saturates: once a reading is alone in its leaf, twice as far is the same to it, and several
inputs that are slightly unusual at once isolate no earlier than one. The distance sees both, and
grows without end, so the forest's own term for readings beyond the training range is not wanted
here: with a dozen inputs, one of them leaves its range so often that this term alone would decide
what is rare.
"""

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.detectors.base import as_matrix
from anomaly_platform.ml.detectors.isolation_forest import IsolationForest


class SeriesForest(IsolationForest):
    """An isolation forest over inputs of which 1 is as far as they rarely go from ordinary, 0."""

    tail_floor: float = 0.05

    def score(self, X: npt.ArrayLike) -> Floats:
        """Raw scores (n,) of inputs (n, d), higher = more anomalous.

        The forest's score within the training range, plus the logarithm of the inputs' distance.
        """
        inputs = as_matrix(X, self.feature_schema)
        within = np.clip(inputs, self.forest.scaling[2], self.forest.scaling[3])
        return np.asarray(super().score(within) + np.log1p(distance(inputs)))


def distance(inputs: Floats) -> Floats:
    """Return (n,) distances of (n, d) inputs from ordinary."""
    # What numpy.mean does, without what it looks at first.
    return np.asarray(np.sqrt(np.add.reduce(np.square(inputs), axis=1) / inputs.shape[1]))
