"""Ops of upkeep and of the registry are tried again when the database went away, as assets are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from dagster import DagsterEventType

from anomaly_platform.assets import stage
from anomaly_platform.sensors.registry import build_registry_job
from anomaly_platform.sensors.upkeep import build_upkeep


class GonePlatform:
    """A platform whose parts that a job needs first say that the database is gone."""

    @property
    def streams(self) -> Any:
        raise psycopg.OperationalError("gone")

    settings = mlflow_mirror = streams


@pytest.mark.parametrize("op", ["look_after_models", "prune_what_is_old", "tell_mlflow"])
def test_an_op_whose_database_went_away_is_tried_again(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_RETRY_SECONDS", 0)
    job = build_registry_job() if op == "tell_mlflow" else build_upkeep()[0]
    done = job.execute_in_process(
        resources={"platform": GonePlatform()}, op_selection=[op], raise_on_error=False
    )
    assert not done.success
    tried = [one for one in done.all_events if one.event_type == DagsterEventType.STEP_UP_FOR_RETRY]
    assert len(tried) == stage.RETRIES
