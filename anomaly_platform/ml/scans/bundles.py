"""Stores and opens the barcode detectors as bundles, one each and as a set.

What belongs here: the step between a fitted detector and a verified directory. A set of models is
named by its fusion's bundle, which pins the versions and digests of its members: opened together
they give the same bits for ever, whatever has been promoted since.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.ml.bundles.bundle import Bundle, open_bundle
from anomaly_platform.ml.bundles.checking import as_bad_model
from anomaly_platform.ml.bundles.format import BundleError, MissingFeaturesError
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.detectors.base import ScanDetector, part_of, under
from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.drift.distances import ReferenceDistribution
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.scans.fusion import LSTM, RULES, SVM, WATCHED, BarcodeFusion
from anomaly_platform.ml.scans.scoring import BarcodeModels

FUSION: Final = "fusion"
#: All scans train together: the one series of these bundles.
ENTITY, METRIC = "*", "scans"
_REFERENCE = "drift/"


DETECTORS: Final[Mapping[str, type[ScanDetector]]] = {
    RULES: RulesModel,
    LSTM: CalibratedSequence,
    SVM: CalibratedSvm,
    FUSION: BarcodeFusion,
}


@dataclass(frozen=True)
class Origin:
    """Where a bundle comes from, for its manifest."""

    stream: str
    version: int
    code_version: str
    features: ScanFeatureSet
    trained_at: datetime
    training_seconds: float
    window: tuple[datetime, datetime]


def write_detector(
    directory: Path,
    detector: str,
    arrays: Mapping[str, AnyArray],
    origin: Origin,
    *,
    metrics: Mapping[str, Any],
    hyper_parameters: Mapping[str, Any],
    data: Mapping[str, Any],
    members: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Publish a detector's bundle and return its digest.

    Parameters
    ----------
    metrics, hyper_parameters, data
        Of the manifest (requirement B9): quality, what it was told, counts of samples.
    members
        Of a fusion: version and digest of each detector that it was calibrated with.
    """
    kind = DETECTORS[detector]
    meaning = origin.features.schema()
    manifest = {
        "stream": origin.stream,
        "detector": detector,
        "version": str(origin.version),
        "code_version": origin.code_version,
        "trained_at": origin.trained_at.isoformat(),
        "training_seconds": round(origin.training_seconds, 3),
        "window": {
            "first_time": origin.window[0].isoformat(),
            "last_time": origin.window[1].isoformat(),
        },
        "feature_schema": {
            "version": origin.features.version,
            "definition": origin.features.definition(),
            "features": {name: meaning.get(name, {}) for name in kind.columns},
            "inputs": list(kind.feature_schema),
        },
        "hyper_parameters": dict(hyper_parameters),
        "data": dict(data),
        "metrics": dict(metrics),
        **({} if members is None else {"members": dict(members)}),
    }
    with BundleWriter(directory) as writer:
        slot = writer.append(arrays)
        series = pl.DataFrame({"entity": [ENTITY], "metric": [METRIC], "slot": [slot]})
        return writer.publish(manifest, series)


def open_detector(
    directory: Path,
    detector: str,
    *,
    available: tuple[str, ...],
    expected_digest: str | None = None,
) -> Bundle:
    """Open and verify a detector's bundle.

    Parameters
    ----------
    available
        Columns that scans have here.

    Raises
    ------
    MissingFeaturesError
        When it needs a column that scans lack here, or was trained without an input that the
        detector reads now; the message names them.
    BundleError
        When it is damaged, or another detector's.
    """
    bundle = open_bundle(directory, expected_features=available, expected_digest=expected_digest)
    found = bundle.manifest.get("detector")
    if found != detector:
        bundle.close()
        raise BundleError(f"the bundle at {directory} is a {found}, not a {detector}")
    lacking = [name for name in DETECTORS[detector].feature_schema if name not in bundle.inputs]
    if lacking:
        bundle.close()
        raise MissingFeaturesError(
            f"the {detector} bundle at {directory} was trained without {', '.join(lacking)}; "
            "train anew"
        )
    return bundle


def read_detector(
    directory: Path,
    detector: str,
    *,
    available: tuple[str, ...],
    expected_digest: str | None = None,
) -> ScanDetector:
    """Open a bundle and rebuild the detector in it; raises as `open_detector`."""
    with (
        open_detector(
            directory, detector, available=available, expected_digest=expected_digest
        ) as bundle,
        as_bad_model(f"the {detector} bundle at {directory} cannot be used"),
    ):
        return DETECTORS[detector].from_arrays(bundle.arrays(0))


def read_set(
    folder_of: Callable[[str, int], Path], version: int, *, available: tuple[str, ...]
) -> BarcodeModels:
    """Open a fusion and the members that it names.

    Parameters
    ----------
    folder_of
        From detector and version to the bundle's folder.
    version
        Of the fusion.
    available
        Columns that scans have here.

    Raises
    ------
    BundleError
        When any of them cannot be used, or is not the one that was calibrated with the others.
    """
    with (
        open_detector(folder_of(FUSION, version), FUSION, available=available) as bundle,
        as_bad_model(f"the fusion bundle at {bundle.directory} cannot be used"),
    ):
        fusion = BarcodeFusion.from_arrays(bundle.arrays(0))
        members = {
            name: (int(member["version"]), str(member["digest"]))
            for name, member in bundle.manifest["members"].items()
            if name in (RULES, LSTM, SVM)
        }
    parts = {
        name: read_detector(folder_of(name, of), name, available=available, expected_digest=digest)
        for name, (of, digest) in members.items()
    }
    rules, lstm, svm = parts.get(RULES), parts.get(LSTM), parts.get(SVM)
    if not isinstance(rules, RulesModel):
        raise BundleError(f"fusion {version} names no rules")
    return BarcodeModels(
        rules,
        lstm if isinstance(lstm, CalibratedSequence) else None,
        svm if isinstance(svm, CalibratedSvm) else None,
        fusion,
    )


def read_reference(directory: Path, *, available: tuple[str, ...]) -> ReferenceDistribution:
    """Return how the scans were distributed that a fusion was calibrated on."""
    with open_detector(directory, FUSION, available=available) as bundle:
        arrays = bundle.arrays(0)
    return ReferenceDistribution.from_arrays(part_of(arrays, _REFERENCE), WATCHED)


def fusion_arrays(fusion: BarcodeFusion, scans: pl.DataFrame) -> dict[str, AnyArray]:
    """Return a fusion's arrays with the distribution of the scans that it was made on."""
    reference = ReferenceDistribution.fit(watched_numbers(scans), WATCHED)
    return {**fusion.to_arrays(), **under(_REFERENCE, reference.to_arrays())}


def watched_numbers(scans: pl.DataFrame) -> Any:
    """(n, len(WATCHED)) the numbers whose drift is watched; NaN where there is none."""
    return scans.select(
        pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in WATCHED
    ).to_numpy()
