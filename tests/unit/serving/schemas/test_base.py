"""Kinds of values that the API takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from anomaly_platform.serving.schemas.base import Time


def test_a_time_is_iso_8601_and_utc_by_default() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    times = TypeAdapter(Time)
    assert times.validate_python("2026-01-31T12:00:00") == noon
    assert times.validate_python("2026-01-31T13:00:00+01:00") == noon


@pytest.mark.parametrize("number", ["1", "1e3", "-5", " 7 ", 1, 1.5])
def test_a_number_is_no_time(number: object) -> None:
    with pytest.raises(ValidationError, match="ISO 8601"):
        TypeAdapter(Time).validate_python(number)
