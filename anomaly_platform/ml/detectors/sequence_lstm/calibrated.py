"""The sequence model over scans with its calibration: what a bundle of it holds.

Here belongs the split of a training window (learn on its first part, calibrate on its last
contiguous part), the raw score of a scan, and its p-value.

A scan's raw score is the surprise of its most surprising part (place, event, hour, elapsed time)
beyond what the model expects of that part, in nats: one part that cannot be is enough, and several
that are a little unusual are not. What is expected of a choice is taken off, since choosing among
twenty shops is no surprise however it ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats, Ints
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceEvidence, SequenceLSTM
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.detectors.sequence_lstm.scans import (
    SCAN_COLUMNS,
    SCAN_SPEC,
    EncodedScans,
    encode_scans,
    hold_out_lots,
    scan_vocabularies,
)
from anomaly_platform.ml.detectors.sequence_lstm.scoring import Surprise

Progress = Callable[[Mapping[str, object]], None]

WRONG_HISTORY: Final = ("epcDup", "locErr", "evtOrderErr", "jump")
"""Rules that, when they fire, say that a scan did not happen as reported (a fake code's did)."""
FIRES_AT: Final = 50.0
CALIBRATION_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.1
TAIL_FLOOR: Final = 1.0
"""A nat of surprise is the least that may make a scan e times rarer."""


@dataclass(frozen=True)
class SequenceVerdicts:
    """Raw scores (n,) and p-values (n,) in the order of the frame, and what explains them."""

    raw: Floats
    p_values: Floats
    _model: SequenceLSTM
    _encoded: EncodedScans
    _surprise: Surprise
    _event_of_row: Ints

    def explain(self, row: int) -> SequenceEvidence | None:
        """Return the evidence at one row of the frame; None for a second reading."""
        event = int(self._event_of_row[row])
        if event < 0:
            return None
        return self._model.explain(self._surprise, self._encoded.sequences, event)


@dataclass(frozen=True)
class CalibratedSequence:
    """Sequence model and calibration. Fitted: use `fit` or `from_arrays`."""

    columns: ClassVar[tuple[str, ...]] = SCAN_COLUMNS
    feature_schema: ClassVar[tuple[str, ...]] = SCAN_COLUMNS

    model: SequenceLSTM
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        scans: pl.DataFrame,
        *,
        parameters: TrainingParameters | None = None,
        seed: int = 42,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """Train on the first part of a window and calibrate on the rest.

        Parameters
        ----------
        scans
            Scan features of the window, with the rules' scores where there are any: scans that
            break a rule are neither learned nor calibrated on.
        parameters, seed, progress, checkpoint
            As in `SequenceLSTM.fit`.
        """
        cut = calibration_start(scans)
        learned = scans.filter(pl.col("event_time") < cut)
        vocabularies = scan_vocabularies(learned)
        encoded = encode_scans(learned, vocabularies, doubtful(learned), count=True)
        training, validation, rest = hold_out_lots(encoded, VALIDATION_SHARE, seed)
        model = SequenceLSTM.fit(
            SCAN_SPEC,
            vocabularies,
            training,
            validation=validation,
            counted=rest,
            parameters=parameters,
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        wrong = doubtful(scans)
        everything = encode_scans(scans, vocabularies, wrong)
        surprise = model.surprise(everything.sequences)
        raw = everything.to_frame_order(excess(surprise), scans.height).max(axis=1)
        held = (scans["event_time"] >= cut).to_numpy() & ~wrong
        return cls(model, Calibration.fit(raw[held], tail_floor=TAIL_FLOOR))

    def judge(self, scans: pl.DataFrame) -> SequenceVerdicts:
        """Score scans; the frame holds the look-back of their EPCs, in any order."""
        encoded = encode_scans(scans, self.model.vocabularies, doubtful(scans))
        surprise = self.model.surprise(encoded.sequences)
        raw = encoded.to_frame_order(excess(surprise), scans.height).max(axis=1)
        event_of_row = np.full(scans.height, -1, dtype=np.int64)
        judged = np.flatnonzero(encoded.rows >= 0)
        event_of_row[encoded.rows[judged]] = judged
        return SequenceVerdicts(
            raw=raw,
            p_values=self.calibration.p_value(raw),
            _model=self.model,
            _encoded=encoded,
            _surprise=surprise,
            _event_of_row=event_of_row,
        )

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that a p-value depends on."""
        return {
            **under("lstm/", self.model.to_arrays()),
            **under("lstm/calibration/", self.calibration.to_arrays()),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        return cls(
            SequenceLSTM.from_arrays(part_of(arrays, "lstm/")),
            Calibration.from_arrays(part_of(arrays, "lstm/calibration/")),
        )


def excess(surprise: Surprise) -> Floats:
    """(n, parts) nats of surprise beyond what the model expects on average.

    Of the time, all of it: its density is over log hours, where any delay might come instead of
    the usual one, and a drive that is known to the minute is not to surprise more than a stay.
    """
    expected = np.array(surprise.entropy, dtype=np.float64)
    expected[:, len(SCAN_SPEC.targets) :] = 0.0
    return np.asarray(surprise.surprise, dtype=np.float64) - expected


def doubtful(scans: pl.DataFrame) -> Bools:
    """(n,) scans that did not happen as reported, by the rules' scores in the frame."""
    wrong = np.zeros(scans.height, dtype=bool)
    for kind in WRONG_HISTORY:
        if f"{kind}_score" in scans.columns:
            wrong |= scans[f"{kind}_score"].cast(pl.Float64).to_numpy() >= FIRES_AT  # null: NaN
    return wrong


def calibration_start(scans: pl.DataFrame) -> datetime:
    """Return the time from which on the last fifth of the scans lies.

    Raises
    ------
    ValueError
        When there are fewer than ten scans, or all are of one instant.
    """
    times = scans["event_time"].sort()
    if len(times) < 10 or times[0] == times[-1]:
        raise ValueError(f"{len(times)} scans are too few to train and calibrate on")
    cut: datetime = times[int((1.0 - CALIBRATION_SHARE) * len(times))]
    return cut
