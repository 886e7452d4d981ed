"""Keys of the YAML file of a scan stream, and the stream that follows from them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.names import SIX_PARTS
from anomaly_platform.streams.base import ScanStream
from anomaly_platform.streams.stream_document import (
    ColumnNames,
    Ignored,
    Names,
    StreamDocument,
)


def _pattern(text: str) -> str:
    # Only a file with a pattern of its own pays for importing the library of frames.
    from anomaly_platform.ml.features.scans.codes import check_pattern

    return check_pattern(text)


_CodePattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_pattern)]


class ScanColumns(ColumnNames):
    """Which column of a file is what; each a name, or a list of names that occur."""

    code: Names = Field(default=("epc_code",), description="a column's name, or a list of names")
    time: Names = Field(default=("event_time",), description="a column's name, or a list of names")
    place: Names = Field(default=("location_id",), description="a column's name, or a list")
    step: Names = Field(default=("business_step",), description="a column's name, or a list")
    event: Names = Field(default=("event_type",), description="a column's name, or a list")
    event_id: Names = Field(default=("event_id",), description="a column's name, or a list")
    label: Names = Field(default=("is_anomaly",), description="a column's name, or a list")
    ignore: Ignored = Field(default=(), description="a column's name, or a list of names")


class ScanDocument(StreamDocument):
    """A whole file of a scan stream."""

    kind: Literal["scans"] = Field(description="metrics or scans")
    code_pattern: _CodePattern = SIX_PARTS
    """a regular expression with named groups, such as ^PX(?P<serial>[0-9]{8})$"""
    columns: ScanColumns = Field(default_factory=ScanColumns)
    """its keys on lines of their own, indented"""
    min_training_scans: int = Field(default=1_000, ge=100, le=10_000_000)
    """100 scans or more, such as 1000"""

    def to_stream(self) -> ScanStream:
        """Return the stream."""
        said = self.columns
        return ScanStream(
            **self.common(),
            description=self.description or f"{self.shown_title}: rules and learned detectors.",
            features=ScanFeatureSet(code_pattern=self.code_pattern),
            aliases={
                "epc_code": said.code,
                "event_time": said.time,
                "location_id": said.place,
                "business_step": said.step,
                "event_type": said.event,
                "event_id": said.event_id,
                "label": said.label,
            },
            ignored_columns=said.ignore,
            retraining=self.policy(self.retraining.window or timedelta(days=90)),
            min_training_scans=self.min_training_scans,
        )
