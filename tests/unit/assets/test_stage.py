"""What becomes of a stage's errors."""

from __future__ import annotations

import psycopg
import pytest
from dagster import Failure, RetryRequested

from anomaly_platform.assets.stage import RETRIES, as_failures
from anomaly_platform.kinds.training import StageError
from anomaly_platform.storage.postgres.database import DatabaseError


@pytest.mark.parametrize(
    "gone", [psycopg.OperationalError("closed"), DatabaseError("no"), ConnectionResetError()]
)
def test_a_stage_whose_server_went_away_is_tried_again(gone: Exception) -> None:
    with pytest.raises(RetryRequested) as caught, as_failures():
        raise gone
    assert caught.value.max_retries == RETRIES
    assert caught.value.__cause__ is gone


def test_a_stage_that_can_never_succeed_is_not() -> None:
    with pytest.raises(Failure, match="too few rows"), as_failures():
        raise StageError("too few rows")


@pytest.mark.parametrize("other", [ValueError("broken"), KeyboardInterrupt()])
def test_a_mistake_and_a_cancelled_run_are_what_they_are(other: BaseException) -> None:
    with pytest.raises(type(other)), as_failures():
        raise other
