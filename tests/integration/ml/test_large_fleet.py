"""Thousands of series: trained and scored in bounded memory, opened one at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.scoring.batch import FleetScorer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it"
    ),
]

SERIES, ROWS = 1_500, 120
#: Rows of each series that must wait for two thirds of the longest window, 24 rows.
FIRST = 16


def run(count: int, folder: Path) -> dict[str, int]:
    folder.mkdir()
    script = Path(__file__).parent / "fleet_process.py"
    done = subprocess.run(
        [sys.executable, str(script), str(count), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("fleets") / "large"
    return folder / "bundle", run(SERIES, folder)


def test_every_reading_of_a_large_fleet_is_scored_by_its_own_model(large):
    bundle, figures = large
    assert figures["trained"] == SERIES * (ROWS - FIRST)
    assert figures["scored"] == SERIES * ROWS  # the first ones by their place alone
    with open_bundle(bundle, verify="each") as opened:
        assert opened.series["slot"].n_unique() == SERIES


def test_memory_does_not_grow_with_the_fleet(large, tmp_path):
    bundle, figures = large
    small = run(100, tmp_path / "small")
    models = (bundle / "arrays.safetensors").stat().st_size
    assert models > 300e6
    assert figures["peak"] - small["peak"] < models / 4


def test_one_series_is_opened_without_reading_the_others(large):
    path, _ = large
    share = (path / "arrays.safetensors").stat().st_size / SERIES
    with open_bundle(path, verify="each") as bundle:
        before = bundle.bytes_read
        model = FleetScorer(bundle).load_model("host-00123", "metric-4")
        assert bundle.bytes_read - before < 1.5 * share
        # The header is read as well.
        assert bundle.bytes_read < 2 * share
    assert model is not None
    with open_bundle(path) as whole:
        same = FleetScorer(whole).load_model("host-00123", "metric-4")
        assert same is not None
        assert np.array_equal(same.detector.forest.threshold, model.detector.forest.threshold)
