"""Failed runs and failed checks become alerts by real ticks, and end when the work succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    DagsterRun,
    Definitions,
    SensorDefinition,
    asset,
    asset_check,
    build_sensor_context,
)

from anomaly_platform.platform import Platform
from anomaly_platform.sensors.alerts import build_alert_sensors, run_alert, work_of
from anomaly_platform.sensors.work import work_tags
from anomaly_platform.settings import Settings

pytestmark = pytest.mark.integration

SECRET = "hunter2-in-an-error"


class World:
    """A graph whose asset and check fail on demand, and sensors that tick when told to."""

    def __init__(self, platform: Platform, instance: DagsterInstance) -> None:
        self.platform = platform
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.error: str | None = None
        self.passes = True
        world = self

        @asset(key=["ems", "features"])
        def features() -> None:
            if world.error is not None:
                raise ValueError(world.error)

        @asset_check(asset=features, name="rows_complete")
        def rows_complete() -> AssetCheckResult:
            return AssetCheckResult(
                passed=world.passes,
                severity=AssetCheckSeverity.ERROR,
                description="3 rows are missing",
                metadata={"missing": 3},
            )

        self.definitions = Definitions(
            assets=[features],
            asset_checks=[rows_complete],
            sensors=build_alert_sensors(),
            resources={"platform": platform},
        )

    def run(self, work: str = "refresh") -> bool:
        whole = self.definitions.resolve_implicit_global_asset_job_def()
        job = whole.get_subset(asset_selection={AssetKey(["ems", "features"])})
        tags = work_tags("ems", work, "new data")
        result = job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)
        return bool(result.success)

    def tick(self) -> None:
        repository = self.definitions.get_repository_def()
        for sensor in self.definitions.sensors or []:
            assert isinstance(sensor, SensorDefinition)
            context = build_sensor_context(
                instance=self.instance,
                cursor=self.cursors.get(sensor.name),
                repository_def=repository,
                sensor_name=sensor.name,
                resources={"platform": self.platform},
            )
            result = sensor.evaluate_tick(context)
            self.cursors[sensor.name] = result.cursor or self.cursors.get(sensor.name)

    def told(self) -> list[tuple[Any, ...]]:
        with self.platform.warehouse.transactions.begin() as connection:
            return connection.execute(
                "SELECT kind, state, severity, fingerprint, body FROM notifications ORDER BY seq"
            ).fetchall()

    def alerts(self) -> dict[str, tuple[str, int]]:
        with self.platform.warehouse.transactions.begin() as connection:
            rows = connection.execute(
                "SELECT fingerprint, state, occurrences FROM alerts"
            ).fetchall()
        return {name: (state, times) for name, state, times in rows}


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    platform = Platform(settings)
    with DagsterInstance.ephemeral() as instance:
        made = World(platform, instance)
        # Cursors begin at the present.
        made.tick()
        yield made
    platform.close()


def test_a_failed_run_is_told_once_and_ends_with_the_next_success(world: World) -> None:
    world.error = f"no space left; password={SECRET}\nand a second line"
    assert not world.run()
    world.tick()
    assert not world.run()
    world.tick()
    assert world.alerts() == {"run_failed/ems/refresh": ("open", 2)}
    ((kind, state, severity, _, body),) = world.told()
    assert (kind, state, severity) == ("run_failed", "firing", "warning")
    assert body["details"]["errors"]["ems__features"].startswith("ValueError: no space left")
    title = "A run of ems (refresh) failed at ems/features: ValueError: no space left; password=***"
    with world.platform.warehouse.transactions.begin() as connection:
        assert connection.execute("SELECT title FROM notifications").fetchall() == [(title,)]
    assert SECRET not in str(body)
    world.error = None
    assert world.run("ingest")
    world.tick()
    assert world.alerts()["run_failed/ems/refresh"][0] == "open", "that was other work"
    assert world.run()
    world.tick()
    assert [state for _, state, *_ in world.told()] == ["firing", "resolved"]


def test_a_tick_that_happens_twice_counts_once(world: World) -> None:
    world.error = "broken"
    world.passes = False
    world.run()
    before = dict(world.cursors)
    world.tick()
    once = world.alerts()
    world.cursors = before
    world.tick()
    assert world.alerts() == once
    assert len(world.told()) == len(once) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("The run's process was killed; it did not finish.", "The run's process was killed"),
        ("", "no reason is known"),
    ],
)
def test_a_run_that_failed_at_no_step_says_why(message: str, said: str) -> None:
    alert = run_alert(DagsterRun("job", tags=work_tags("ems", "refresh", "new data")), {}, message)
    assert alert.title.startswith(f"A run of ems (refresh) failed at the run itself: {said}")


def test_a_run_by_hand_is_named_after_what_it_materializes() -> None:
    def run(*keys: str, **tags: str) -> DagsterRun:
        chosen = frozenset(AssetKey(key.split("/")) for key in keys) or None
        return DagsterRun("__ASSET_JOB", asset_selection=chosen, tags=tags)

    by_hand = "__ASSET_JOB by hand"
    assert work_of(run("ems/features", "ems/champion")) == ("ems", by_hand)
    assert work_of(run("ems/features", "iiot/features")) == ("platform", by_hand)
    assert work_of(run()) == ("platform", by_hand)
    tagged = run("ems/features", **work_tags("ems", "train", "drift"))
    assert work_of(tagged) == ("ems", "train")


def test_a_failed_check_alerts_although_the_run_is_green(world: World) -> None:
    world.passes = False
    assert world.run()
    world.tick()
    ((kind, state, severity, name, body),) = world.told()
    assert (kind, state, severity) == ("check_failed", "firing", "critical")
    assert name == "check_failed/ems/features/rows_complete"
    assert body["details"]["said"] == "3 rows are missing"
    assert body["details"]["missing"] == 3
    world.passes = True
    assert world.run()
    world.tick()
    assert [state for _, state, *_ in world.told()] == ["firing", "resolved"]


def test_history_from_before_the_first_tick_is_no_news(settings: Settings) -> None:
    platform = Platform(settings)
    with DagsterInstance.ephemeral() as instance:
        world = World(platform, instance)
        world.passes = False
        world.run()
        world.tick()
        world.tick()
        assert world.told() == []
    platform.close()
