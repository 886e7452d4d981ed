"""Whether a bundle of a metric stream may serve: its numbers, its series, and every model in it.

Digests show that a bundle is what was published. That it can be scored with is looked at here,
once, before it takes the place of another.
"""

from collections.abc import Collection
from typing import Any, Final

import polars as pl

from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.checking import BadModelError, as_bad_model, checked_number
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_model.model import SeriesModel

#: Far beyond what is of use; a longer look-back would take the machine's memory.
_LONGEST_WINDOW: Final = 100_000
_MOST_WINDOWS: Final = 64
_NAMES: Final = ("entity", "metric", "status")
_PLACES: Final = ("slot", "pool_index", "entity_index")


def feature_set_of(bundle: Bundle) -> MetricFeatureSet:
    """Return the features of a bundle whose manifest and table of series can be used.

    Raises
    ------
    BundleError
        When they cannot; the message names the bundle and what is wrong.
    ValueError
        When they are features that this code no longer computes.
    """
    manifest = bundle.manifest
    with as_bad_model(f"the bundle at {bundle.directory} cannot be used"):
        numbers = _object(manifest, "hyper_parameters")
        for name in ("alpha", "threshold"):
            checked_number(numbers, name, 0.0, 1.0, open_ends=True)
        definition = _object(_object(manifest, "feature_schema"), "definition")
        for name in ("windows", "lags"):
            _check_lengths(name, definition.get(name))
        checked_number(definition, "frequency_seconds", 1e-6, 1e8)
        _check_series(bundle)
    return MetricFeatureSet.from_definition(definition)


def check_models(bundle: Bundle, features: MetricFeatureSet, known: Collection[str] = ()) -> None:
    """Read every model and shared calibration of a bundle, and keep none.

    Parameters
    ----------
    bundle, features
        The bundle, and what `feature_set_of` returned of it.
    known
        Digests of models that have been read before.

    Raises
    ------
    BundleError
        When one of them is no model; the message names the bundle, the series and the fault.
    """
    rows = bundle.series.select("entity", "metric", "slot").drop_nulls("slot")
    for entity, metric, slot in rows.iter_rows():
        if bundle.slot_digests.get(slot) not in known:
            read_series(bundle, features, slot, f"{entity} {metric}")
    for kind in ("pool", "entity"):
        most = bundle.series[f"{kind}_index"].max()
        if most is None:
            continue
        with as_bad_model(f"the {kind} calibrations of the bundle at {bundle.directory}"):
            stacked = {
                name: bundle.shared(f"{kind}/{name}") for name in ("values", "exceeding", "tail")
            }
            for index in range(int(str(most)) + 1):
                Calibration.from_arrays({name: of[index] for name, of in stacked.items()})


def read_series(bundle: Bundle, features: MetricFeatureSet, slot: int, whose: str) -> SeriesModel:
    """Return the model of a series.

    Raises
    ------
    BundleError
        When it is not what was published, or no model.
    """
    with as_bad_model(f"the model of {whose} in the bundle at {bundle.directory}"):
        return SeriesModel.from_arrays(bundle.arrays(slot), features)


def _object(of: Any, name: str) -> dict[str, Any]:
    value = of.get(name)
    if not isinstance(value, dict):
        raise BadModelError(f"the manifest's {name} is no object")
    return value


def _check_lengths(name: str, lengths: Any) -> None:
    if (
        not isinstance(lengths, list)
        or not 1 <= len(lengths) <= _MOST_WINDOWS
        or not all(type(one) is int and 1 <= one <= _LONGEST_WINDOW for one in lengths)
    ):
        raise BadModelError(
            f"the manifest's {name} are {str(lengths)[:80]}, not whole numbers up to"
            f" {_LONGEST_WINDOW:,}"
        )


def _check_series(bundle: Bundle) -> None:
    series = bundle.series
    lacking = [name for name in (*_NAMES, *_PLACES, "threshold", "last_time") if name not in series]
    if lacking:
        raise BadModelError(f"the series lack the columns {', '.join(lacking)}")
    if not isinstance(series["last_time"].dtype, pl.Datetime):
        raise BadModelError("the column 'last_time' of the series is not of times")
    for name in _NAMES:
        if series[name].dtype != pl.String or series[name].null_count():
            raise BadModelError(f"the column {name!r} of the series is not of texts")
    for name in _PLACES:
        column = series[name].drop_nulls()
        if not (column.dtype.is_integer() or column.is_empty()):
            raise BadModelError(f"the column {name!r} of the series is not of whole numbers")
        if len(column) and int(column.min()) < 0:  # type: ignore[arg-type]
            raise BadModelError(f"the column {name!r} of the series is below 0")
    slots = series["slot"].drop_nulls()
    if len(slots) and int(slots.max()) >= int(bundle.manifest["slots"]):  # type: ignore[arg-type]
        raise BadModelError("a series has a slot that the bundle does not have")
    threshold = series["threshold"].drop_nulls()
    if not threshold.is_between(0.0, 1.0).all():
        raise BadModelError("a series has a threshold that is not in 0 to 1")
