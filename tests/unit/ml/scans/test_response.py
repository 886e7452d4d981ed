from __future__ import annotations

import io
import json

import polars as pl
import pytest

from anomaly_platform.ml.scans.response import BarcodeResponse, Silence, write_response

SCORED = pl.DataFrame(
    {
        "event_id": ["a", "b", "c", "d"],
        "epc_code": ["E1", "E2", "E1", "E1"],
        "epcFake_score": [0.0, 100.0, 0.0, 0.0],
        "epcDup_score": [0.0] * 4,
        "locErr_score": [0.0, 0.0, 49.9, 0.0],
        "evtOrderErr_score": [0.0, 60.0, 0.0, 0.0],
        "jump_score": [0.0] * 4,
        "lstm_score": [10.0, 20.0, 80.0, 55.0],
        "svm_score": [5.0, 10.0, 70.0, 5.0],
        "ml_combined_score": [8.0, 15.0, 77.123, 30.0],
        "final_confidence": [4.0, 100.0, 75.5, 25.0],
        "severity": ["NONE", "HIGH", "MEDIUM", "LOW"],
        "ml_explanation": ["", "fake", "odd", ""],
        "location_interpolated": [False, False, True, False],
        "business_step_inferred": [False, True, False, False],
        "event_type_missing": [False] * 4,
        "partial_sequence": [False, True, False, False],
        "blind_rules": [None, "jump: no road", "locErr: nothing; jump: no road", None],
        "row_number": [1, 2, 3, 4],
    }
)


def written(chunks: list[pl.DataFrame], file_id: str | None = None) -> str:
    file = io.StringIO()
    write_response(file, chunks, file_id)
    return file.getvalue()


def test_the_answer_has_the_names_that_users_know() -> None:
    answer = json.loads(written([SCORED], "F1"))
    assert list(answer) == [
        "fileId",
        "EventHistory",
        "epcAnomalyStats",
        "fileAnomalyStats",
        "mlSummaryStats",
        "blindRules",
        "leftOut",
        "silentDetectors",
    ]
    assert answer["EventHistory"][1] == {
        "eventId": "b",
        "epcCode": "E2",
        "epcFake": True,
        "epcFakeScore": 100.0,
        "epcDup": False,
        "epcDupScore": 0.0,
        "locErr": False,
        "locErrScore": 0.0,
        "evtOrderErr": True,
        "evtOrderErrScore": 60.0,
        "jump": False,
        "jumpScore": 0.0,
        "lstmSequenceScore": 20.0,
        "svmOutlierScore": 10.0,
        "mlCombinedScore": 15.0,
        "finalConfidence": 100.0,
        "severity": "HIGH",
        "mlExplanation": "fake",
        "location_interpolated": False,
        "business_step_inferred": True,
        "event_type_missing": False,
        "partial_sequence": True,
        "blindRules": ["jump"],
    }
    assert answer["blindRules"] == [
        {"rule": "jump", "events": 2, "reason": "no road"},
        {"rule": "locErr", "events": 1, "reason": "nothing"},
    ]
    assert answer["epcAnomalyStats"][1] == {
        "epcCode": "E2",
        "totalEvents": 1,
        "epcFakeCount": 1,
        "epcDupCount": 0,
        "locErrCount": 0,
        "evtOrderErrCount": 1,
        "jumpCount": 0,
    }
    assert answer["fileAnomalyStats"]["totalEvents"] == 4
    assert answer["mlSummaryStats"] == {
        "totalMLAnomalies": 1,
        "lstmDetections": 2,
        "svmDetections": 1,
        "ruleOnlyDetections": 1,
        "mlOnlyDetections": 1,
        "averageConfidence": 87.75,
    }


def test_a_scan_that_only_its_habits_give_away_is_counted_as_learned() -> None:
    odd = SCORED[:1].with_columns(
        pl.lit(57.33).alias("final_confidence"), pl.lit("MEDIUM").alias("severity")
    )
    answer = BarcodeResponse.model_validate_json(written([odd]))
    stats = answer.ml_summary_stats
    assert (stats.total_ml_anomalies, stats.ml_only_detections) == (1, 1)
    assert (stats.lstm_detections, stats.svm_detections, stats.rule_only_detections) == (0, 0, 0)
    assert stats.average_confidence == 57.33


def test_the_final_confidence_of_a_scan_that_breaks_a_rule_counts_nothing_as_learned() -> None:
    answer = BarcodeResponse.model_validate_json(written([SCORED[1:2]]))
    stats = answer.ml_summary_stats
    assert (stats.total_ml_anomalies, stats.ml_only_detections) == (0, 0)
    assert stats.rule_only_detections == 1


@pytest.mark.parametrize("size", [1, 3, 10])
def test_in_chunks_the_answer_is_the_same(size: int) -> None:
    whole = BarcodeResponse.model_validate_json(written([SCORED], "F1"))
    chunks = [SCORED[i : i + size] for i in range(0, SCORED.height, size)]
    file = io.StringIO()
    totals = write_response(file, chunks, "F1")
    assert json.loads(file.getvalue()) == json.loads(whole.model_dump_json(by_alias=True))
    assert totals.file_anomaly_stats == whole.file_anomaly_stats


def test_ids_come_back_as_they_came_and_silence_is_told() -> None:
    file = io.StringIO()
    silence = Silence(left_out={"lstm": "late"}, rules={"epcFake": "no company"})
    write_response(file, [SCORED], 7, event_ids={1: 301, 3: 2.5, 4: "301"}, silence=silence)
    answer = json.loads(file.getvalue())
    assert answer["fileId"] == 7
    assert [one["eventId"] for one in answer["EventHistory"]] == [301, "b", 2.5, "301"]
    assert answer["leftOut"] == {"lstm": "late"}
    assert answer["blindRules"][0] == {"rule": "epcFake", "events": 4, "reason": "no company"}


def test_a_rule_that_was_left_out_is_false_with_no_score() -> None:
    bare = SCORED.with_columns(pl.lit(None, pl.Float64).alias("epcFake_score"))
    answer = BarcodeResponse.model_validate_json(written([bare]))
    assert {one.epc_fake_score for one in answer.event_history} == {None}
    assert not any(one.epc_fake for one in answer.event_history)
    assert answer.file_anomaly_stats.epc_fake_count == 0


def test_without_models_the_learned_scores_are_null() -> None:
    names = ("lstm_score", "svm_score", "ml_combined_score")
    rules = pl.max_horizontal(pl.col("^.*_score$").exclude(names))
    nothing = (pl.lit(None, pl.Float64).alias(name) for name in names)
    bare = SCORED.with_columns(rules.alias("final_confidence"), *nothing)
    answer = BarcodeResponse.model_validate_json(written([bare]))
    assert answer.event_history[0].lstm_sequence_score is None
    assert answer.ml_summary_stats.total_ml_anomalies == 0
    assert answer.ml_summary_stats.rule_only_detections == 1


def test_no_scans_are_an_answer_too() -> None:
    answer = BarcodeResponse.model_validate_json(written([SCORED[:0]]))
    assert answer.event_history == []
    assert answer.file_anomaly_stats.total_events == 0
    assert answer.ml_summary_stats.average_confidence == 0.0
    assert json.loads(written([]))["EventHistory"] == []
