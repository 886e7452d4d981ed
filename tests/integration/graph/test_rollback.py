"""Going back: the scores are the same bits as before, and the commands say what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from rich.console import Console

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.kinds.training import TrainingOrigin
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.partitions import referenced_paths
from anomaly_platform.streams import BARCODE, EMS
from tests.builders.commands import point_commands_at, run_command
from tests.builders.models import ALL_SCANS, path_of, publish, register
from tests.builders.platforms import Drop, Keep, Kept
from tests.builders.readings import readings
from tests.integration.metric_models import train

pytestmark = pytest.mark.integration

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        drop(EMS, "a.csv", pl.concat(readings(EMS, host, days=4) for host in ("host-1", "host-02")))
        run_stream(runtime, EMS, Console(quiet=True))

    return keep(fill)


def scored(platform: Platform) -> list[tuple[Any, ...]]:
    with platform.warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT event_id, score, is_anomaly, threshold, status, p_value, raw_score, "
            "entity_score, causes::text, is_call, entity_is_call, bundle_version "
            "FROM scored_ems ORDER BY event_id"
        ).fetchall()


@pytest.fixture
def anomaly(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command `anomaly` against the test's own platform."""
    point_commands_at(settings, monkeypatch)
    return partial(run_command, "models")


def test_scores_after_a_roll_back_are_those_before_the_promotion(
    served: Runtime, anomaly: Command
) -> None:
    platform = served.platform
    before = scored(platform)
    train(platform, EMS, window_days=2)
    promoted = anomaly("promote", "ems", "2", "--reason", "shorter window")
    assert promoted.exit_code == 0
    assert "ems: isolation_forest 2 is in service" in promoted.output
    run_stream(served, EMS, Console(quiet=True), train=False)
    between = scored(platform)
    assert {row[-1] for row in between} == {2}
    assert [row[1] for row in between] != [row[1] for row in before]
    back = anomaly("rollback", "ems", "--reason", "too many alarms")
    assert back.exit_code == 0
    assert "isolation_forest 1 is in service" in back.output
    run_stream(served, EMS, Console(quiet=True), train=False)
    assert scored(platform) == before
    shown = anomaly("show", "ems", "1").output
    for part in ("champion", "rolled back: too many alarms", "balanced_accuracy_median", "passed"):
        assert part in shown
    listed = anomaly("list", "ems").output
    assert "retired" in listed
    assert "champion" in listed


def test_the_commands_refuse_with_a_reason(served: Runtime, anomaly: Command) -> None:
    platform = served.platform
    version, _ = train(platform, EMS, window_days=2)
    platform.warehouse.bundles.reject("ems", DETECTOR, version, "too bad")
    why = ("--reason", "because")
    for arguments, message in (
        (("promote", "ems", "9", *why), "there is no version 9 of ems isolation_forest; there are"),
        (("promote", "ems", "2", *why), "rejected (too bad); --despite-gates puts it into service"),
        (("rollback", "ems", *why), "no earlier version of isolation_forest can serve again"),
        (("rollback", "ems", "--to", "2", *why), "never served"),
        (("delete", "ems", "1", *why), "serves and cannot be deleted"),
        (("show", "ems", "1", "--detector", "svm"), "has no detector 'svm'"),
        (("show", "oil", "1"), "there is no stream 'oil'"),
    ):
        result = anomaly(*arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
    assert anomaly("delete", "ems", "2", *why).exit_code == 0
    deleted = platform.warehouse.bundles.get("ems", DETECTOR, 2)
    assert deleted is not None
    assert deleted.status == "deleted"
    with platform.warehouse.transactions.begin() as connection:
        assert deleted.path not in referenced_paths(connection)
    again = anomaly("delete", "ems", "2", *why)
    assert (again.exit_code, "is deleted already" in " ".join(again.output.split())) == (2, True)
    assert "it is deleted" in " ".join(anomaly("promote", "ems", "2", *why).output.split())


def test_a_rejected_version_serves_when_somebody_overrules_its_gates(
    served: Runtime, anomaly: Command
) -> None:
    version, _ = train(served.platform, EMS, window_days=2)
    served.platform.warehouse.bundles.reject("ems", DETECTOR, version, "too bad")
    result = anomaly("promote", "ems", "2", "--reason", "we know better", "--despite-gates")
    assert result.exit_code == 0
    assert served.platform.warehouse.bundles.champions("ems") == {DETECTOR: 2}


def test_what_a_command_leads_to_is_said(served: Runtime, anomaly: Command) -> None:
    assert "first training" in anomaly("show", "ems", "1").output
    why = ("--reason", "because")
    assert "version 1 is in service already; nothing changes" in (
        anomaly("promote", "ems", "1", *why).output
    )
    for days, cause, reason in ((2, "quality", "quality: too low"), (3, "request", "")):
        origin = TrainingOrigin("run", cause, reason)
        version, _ = train(served.platform, EMS, window_days=days, origin=origin)
        assert anomaly("promote", "ems", str(version), *why).exit_code == 0
    shown = " ".join(anomaly("show", "ems", "2").output.split())
    assert "trained because of │ quality: too low" in shown
    assert len(served.platform.warehouse.bundles.history("ems", DETECTOR)) == 3
    said = anomaly("delete", "ems", "2", *why).output
    assert "A roll-back now leads to version 1." in said
    said = anomaly("delete", "ems", "1", *why).output
    assert "There is no version to roll back to any more." in said


def register_scans(platform: Platform, detector: str, members: dict[str, int] | None = None) -> int:
    """Enter a version of one of the models of scans, or of what combines such versions."""
    version = register(platform.warehouse, "barcode", detector, series=ALL_SCANS)
    named = {name: {"version": str(one)} for name, one in (members or {}).items()}
    path = path_of("barcode", detector, version)
    publish(platform.lake, path, {"manifest.json": json.dumps({"members": named})})
    return version


def test_a_set_of_models_comes_back_together(runtime: Runtime) -> None:
    platform = runtime.platform
    first = {"rules": register_scans(platform, "rules"), "svm": register_scans(platform, "svm")}
    one = register_scans(platform, "fusion", first)
    second = {"rules": register_scans(platform, "rules"), "svm": first["svm"]}
    two = register_scans(platform, "fusion", second)
    platform.model_sets.put_into_service(BARCODE, one, "first")
    platform.model_sets.put_into_service(BARCODE, two, "second")
    assert platform.warehouse.bundles.champions("barcode") == {**second, "fusion": two}
    assert platform.model_sets.roll_back(BARCODE, "back") == {**first, "fusion": one}
    assert platform.warehouse.bundles.champions("barcode") == {**first, "fusion": one}
