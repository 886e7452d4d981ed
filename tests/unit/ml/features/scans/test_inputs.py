"""Reference data and what is learned from training scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from anomaly_platform.ml.features.scans.arrays import pack_texts, unpack_texts
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.features.scans.inputs import INPUTS, MIN_MAX, ROBUST, STANDARD, ScanInputs
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.simulator.supply_network import simulate_supply_network


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ScanReference:
    folder = tmp_path_factory.mktemp("reference")
    simulate_supply_network(events=200, days=1).world.write_reference(folder)
    return ScanReference.read(folder)


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    return ScanFeatureSet().compute(simulate_supply_network(events=8_000, days=10).scans)


def test_place_features_and_the_inferred_step(
    reference: ScanReference, features: pl.DataFrame
) -> None:
    placed = reference.place_features(features)
    assert placed.select(features.columns).equals(features)
    inferred = placed.filter("business_step_inferred")
    assert len(inferred) > 0
    assert inferred["business_step"].null_count() == len(inferred)
    assert set(inferred.filter(pl.col("location_type") == "Wholesaler")["step"]) <= {"W_Stock"}
    given = placed.filter(pl.col("business_step").is_not_null())
    assert given["step"].equals(given["business_step"], check_names=False)
    hub = placed.filter(pl.col("location_type") == "HUB").row(0, named=True)
    assert hub["location_hierarchy"] == 1
    assert 33 < hub["latitude"] < 39


def test_scales_by_group_are_those_of_the_training_data(
    reference: ScanReference, features: pl.DataFrame
) -> None:
    train, later = features.head(6_000), features.tail(2_000)
    inputs = ScanInputs.fit(train, reference)
    scaled = dict(zip(INPUTS, inputs.transform(train).T, strict=True))
    for name in STANDARD:
        assert abs(scaled[name].mean()) < 1e-9
        assert scaled[name].std() == pytest.approx(1.0, abs=1e-9) or scaled[name].std() == 0.0
    for name in MIN_MAX:
        assert scaled[name].min() == 0.0
        assert scaled[name].max() == 1.0
    for name in ROBUST:
        assert np.median(scaled[name]) == pytest.approx(0.0, abs=1e-9)
    alone = np.vstack([inputs.transform(later[i]) for i in range(50)])
    assert np.array_equal(alone, inputs.transform(later[:50]))
    assert np.isfinite(inputs.transform(later)).all()


def test_transition_frequencies_are_shares_of_the_place_left(
    reference: ScanReference, features: pl.DataFrame
) -> None:
    inputs = ScanInputs.fit(features, reference)
    total = inputs.transitions.group_by("from_place").agg(pl.col("frequency").sum())
    assert total["frequency"].to_list() == pytest.approx([1.0] * len(total))
    strange = features.head(1).with_columns(
        previous_location=pl.lit("nowhere"), sequence_length=pl.lit(2, pl.Int16)
    )
    assert inputs.enrich(strange)["location_transition_frequency"].to_list() == [0.0]


def test_arrays_bring_everything_back(reference: ScanReference, features: pl.DataFrame) -> None:
    inputs = ScanInputs.fit(features, reference)
    arrays = inputs.to_arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = ScanInputs.from_arrays(arrays)
    assert_frame_equal(again.enrich(features), inputs.enrich(features))
    assert np.array_equal(again.transform(features), inputs.transform(features))
    del arrays["inputs.scale"]
    with pytest.raises(ValueError, match=r"inputs\.scale"):
        ScanInputs.from_arrays(arrays)


def test_unknown_inputs_and_empty_training_are_refused(
    reference: ScanReference, features: pl.DataFrame
) -> None:
    with pytest.raises(ValueError, match="no such inputs"):
        ScanInputs.fit(features, reference).transform(features, ("altitude",))
    with pytest.raises(ValueError, match="no training scans"):
        ScanInputs.fit(features.clear(), reference)


def test_without_reference_places_are_unknown_and_inputs_finite(features: pl.DataFrame) -> None:
    inputs = ScanInputs.fit(features, ScanReference())
    assert inputs.enrich(features)["latitude"].null_count() == len(features)
    assert np.isfinite(inputs.transform(features)).all()
    again = ScanInputs.from_arrays(inputs.to_arrays())
    assert np.array_equal(again.transform(features), inputs.transform(features))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("locations", "location_id,latitude\nL1,3", "missing columns"),
        ("companies", "company\n1\n1", "unique"),
        ("tier_moves", "from_type,to_type,flow\nA,B,sideways", "flow"),
        ("vehicles", "vehicle,max_speed_kmh\nvan,fast", "vehicles"),
        ("vehicles", "vehicle,max_speed_kmh\nvan,-1", "positive"),
        (
            "locations",
            "location_id,scan_location,latitude,longitude,location_type,location_hierarchy\nL,h,300,0,HUB,1",
            "globe",
        ),
    ],
)
def test_wrong_reference_files_are_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        ScanReference.read(tmp_path)


def test_texts_of_any_alphabet_survive() -> None:
    texts = ["", "부산 매장", "a.b", "L001"]
    assert unpack_texts("t", pack_texts("t", texts)) == texts
    assert unpack_texts("t", pack_texts("t", [])) == []
