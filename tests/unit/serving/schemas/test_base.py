"""Kinds of values that the API takes."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from anomaly_platform.serving.problems import invalid_body
from anomaly_platform.serving.schemas.anomalies import DetectRequest
from anomaly_platform.serving.schemas.base import ApiModel, Time
from anomaly_platform.serving.schemas.feedback import FeedbackRequest
from anomaly_platform.serving.schemas.keys import NewKey
from anomaly_platform.serving.schemas.predict import PredictRequest
from anomaly_platform.serving.schemas.scans import ScanDetectRequest
from anomaly_platform.serving.schemas.training import RetrainRequest, TrainManyRequest


def test_a_time_is_iso_8601_and_utc_by_default() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    times = TypeAdapter(Time)
    assert times.validate_python("2026-01-31T12:00:00") == noon
    assert times.validate_python("2026-01-31T13:00:00+01:00") == noon


@pytest.mark.parametrize("number", ["1", "1e3", "-5", " 7 ", 1, 1.5])
def test_a_number_is_no_time(number: object) -> None:
    with pytest.raises(ValidationError, match="ISO 8601"):
        TypeAdapter(Time).validate_python(number)


@pytest.mark.parametrize("said", [True, [1], {"id": 1}, math.inf])
def test_what_is_no_id_is_one_problem_that_names_the_member_and_what_to_write(said: Any) -> None:
    scans = {"data": [{"eventId": said, "location_id": [said]}]}
    with pytest.raises(ValidationError) as refused:
        ScanDetectRequest.model_validate({**scans, "fileId": said})
    problem = "write a text of at most 4096 characters or a number"
    assert invalid_body(refused.value).extra["errors"] == [
        {"location": f"body.{place}", "message": problem}
        for place in ("data.0.eventId", "data.0.location_id", "fileId")
    ]
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate({"device_id": said, "metric_name": "t", "value": 1.0})
    assert invalid_body(refused.value).extra["errors"] == [
        {"location": "body.device_id", "message": "write a name or a whole number"}
    ]


@pytest.mark.parametrize("said", [True, "30"])
@pytest.mark.parametrize(
    ("model", "name", "others"),
    [
        (TrainManyRequest, "hours", {}),
        (RetrainRequest, "training_window", {}),
        (NewKey, "predictions_per_minute", {"name": "x", "scopes": ["ml:read"]}),
        (DetectRequest, "hours", {"asset_id": "host-001"}),
    ],
)
def test_a_number_in_a_body_is_no_text_and_no_truth_value(
    model: type[ApiModel], name: str, others: dict[str, Any], said: object
) -> None:
    with pytest.raises(ValidationError, match="number"):
        model.model_validate({**others, name: said})
    # JSON has one kind of number.
    assert getattr(model.model_validate({**others, name: 30.0}), name) == 30


@pytest.mark.parametrize("said", ["yes", "true", 1, 0.0])
def test_a_truth_value_in_a_body_is_no_word_and_no_number(said: object) -> None:
    about = {"detection_id": "3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b"}
    with pytest.raises(ValidationError, match="boolean"):
        FeedbackRequest.model_validate({**about, "correct": said})
    assert FeedbackRequest.model_validate({**about, "correct": True}).correct
