"""``lstm_model``: the sequence model, trained in a process of its own.

What belongs here: what the trainer is given, what Dagster shows while it works, and what becomes
of its result. A training that was killed goes on where it was: the folder it works in is named by
all that decides its outcome.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    RetryRequested,
    asset,
)

from anomaly_platform.assets.metadata import picture, records_table
from anomaly_platform.assets.scan_models import learned_quality
from anomaly_platform.assets.scan_window import (
    ScanWindow,
    Trained,
    new_version,
    publish,
    read_rules,
    read_window,
    scan_window,
)
from anomaly_platform.assets.training_config import (
    TrainingConfig,
    TrainingOrigin,
    refuse_series,
)
from anomaly_platform.platform import Platform
from anomaly_platform.resources.dagster_home import GPU_POOL
from anomaly_platform.resources.trainer import Trainer, TrainerKilledError
from anomaly_platform.streams import ScanStream

DETECTOR = "lstm"
STAGE = f"{DETECTOR}_model"
#: A killed trainer is started again so often, and goes on from its checkpoint. Not a retry policy
#: of the asset: Dagster would start it again, too, when somebody cancels the run.
RETRIES = 2
_RETRY_SECONDS = 5
_ABANDONED_AFTER = timedelta(days=7)


def build_lstm_model(stream: ScanStream) -> AssetsDefinition:
    """Return the asset ``[stream, lstm_model]``."""

    @asset(
        key=stream.key(STAGE),
        deps=[stream.key("features"), stream.key("rules_model")],
        group_name=stream.name,
        kinds={"pytorch", "safetensors"},
        owners=list(stream.owners),
        tags={"stage": "model"},
        pool=GPU_POOL,
        description=(
            "An LSTM with causal attention over each code's scans: how surprising is what came "
            "next. Trained in a process of its own, on a GPU where there is one."
        ),
        required_resource_keys={"platform", "trainer"},
    )
    def lstm_model(
        context: AssetExecutionContext, config: TrainingConfig
    ) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        refuse_series(stream.name, config)
        trainer: Trainer = context.resources.trainer
        window = scan_window(platform, stream, window_days=config.window_days)
        record, rules = read_rules(platform, stream)
        scans = rules.score(read_window(platform, window), reasons=False)
        work = _work_folder(platform, stream, window, record.digest or "")
        with new_version(platform, stream, DETECTOR) as version:
            prepared = _prepare(platform, stream, work, scans)
            if (work / "checkpoint").exists():
                context.log.info("going on from the checkpoint in %s", work.name)
            began = time.perf_counter()
            try:
                trainer.run(context, prepared, lambda figures: _show(context, stream, figures))
            except TrainerKilledError as error:
                raise RetryRequested(RETRIES, _RETRY_SECONDS) from error
            seconds = time.perf_counter() - began
            arrays, report = _result(work)
            metrics = _quality(platform, stream, scans, arrays)
            publish(
                platform,
                stream,
                DETECTOR,
                version,
                window,
                Trained(
                    arrays,
                    metrics,
                    {
                        **report["parameters"],
                        "seed": platform.settings.seed,
                        "rules": record.version,
                        "device": report["device"],
                    },
                    {
                        "training_samples": report["training_events"],
                        "validation_samples": report["validation_events"],
                        "calibration_samples": report["calibration_scans"],
                        "test_samples": metrics["test_samples"],
                        "history": [
                            {k: epoch[k] for k in ("epoch", "loss", "validation_loss")}
                            for epoch in report["history"]
                        ],
                    },
                    seconds,
                ),
                TrainingOrigin.of(context, config),
            )
        shutil.rmtree(work, ignore_errors=True)
        return MaterializeResult(
            metadata={
                "version": MetadataValue.int(version),
                "scans": MetadataValue.int(scans.height),
                "device": MetadataValue.text(str(report["device"])),
                "epochs": MetadataValue.int(len(report["history"])),
                "best epoch": MetadataValue.int(int(report["best_epoch"])),
                "training seconds": MetadataValue.float(seconds),
                "metrics": MetadataValue.json(metrics),
                "loss": picture(_loss_picture(report["history"])),
                "history": records_table([_figures(epoch) for epoch in report["history"]]),
            }
        )

    return lstm_model


def _work_folder(
    platform: Platform, stream: ScanStream, window: ScanWindow, rules_digest: str
) -> Path:
    """Return the folder of exactly this training; clear away those that nobody came back to."""
    decides = [window.lineage, rules_digest, platform.settings.seed, dict(stream.sequence)]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    parent = platform.settings.home / "training" / stream.name
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    oldest = time.time() - _ABANDONED_AFTER.total_seconds()
    for other in parent.iterdir():
        if other.name != key and other.stat().st_mtime < oldest:
            shutil.rmtree(other, ignore_errors=True)
    work = parent / key
    work.mkdir(exist_ok=True, mode=0o700)
    return work


def _prepare(platform: Platform, stream: ScanStream, work: Path, scans: Any) -> Path:
    """Write the scans and the configuration; return the configuration's path."""
    from anomaly_platform.ml.training.sequence_trainer import TrainerConfig

    scans.write_parquet(work / "scans.parquet")
    config = work / "config.json"
    TrainerConfig(
        data=str(work / "scans.parquet"),
        output=str(work / "result"),
        checkpoint=str(work / "checkpoint"),
        seed=platform.settings.seed,
        parameters=dict(stream.sequence),
    ).write(config)
    return config


def _show(context: AssetExecutionContext, stream: ScanStream, figures: Mapping[str, Any]) -> None:
    """Put an epoch into Dagster the moment it is over."""
    shown = _figures(figures)
    context.log.info(
        "epoch %s of at most %s: loss %.4f, validation %.4f, %s scans/s on %s",
        shown["epoch"],
        figures.get("max_epochs"),
        shown["loss"],
        shown["validation loss"],
        f"{shown['scans per second']:,.0f}",
        figures.get("device"),
    )
    context.log_event(
        AssetObservation(
            stream.key(STAGE),
            metadata={
                name: MetadataValue.int(value)
                if isinstance(value, int)
                else MetadataValue.float(value)
                for name, value in shown.items()
            },
        )
    )


def _figures(epoch: Mapping[str, Any]) -> dict[str, int | float]:
    return {
        "epoch": int(epoch["epoch"]),
        "loss": float(epoch["loss"]),
        "validation loss": float(epoch["validation_loss"]),
        "scans per second": round(float(epoch["events_per_second"])),
    }


def _result(work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors.numpy import load_file

    from anomaly_platform.ml.training.sequence_trainer import ARRAYS, REPORT

    report: dict[str, Any] = json.loads((work / "result" / REPORT).read_text(encoding="utf-8"))
    return load_file(work / "result" / ARRAYS), report


def _quality(
    platform: Platform, stream: ScanStream, scans: Any, arrays: Mapping[str, Any]
) -> dict[str, Any]:
    from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence

    model = CalibratedSequence.from_arrays(arrays)
    return learned_quality(
        stream,
        scans,
        lambda held: model.judge(held).p_values,
        platform.alpha_of(stream),
        platform.settings.seed,
    )


def _loss_picture(history: list[Mapping[str, Any]]) -> bytes:
    from anomaly_platform.ml.evaluation.plots import loss_curves

    return loss_curves(
        [float(epoch["loss"]) for epoch in history],
        [float(epoch["validation_loss"]) for epoch in history],
        title="Training of the sequence model",
    )
