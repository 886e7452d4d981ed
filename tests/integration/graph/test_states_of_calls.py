"""Training one series changes no call of the others: they go on from what the parent has left."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.scoring.calls import CALL_SIZE, first_state
from anomaly_platform.ml.series_model.visited import nothing_visited
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.realtime.call_states import CallsFound
from anomaly_platform.storage.lake.call_states import CallStateFiles
from anomaly_platform.streams import EMS
from anomaly_platform.streams.staleness import RESCORED_DAYS, stale_scored_days
from tests.builders.platforms import Drop, Keep, Kept
from tests.builders.readings import PER_DAY, daily_cycle, file_of, readings
from tests.integration.metric_models import train

pytestmark = pytest.mark.integration

ASKED, BESIDE, ELSEWHERE = ("host-1", "cpu"), ("host-1", "disk"), ("host-02", "cpu")
TRAINED, DAYS = 4, 14
#: The first day that a promotion scores again, and what comes too late for the day before it.
FIRST = DAYS - RESCORED_DAYS
LATE = (FIRST - 1) * PER_DAY + 100


def moved(entity: str, metric: str, seed: int) -> pl.DataFrame:
    """Return days after the training: at a level never visited from the second one on."""
    first = TRAINED * PER_DAY
    values = daily_cycle((DAYS - TRAINED) * PER_DAY, seed, first=first)
    values[PER_DAY:] += 60.0
    return file_of(EMS, entity, metric, values, first=first)


@pytest.fixture(scope="module")
def trained(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        every = ASKED, BESIDE, ELSEWHERE
        drop(EMS, "history.csv", pl.concat([readings(EMS, *one, days=TRAINED) for one in every]))
        run_stream(runtime, EMS, Console(quiet=True))
        later = pl.concat([moved(*one, seed) for seed, one in enumerate(every)])
        late = file_of(EMS, *ELSEWHERE, np.zeros(1), first=LATE)
        drop(EMS, "later.csv", later.join(late, on=[*late.columns[:3]], how="anti"))
        run_stream(runtime, EMS, Console(quiet=True), train=False)

    return keep(fill)


def scored(platform: Platform, *series: tuple[str, str]) -> list[tuple[Any, ...]]:
    with platform.warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT event_id, score, is_anomaly, p_value, entity_score, is_call, entity_is_call, "
            "reason FROM scored_ems WHERE (entity, metric) IN "
            "(SELECT * FROM unnest(%s::text[], %s::text[])) ORDER BY event_id",
            ([entity for entity, _ in series], [metric for _, metric in series]),
        ).fetchall()


def versions(platform: Platform) -> list[int | None]:
    return [day.scored_version for day in platform.state_of(EMS).days]


def promote_one_trained(platform: Platform) -> None:
    version, _ = train(platform, EMS, series=[ASKED])
    platform.warehouse.bundles.promote_set("ems", {DETECTOR: version}, "one trained anew")


def calls_now(platform: Platform, version: int) -> CallsFound:
    def first(key: tuple[str, str]) -> Floats:
        return first_state(nothing_visited())

    return platform.series_states.calls(
        *(EMS, version, platform.alpha_of(EMS), [ASKED, BESIDE, ELSEWHERE]), first
    )


def test_the_calls_of_series_that_were_not_trained_stay_as_they_were(served: Runtime) -> None:
    platform = served.platform
    elsewhere, beside = scored(platform, ELSEWHERE), scored(platform, BESIDE)
    everything = scored(platform, ASKED, BESIDE, ELSEWHERE)
    assert any("days before" in row[-1] for row in elsewhere if row[-1])
    promote_one_trained(platform)
    run_stream(served, EMS, Console(quiet=True), train=False)
    assert versions(platform) == [1] * FIRST + [2] * RESCORED_DAYS
    assert scored(platform, ELSEWHERE) == elsewhere
    # Its host is another one by now.
    assert [row[5] for row in scored(platform, BESIDE)] == [row[5] for row in beside]
    platform.model_sets.roll_back(EMS, "back")
    run_stream(served, EMS, Console(quiet=True), train=False)
    assert versions(platform) == [1] * DAYS
    assert scored(platform, ASKED, BESIDE, ELSEWHERE) == everything


def test_right_after_a_promotion_readings_are_told_of_at_the_level_of_before(
    served: Runtime,
) -> None:
    platform = served.platform
    before = calls_now(platform, 1)
    promote_one_trained(platform)
    after = calls_now(platform, 2)
    assert after.begins
    for key in (BESIDE, ELSEWHERE):
        assert after.states[key].tolist() == before.states[key].tolist()
        assert after.states[key].shape == (CALL_SIZE,)
    assert after.states[ASKED].tolist() == first_state(nothing_visited()).tolist()
    assert after.states[ASKED].tolist() != before.states[ASKED].tolist()


def test_late_rows_of_a_day_that_the_parent_scored_reach_the_days_of_the_child(
    served: Runtime, drop: Drop
) -> None:
    platform = served.platform
    promote_one_trained(platform)
    run_stream(served, EMS, Console(quiet=True), train=False)
    before = platform.state_of(EMS).days
    assert before[FIRST].calls_before == before[FIRST - 1].calls
    drop(EMS, "late.csv", file_of(EMS, *ELSEWHERE, np.array([400.0]), first=LATE))
    run_stream(served, EMS, Console(quiet=True), train=False)
    state = platform.state_of(EMS)
    assert stale_scored_days(state, EMS.lookback_days) == []
    assert versions(platform)[FIRST - 1 :] == [2] * (RESCORED_DAYS + 1)
    after = state.days
    assert after[FIRST - 1].calls_before == before[FIRST - 2].calls
    assert [day.calls_before for day in after[FIRST:]] == [
        day.calls for day in after[FIRST - 1 : -1]
    ]
    warehouse = platform.warehouse
    files = CallStateFiles(platform.lake, warehouse.partitions, warehouse.bundles, "ems", 2)
    left = files.left(before=after[FIRST - 1].day.isoformat())
    assert left.own is None
    assert files.begun_anew(left) == {ASKED}
    assert set(files.read(left).series) == {BESIDE, ELSEWHERE}
    assert set(files.read(left).hosts) == {ELSEWHERE[0]}
    assert files.left(before=after[FIRST].day.isoformat()).ancestor is None
