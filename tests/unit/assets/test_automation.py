"""What Dagster does by itself: judge models that somebody trains, say which stage is overdue."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    evaluate_automation_conditions,
)
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._time import get_current_datetime

from anomaly_platform.definitions import build_defs
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import BUILT_IN, IIOT

CHAMPION = AssetKey(IIOT.key("champion"))
MODEL = AssetKey(IIOT.key("isolation_forest_model"))


@pytest.fixture(scope="module")
def defs() -> Definitions:
    return build_defs(platform=Platform(get_settings(overdue_hours=24), BUILT_IN))


def materialize(instance: DagsterInstance, key: AssetKey) -> None:
    instance.report_runless_asset_event(AssetMaterialization(key))


def test_a_model_that_somebody_trains_is_judged_once(defs: Definitions) -> None:
    with DagsterInstance.ephemeral() as instance:
        materialize(instance, MODEL)
        materialize(instance, CHAMPION)
        quiet = evaluate_automation_conditions(defs, instance)
        assert quiet.total_requested == 0
        materialize(instance, MODEL)
        asked = evaluate_automation_conditions(defs, instance, cursor=quiet.cursor)
        assert asked.total_requested == 1
        assert asked.get_num_requested(CHAMPION) == 1
        again = evaluate_automation_conditions(defs, instance, cursor=asked.cursor)
        assert again.total_requested == 0


@pytest.mark.parametrize(
    ("hours", "state"),
    [
        (23, FreshnessState.PASS),
        (25, FreshnessState.WARN),
        (49, FreshnessState.FAIL),
    ],
)
def test_a_stage_without_new_data_is_shown_overdue(
    defs: Definitions, hours: int, state: FreshnessState
) -> None:
    key = AssetKey(IIOT.key("raw_events"))
    with DagsterInstance.ephemeral() as instance:
        materialize(instance, key)
        assert shown(defs, instance, key, get_current_datetime() + timedelta(hours=hours)) == state


def test_a_model_is_overdue_beyond_the_age_at_which_it_is_trained_again(
    defs: Definitions,
) -> None:
    age = IIOT.retraining.max_age
    with DagsterInstance.ephemeral() as instance:
        materialize(instance, MODEL)
        now = get_current_datetime()
        assert shown(defs, instance, MODEL, now + age / 2) == FreshnessState.PASS
        late = timedelta(hours=25)
        assert shown(defs, instance, MODEL, now + age + late) == FreshnessState.FAIL


def shown(
    defs: Definitions, instance: DagsterInstance, key: AssetKey, now: datetime
) -> FreshnessState:
    """Return what Dagster's pages show of an asset at a time."""
    node = defs.resolve_asset_graph().get(key)
    with freeze_time(now):
        return asyncio.run(
            TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(
                LoadingContextForTest(instance), node
            )
        )
