"""Scans of coded goods as a scikit-learn estimator: rules, sequence model and SVM together."""

import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import polars as pl
from sklearn.utils.validation import check_is_fitted

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.estimators.contract import Estimator, one_slot
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.inputs import ScanInputs
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.frames import frame_like, in_utc, is_frame, to_polars
from anomaly_platform.ml.scans.fusion import BarcodeFusion
from anomaly_platform.ml.scans.learning import LEAST_TO_LEARN, learn_scans, silent_detectors
from anomaly_platform.ml.scans.response import NO_COMPANIES, Id, Silence, write_response
from anomaly_platform.ml.scans.scoring import BarcodeModels

_ROW: Final = "__row"
_KEYS: Final = ("event_id", "epc_code", "event_time")
_TEXTS: Final = ("location_id", "business_step", "event_type")
_LEARNED: Final = (
    *("latitude", "longitude", "location_type", "location_hierarchy"),
    "location_transition_frequency",
)


@dataclass(eq=False, repr=False)
class ScanDetector(Estimator):
    """Scans of coded goods: five rules, a sequence model and a one-class SVM, fused.

    Here `score_samples` is −`finalConfidence` / 100, and a scan is an anomaly from 0.5 on. A scan
    is judged by the scans of its code in the same `X`. Fewer than 2,000 scans teach nothing: the
    rules then speak alone.

    Parameters
    ----------
    reference
        What is known beforehand, or the folder with `locations.csv` and the like. A rule that
        needs what is not known stays silent.
    alpha
        Share of normal scans, in (0, 1), that may reach the threshold.
    threshold
        Score in (0, 1) that is shown as the confidence 50.
    time_zone
        In which hours and weekdays are read off.
    max_epochs
        Of the sequence model; of many scans there are fewer.
    random_state
        Seed; the same scans and seed give the same bits.

    Examples
    --------
    >>> code = "001.8804823.0000003.000001.20241201.000000001"
    >>> scan = {"eventId": "e1", "epc_code": code, "event_time": "2025-01-02 10:00:00"}
    >>> detector = ScanDetector().fit([scan])
    >>> detector.predict([scan, {**scan, "eventId": "e2", "epc_code": "fake"}]).tolist()
    [1, -1]
    """

    reference: ScanReference | str | Path | None = None
    _: KW_ONLY
    time_zone: str = "UTC"
    max_epochs: int = 20

    @property
    def offset_(self) -> float:
        """What `score_samples` returns at the confidence 50."""
        return -0.5

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: ARG002  (scikit-learn's signature)
        """Learn from scans that are mostly normal; labels are not read.

        Parameters
        ----------
        X
            Events: a list of dicts, a request `{"data": [event, …]}`, or a frame with a row per
            event. `epc_code` and `event_time` are needed; `event_id`, `location_id`,
            `business_step` and `event_type` are read where they are. In camelCase, too.
        y
            Ignored.

        Raises
        ------
        ValueError
            When a code or time is missing, a time cannot be read, or the reference is not right.
        """
        reference = self.reference
        if not isinstance(reference, ScanReference):
            folder = None if reference is None else Path(reference)
            if folder is not None and not folder.is_dir():
                raise ValueError(f"reference: there is no folder {folder}")
            reference = ScanReference() if folder is None else ScanReference.read(folder)
        features = self._features(X)
        if features.height < LEAST_TO_LEARN:
            warnings.warn(
                f"{features.height} scans teach nothing, {LEAST_TO_LEARN} are needed: "
                "the rules speak alone",
                stacklevel=2,
            )
        self.models_ = learn_scans(
            features,
            reference,
            seed=self.random_state,
            alpha=self.alpha,
            most_epochs=self.max_epochs,
        )
        svm = self.models_.svm
        self.inputs_ = ScanInputs.fit(features, reference) if svm is None else svm.inputs
        return self

    def transform(self, X: Any) -> Any:
        """Return the features of scans, a row per event, in the library that `X` is from.

        For a list of dicts it is such a list.
        """
        check_is_fitted(self)
        features = self.inputs_.enrich(self._features(X)).sort(_ROW)
        return frame_like(X, features.select(*_KEYS, *ScanFeatureSet().names, *_LEARNED))

    def detect(self, X: Any, file_id: str | None = None) -> dict[str, Any]:
        """Judge the events of one request and say why.

        Parameters
        ----------
        X
            As in `fit`.
        file_id
            Named in the answer; by default what the events have in common, if anything.

        Returns
        -------
        dict
            `fileId`, `EventHistory` in the order of the events, `epcAnomalyStats`,
            `fileAnomalyStats` and `mlSummaryStats`, as the API answers.
        """
        check_is_fitted(self)
        silence = Silence(detectors=silent_detectors(self.models_))
        if self.models_.rules.reference.companies.is_empty():
            silence.rules["epcFake"] = NO_COMPANIES
        scored = self._judge(X, silence.left_out)
        if file_id is None and "file_id" in scored.columns and scored["file_id"].n_unique() == 1:
            file_id = scored["file_id"][0]
        answer = io.StringIO()
        numbered = scored.with_columns(pl.col(_ROW).alias("row_number"))
        write_response(answer, [numbered], file_id, event_ids=_ids(X), silence=silence)
        response: dict[str, Any] = json.loads(answer.getvalue())
        return response

    def detect_batch(self, requests: Iterable[Any]) -> list[dict[str, Any]]:
        """Judge several requests, each by itself, and return an answer for each."""
        return [self.detect(request) for request in requests]

    def _scores(self, X: Any) -> Floats:
        return self._judge(X)["final_confidence"].to_numpy() / 100.0

    def _judge(self, X: Any, left_out: dict[str, str] | None = None) -> pl.DataFrame:
        """Return the scored scans in the order of the events."""
        chunks = self.models_.in_chunks(
            self._features(X), threshold=self.threshold, left_out=left_out
        )
        return pl.concat(list(chunks)).sort(_ROW)

    def _features(self, X: Any) -> pl.DataFrame:
        return ScanFeatureSet(self.time_zone).compute(_scans(X).with_row_index(_ROW))

    def _store(self, writer: BundleWriter) -> tuple[Mapping[str, Any], pl.DataFrame]:
        arrays = {**self.inputs_.to_arrays(), **self.models_.rules.to_arrays()}
        for learned in (self.models_.lstm, self.models_.svm, self.models_.fusion):
            arrays |= {} if learned is None else learned.to_arrays()
        return one_slot(writer, ScanFeatureSet().names, arrays)

    def _restore(self, bundle: Bundle) -> None:
        with bundle:
            arrays = bundle.arrays(0)
        self.models_ = BarcodeModels(RulesModel.from_arrays(arrays))
        if "fusion/weights" in arrays:
            self.models_ = BarcodeModels(
                self.models_.rules,
                CalibratedSequence.from_arrays(arrays),
                CalibratedSvm.from_arrays(arrays),
                BarcodeFusion.from_arrays(arrays),
            )
        self.inputs_ = ScanInputs.from_arrays(arrays)
        self.reference = self.inputs_.reference


def _scans(X: Any) -> pl.DataFrame:
    """Return events as a canonical scan frame."""
    events: Any = X.get("data") if isinstance(X, Mapping) else X
    if is_frame(events):
        frame = to_polars(events)
    elif isinstance(events, Sequence):
        frame = pl.DataFrame(events, infer_schema_length=None, strict=False)
    else:
        raise TypeError(f"X is a {type(X).__name__}: give events as dicts, or a frame of them")
    frame = frame.rename(lambda name: re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower())
    if frame.is_empty():
        raise ValueError("X has no events")
    for name in ("epc_code", "event_time"):
        if name not in frame.columns or frame[name].null_count():
            raise ValueError(f"{name} is missing: every event needs it")
    missing = [name for name in ("event_id", *_TEXTS) if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
    return frame.with_columns(
        pl.col("epc_code", *_TEXTS).cast(pl.String),
        pl.coalesce(pl.col("event_id").cast(pl.String), pl.int_range(pl.len()).cast(pl.String)),
        _times(frame["event_time"]),
        entity=pl.col("epc_code").cast(pl.String),
    )


def _ids(X: Any) -> dict[int, Id]:
    """Return the events' ids as they came, by row, where they are numbers."""
    events: Any = X.get("data") if isinstance(X, Mapping) else X
    if is_frame(events):
        frame = to_polars(events)
        name = next((one for one in ("event_id", "eventId") if one in frame.columns), None)
        came = [] if name is None else frame[name].to_list()
    else:
        came = [event.get("event_id", event.get("eventId")) for event in events]
    return {row: one for row, one in enumerate(came) if isinstance(one, int | float)}


def _times(times: pl.Series) -> pl.Series:
    if times.dtype == pl.String:
        moments = [_time(row, text) for row, text in enumerate(times)]
        return pl.Series(times.name, moments, dtype=pl.Datetime("us", "UTC"))
    if not isinstance(times.dtype, pl.Datetime):
        raise TypeError(f"event_time is {times.dtype}, not a time: parse it first")
    return in_utc(times)


def _time(row: int, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"event_time of row {row} is {text!r}: write YYYY-MM-DD HH:MM:SS or ISO 8601"
        ) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
