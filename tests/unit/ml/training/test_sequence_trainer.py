from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the sequence model trains with torch")

from safetensors.numpy import load_file

from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.training.sequence_trainer import (
    ConfigurationError,
    TrainerConfig,
    run,
)
from anomaly_platform.simulator.supply_network import simulate_supply_network

SMALL = {"hidden": 16, "span": 8, "mixtures": 2, "max_epochs": 3, "batch_events": 512}


class Killed(Exception):  # noqa: N818 - stands for a process that dies
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "features.parquet"
    scans = simulate_supply_network(events=6000, days=20, seed=3).scans
    ScanFeatureSet().compute(scans).write_parquet(path)
    return path


@pytest.fixture
def config(data: Path, tmp_path: Path) -> TrainerConfig:
    return TrainerConfig(
        data=str(data),
        output=str(tmp_path / "out"),
        checkpoint=str(tmp_path / "checkpoint"),
        parameters=SMALL,
    )


def test_it_reports_each_epoch_and_leaves_arrays_and_a_report(config: TrainerConfig) -> None:
    said: list[Mapping[str, object]] = []
    report = run(config, said.append)
    assert [line["event"] for line in said] == ["start", *["epoch"] * 3, "done"]
    assert json.dumps(said)
    output = Path(config.output)
    model = CalibratedSequence.from_arrays(load_file(output / "arrays.safetensors"))
    assert model.calibration.rows == report["calibration_scans"]
    assert json.loads((output / "report.json").read_text()) == report
    assert (output / "arrays.safetensors").stat().st_mode & 0o777 == 0o600
    assert not Path(config.checkpoint or "").exists()


def test_killed_and_started_again_it_ends_with_the_same_bits(
    config: TrainerConfig, tmp_path: Path
) -> None:
    def die(figures: Mapping[str, object]) -> None:
        if figures.get("epoch") == 2:
            raise Killed

    with pytest.raises(Killed):
        run(config, die)
    said: list[Mapping[str, object]] = []
    run(config, said.append)
    assert [line["epoch"] for line in said if line["event"] == "epoch"] == [3]
    whole = replace(config, output=str(tmp_path / "whole"), checkpoint=None)
    run(whole, lambda _: None)
    files = [Path(c.output) / "arrays.safetensors" for c in (config, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot read"),
        ("[]", "no JSON object"),
        ('{"data": "a"}', "output"),
        ('{"data": "a", "output": "b", "kind": "words"}', "kind"),
        ('{"data": "a", "output": "b", "parameters": {"speed": 1}}', "speed"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        TrainerConfig.read(tmp_path / "config.json")
