"""The graph as a whole: what is in it, and what loading it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dagster import Definitions
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy
from syrupy.assertion import SnapshotAssertion

from anomaly_platform import __version__
from anomaly_platform.definitions import build_defs
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import BUILT_IN

HEAVY = ("torch", "sklearn", "mlflow", "numba", "scipy", "matplotlib", "pandera", "pandas")


@pytest.fixture(scope="module")
def defs() -> Definitions:
    # Without the streams that whoever runs the tests may have described in files.
    return build_defs(platform=Platform(get_settings(), BUILT_IN))


def test_graph_is_what_was_reviewed(defs: Definitions, snapshot: SnapshotAssertion) -> None:
    graph = defs.resolve_asset_graph()
    described = {
        spec.key.to_user_string(): {
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "partitioned": spec.partitions_def is not None,
            "table": spec.metadata["dagster/table_name"],
            "code": "platform" if spec.code_version == __version__ else spec.code_version,
            "freshness": _as_text(spec.freshness_policy),
            "automation": _as_text(spec.automation_condition),
            "pool": graph.get(spec.key).assets_def.op.pool,
            "source": [
                Path(one.file_path).name
                for one in spec.metadata["dagster/code_references"].code_references
            ],
        }
        for spec in defs.resolve_all_asset_specs()
    }
    assert described == snapshot


def _as_text(policy: object) -> str | None:
    """Return what a freshness policy or an automation condition says, in a line."""
    if isinstance(policy, TimeWindowFreshnessPolicy):
        warn = policy.warn_window
        return f"warns {warn and warn.to_timedelta()}, fails {policy.fail_window.to_timedelta()}"
    return None if policy is None else str(getattr(policy, "label", None) or policy)


def test_jobs_and_schedules_are_what_was_reviewed(
    defs: Definitions, snapshot: SnapshotAssertion
) -> None:
    repository = defs.get_repository_def()
    jobs = {
        job.name: sorted(node.name for node in job.graph.nodes)
        if job.asset_layer is None or not job.asset_layer.executable_asset_keys
        else "assets"
        for job in repository.get_all_jobs()
    }
    schedules = {
        one.name: (
            one.cron_schedule,
            one.execution_timezone,
            one.job_name,
            one.default_status.value,
        )
        for one in repository.schedule_defs
    }
    assert {"jobs": jobs, "schedules": schedules} == snapshot


def test_checks_and_sensors_are_what_was_reviewed(
    defs: Definitions, snapshot: SnapshotAssertion
) -> None:
    graph = defs.resolve_asset_graph()
    keys = graph.asset_check_keys
    checks = sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in keys)
    sensors = sorted(sensor.name for sensor in defs.sensors or [])
    assert {"checks": checks, "sensors": sensors} == snapshot


def test_every_stage_of_every_stream_is_described_and_owned(defs: Definitions) -> None:
    specs = list(defs.resolve_all_asset_specs())
    assert {spec.group_name for spec in specs} == {stream.name for stream in BUILT_IN}
    assert all(spec.description and spec.owners and spec.kinds for spec in specs)


def test_each_build_is_fresh() -> None:
    assert build_defs() is not build_defs()


def test_resources_can_be_overridden() -> None:
    marker = object()
    assert build_defs(resource_overrides={"platform": marker}).resources["platform"] is marker


@pytest.mark.parametrize(
    ("loading", "unneeded"),
    [
        ("import anomaly_platform.definitions as d; d.defs()", HEAVY),
        # Each worker of the API would hold it.
        ("import anomaly_platform.console.app", ("dagster", "mlflow", "sklearn", "torch")),
    ],
    ids=["graph", "console"],
)
def test_loading_imports_nothing_heavy(loading: str, unneeded: tuple[str, ...]) -> None:
    program = f"import sys; {loading}; print([m for m in {unneeded!r} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
