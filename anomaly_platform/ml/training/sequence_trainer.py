"""Trains the sequence model in a process: one configuration in, arrays and a report out.

`run` reports through a callback: `start`, an `epoch` after each epoch (loss, validation loss,
events per second), and `done`. The process around it is ``runtime.trainer_process``.

After each epoch a checkpoint is written. A process that is killed loses the epoch it was in: the
same configuration started again goes on from the checkpoint and ends with the same bits.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from anomaly_platform.ml.bundles.private_files import write_private
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters

Progress = Callable[[Mapping[str, object]], None]

ARRAYS = "arrays.safetensors"
REPORT = "report.json"


class ConfigurationError(ValueError):
    """A training configuration that cannot be used; the message says why."""


@dataclass(frozen=True)
class TrainerConfig:
    """What to train on, and where to put the result.

    Parameters
    ----------
    data
        Parquet file: scan features of the window with the rules' scores.
    output
        Folder that receives `arrays.safetensors` and `report.json`; made if need be.
    checkpoint
        Folder of the state between epochs, removed after a training that ended well; None keeps
        no state.
    seed, parameters
        As in `SequenceLSTM.fit`; parameters by name, defaults for the others.
    """

    data: str
    output: str
    checkpoint: str | None = None
    seed: int = 42
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {part.name for part in fields(TrainingParameters)}
        if unknown := sorted(set(self.parameters) - known):
            raise ConfigurationError(f"no such parameters: {', '.join(unknown)}")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a JSON file.

        Raises
        ------
        ConfigurationError
            When it is no JSON object, or a key is unknown or missing.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot read {path.name}: {error}") from error
        if not isinstance(raw, dict):
            raise ConfigurationError(f"{path.name} holds no JSON object")
        try:
            return cls(**raw)
        except TypeError as error:
            raise ConfigurationError(f"{path.name}: {error}") from error

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def run(config: TrainerConfig, progress: Progress) -> dict[str, Any]:
    """Train, write the result, and return the report.

    Parameters
    ----------
    progress
        Called with `start`, each `epoch`, and `done`.
    """
    progress({"event": "start", "seed": config.seed, "pid": os.getpid()})
    arrays, report = _train(config, progress)
    from safetensors.numpy import save

    output = Path(config.output)
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(output / ARRAYS, save(arrays))
    write_private(output / REPORT, json.dumps(report).encode())
    if config.checkpoint is not None:
        shutil.rmtree(config.checkpoint, ignore_errors=True)
    progress({"event": "done", **{k: v for k, v in report.items() if k != "history"}})
    return report


def _train(config: TrainerConfig, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    import polars as pl

    from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence

    scans = pl.read_parquet(config.data)
    parameters = TrainingParameters(**config.parameters)
    fitted = CalibratedSequence.fit(
        scans,
        parameters=parameters,
        seed=config.seed,
        progress=progress,
        checkpoint=None if config.checkpoint is None else Path(config.checkpoint),
    )
    report = {
        "scans": scans.height,
        "calibration_scans": fitted.calibration.rows,
        "parameters": asdict(parameters),
        "feature_schema": list(fitted.feature_schema),
        **fitted.model.training,
    }
    return fitted.to_arrays(), report
