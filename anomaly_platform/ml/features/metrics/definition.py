"""The features of a metric stream, and how to compute them over a frame.

`layout` says what they are; importing this costs nothing either.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from anomaly_platform.ml.features.metrics.layout import FeatureLayout

if TYPE_CHECKING:
    import polars as pl

    from anomaly_platform.ml.frames import IntoDataFrame


class MetricFeatureSet(FeatureLayout):
    """The features of a metric stream; parameters as in `FeatureLayout`."""

    def compute(self, frame: IntoDataFrame, *, since: datetime | None = None) -> pl.DataFrame:
        """Return the rows of a long frame with their features; see `batch.compute`."""
        from anomaly_platform.ml.features.metrics.batch import compute

        return compute(self, frame, since=since)
