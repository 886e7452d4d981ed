"""Scans: B1's features, B8's response, and the same models as the platform's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from anomaly_platform import ScanDetector
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.scans.learning import learn_scans
from anomaly_platform.ml.scans.response import BarcodeResponse
from anomaly_platform.simulator.supply_network import SupplyNetworkData, simulate_supply_network


@pytest.fixture(scope="module")
def network() -> SupplyNetworkData:
    return simulate_supply_network(events=2_600, days=12, seed=3, anomaly_rate=0.1)


@pytest.fixture(scope="module")
def learned(network: SupplyNetworkData, tmp_path_factory: pytest.TempPathFactory) -> ScanDetector:
    folder = tmp_path_factory.mktemp("network")
    network.write(folder)
    return ScanDetector(folder / "reference", max_epochs=2).fit(network.scans)


def test_learned_detectors_say_what_the_platforms_say(
    network: SupplyNetworkData, learned: ScanDetector, tmp_path: Path
) -> None:
    features = ScanFeatureSet().compute(network.scans)
    models = learn_scans(features, learned.models_.rules.reference, seed=42, most_epochs=2)
    expected = models.score(features).sort("event_time", "event_id")["final_confidence"]
    scores = learned.score_samples(network.scans).to_numpy()
    np.testing.assert_array_equal(scores, -expected.to_numpy() / 100)
    assert learned.models_.lstm is not None
    learned.save(tmp_path / "bundle")
    again = ScanDetector.load(tmp_path / "bundle")
    assert again.models_.svm is not None
    assert again.score_samples(network.scans).to_numpy().tobytes() == scores.tobytes()
    wrong = network.scans["label"].to_numpy()
    assert scores[wrong].mean() < scores[~wrong].mean()


def test_dicts_are_answered_in_the_form_of_the_api(learned: ScanDetector) -> None:
    code = "001.8804823.0000003.000001.20241201.000000001"
    event = {"eventId": "e1", "epcCode": code, "eventTime": "2025-03-20 10:00:00", "fileId": "F"}
    events = [{**event, "eventId": "z", "epcCode": "fake"}, event]
    answer = learned.detect({"data": events})
    BarcodeResponse.model_validate_json(json.dumps(answer))
    assert answer["fileId"] == "F"
    assert [verdict["eventId"] for verdict in answer["EventHistory"]] == ["z", "e1"]
    assert answer["EventHistory"][0]["epcFake"]
    assert answer["fileAnomalyStats"]["totalEvents"] == 2
    assert learned.detect_batch([events, pd.DataFrame(events)]) == [answer, answer]
    assert learned.detect(events, "G")["fileId"] == "G"
    assert learned.predict(events).tolist()[0] == -1


def test_features_come_in_the_form_of_the_events(
    network: SupplyNetworkData, learned: ScanDetector
) -> None:
    scans = network.scans[:50]
    ours = learned.transform(scans)
    wanted = {"hour", "sequence_length", "latitude", "location_transition_frequency", "epc_lot"}
    assert wanted < set(ours.columns)
    assert ours["event_id"].equals(scans["event_id"])
    theirs = learned.transform(scans.to_pandas().set_axis(range(50, 100), axis=0))
    assert isinstance(theirs, pd.DataFrame)
    assert theirs.index.tolist() == list(range(50, 100))
    assert learned.transform(scans.to_dicts()) == ours.to_dicts()


def test_few_scans_are_judged_by_the_rules_alone(fitted: Any) -> None:
    case, _ = fitted("scan")
    with pytest.warns(UserWarning, match="2 scans teach nothing"):
        ScanDetector().fit(case.train)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([{"event_time": "2025-01-01 10:00:00"}], "epc_code is missing"),
        ([{"epc_code": "a", "event_time": None}], "event_time is missing"),
        ([{"epc_code": "a", "event_time": "yesterday"}], "row 0 is 'yesterday'.*ISO 8601"),
        ([{"epc_code": "a", "event_time": 7}], "Int64, not a time"),
        ([], "no events"),
        (np.ones((3, 2)), "events as dicts"),
        ({"events": []}, "events as dicts"),
    ],
)
def test_wrong_events_are_refused_by_name(events: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ScanDetector().fit(events)


def test_a_reference_that_is_not_there_is_refused() -> None:
    event = {"epc_code": "a", "event_time": "2025-01-01 10:00:00"}
    with pytest.raises(ValueError, match="reference: there is no folder nowhere"):
        ScanDetector("nowhere").fit([event])


def test_times_with_a_zone_are_read_in_utc() -> None:
    rows = [{"epc_code": "a", "event_time": "2025-01-01T10:00:00+02:00"}]
    with pytest.warns(UserWarning, match="1 scans teach nothing"):
        detector = ScanDetector().fit(pl.DataFrame(rows))
    assert detector.transform(rows)[0]["hour"] == 8
