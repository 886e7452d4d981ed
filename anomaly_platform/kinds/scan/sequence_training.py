"""The training of the sequence model, in a process of its own.

What belongs here: what the trainer is given, and what becomes of its result. A training that was
killed goes on where it was: the folder it works in is named by all that decides its outcome.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from anomaly_platform.kinds.base import Shown, TrainingOrder
from anomaly_platform.kinds.scan.training import Fitted, Lesson, learned_quality, samples
from anomaly_platform.kinds.training import StageError
from anomaly_platform.ml.evaluation import miniatures
from anomaly_platform.ml.evaluation.miniatures import Drawing

DETECTOR: Final = "lstm"
_ABANDONED_AFTER = timedelta(days=7)


def learn_sequences(lesson: Lesson) -> tuple[Fitted, Shown]:
    """Train the sequence model, or go on where a killed training was."""
    from anomaly_platform.ml.detectors.sequence_lstm.calibrated import CalibratedSequence

    order = lesson.order
    work = _work_folder(lesson)
    prepared = _prepare(lesson, work)
    if (work / "checkpoint").exists():
        order.log.info("going on from the checkpoint in %s", work.name)
    if order.run_trainer is None:
        raise StageError(f"{DETECTOR} trains in a process of its own; nothing here starts one")
    began = time.perf_counter()
    order.run_trainer(prepared, lambda epoch: _tell(order, epoch))
    seconds = time.perf_counter() - began
    arrays, report = _result(work)
    model = CalibratedSequence.from_arrays(arrays)
    metrics = learned_quality(lesson, lambda held: model.judge(held).p_values)
    history = report["history"]
    losses = ("epoch", "loss", "validation_loss")
    fitted = Fitted(
        arrays,
        metrics,
        {**report["parameters"], **lesson.origins, "device": report["device"]},
        {
            **samples(
                metrics, lesson.scans, report["training_events"], report["validation_events"]
            ),
            "calibration_samples": report["calibration_scans"],
            "history": [{name: epoch[name] for name in losses} for epoch in history],
        },
        seconds,
        after=partial(shutil.rmtree, work, ignore_errors=True),
    )
    shown = {
        "device": str(report["device"]),
        "epochs": len(history),
        "best epoch": int(report["best_epoch"]),
        "training seconds": seconds,
        "loss": _drawn(history),
        "history": [_figures(epoch) for epoch in history],
    }
    return fitted, shown


def _work_folder(lesson: Lesson) -> Path:
    """Return the folder of exactly this training; clear away those that nobody came back to."""
    parts, stream = lesson.parts, lesson.parts.stream
    rules = "" if lesson.rules is None else lesson.rules.digest or ""
    decides = [lesson.window.lineage, rules, parts.seed, dict(stream.sequence)]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    parent = parts.home / "training" / stream.name
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    oldest = time.time() - _ABANDONED_AFTER.total_seconds()
    for other in parent.iterdir():
        if other.name != key and other.stat().st_mtime < oldest:
            shutil.rmtree(other, ignore_errors=True)
    work = parent / key
    work.mkdir(exist_ok=True, mode=0o700)
    return work


def _prepare(lesson: Lesson, work: Path) -> Path:
    """Write the scans and the configuration; return the configuration's path."""
    from anomaly_platform.ml.training.sequence_trainer import TrainerConfig

    lesson.scans.write_parquet(work / "scans.parquet")
    config = work / "config.json"
    TrainerConfig(
        data=str(work / "scans.parquet"),
        output=str(work / "result"),
        checkpoint=str(work / "checkpoint"),
        seed=lesson.parts.seed,
        parameters=dict(lesson.parts.stream.sequence),
    ).write(config)
    return config


def _tell(order: TrainingOrder, epoch: Mapping[str, Any]) -> None:
    """Put an epoch into words and figures the moment it is over."""
    figures = _figures(epoch)
    order.log.info(
        "epoch %s of at most %s: loss %.4f, validation %.4f, %s scans/s on %s",
        figures["epoch"],
        epoch.get("max_epochs"),
        figures["loss"],
        figures["validation loss"],
        f"{figures['scans per second']:,.0f}",
        epoch.get("device"),
    )
    order.observe(figures)


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


def _drawn(history: list[Mapping[str, Any]]) -> Drawing:
    return miniatures.losses(
        [float(epoch["loss"]) for epoch in history],
        [float(epoch["validation_loss"]) for epoch in history],
    )
