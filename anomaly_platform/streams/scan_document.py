"""Keys of the YAML file of a scan stream, and the stream that follows from them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.names import SIX_PARTS
from anomaly_platform.streams.base import ScanStream
from anomaly_platform.streams.stream_document import (
    ColumnNames,
    Ignored,
    Names,
    Part,
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


class Weights(Part):
    """How much each detector counts in the fused confidence."""

    rules: float = Field(default=0.40, ge=0.0, le=1e6, description="a number from 0, such as 0.4")
    lstm: float = Field(default=0.35, ge=0.0, le=1e6, description="a number from 0, such as 0.35")
    svm: float = Field(default=0.25, ge=0.0, le=1e6, description="a number from 0, such as 0.25")

    @model_validator(mode="after")
    def _not_all_zero(self) -> Weights:
        if self.rules + self.lstm + self.svm <= 0:
            raise ValueError("write a number above 0 for one of rules, lstm and svm")
        return self


class TimeLimits(Part):
    """Seconds that each detector has online."""

    rules: float = Field(default=1.0, ge=0.001, le=3600.0, description="seconds, such as 1")
    lstm: float = Field(default=1.5, ge=0.001, le=3600.0, description="seconds, such as 1.5")
    svm: float = Field(default=1.0, ge=0.001, le=3600.0, description="seconds, such as 1")
    habits: float = Field(default=1.0, ge=0.001, le=3600.0, description="seconds, such as 1")


class ScanDocument(StreamDocument):
    """A whole file of a scan stream."""

    kind: Literal["scans"] = Field(description="metrics or scans")
    code_scheme: Literal["six-part", "pattern"] | None = None
    """six-part, or pattern with a code_pattern"""
    code_pattern: _CodePattern = SIX_PARTS
    """a regular expression with named groups, such as ^PX(?P<serial>[0-9]{8})$"""
    weights: Weights = Field(default_factory=Weights)
    """its keys on lines of their own, indented"""
    time_limits: TimeLimits = Field(default_factory=TimeLimits)
    """its keys on lines of their own, indented"""
    columns: ScanColumns = Field(default_factory=ScanColumns)
    """its keys on lines of their own, indented"""
    min_training_scans: int = Field(default=1_000, ge=100, le=10_000_000)
    """100 scans or more, such as 1000"""

    @model_validator(mode="after")
    def _scheme_is_that_of_the_pattern(self) -> ScanDocument:
        own = "code_pattern" in self.model_fields_set
        if self.code_scheme is not None and own != (self.code_scheme == "pattern"):
            raise ValueError("write code_pattern with code_scheme: pattern, and only there")
        return self

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
            weights=self.weights.model_dump(include=self.weights.model_fields_set),
            time_limits=self.time_limits.model_dump(include=self.time_limits.model_fields_set),
            retraining=self.policy(self.retraining.window or timedelta(days=90)),
            min_training_scans=self.min_training_scans,
        )
