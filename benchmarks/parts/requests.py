"""How long a request of scans takes (requirement B11); a part of `speed_sequence.py`.

What belongs here: models as they are in service, and the time from scans to confidences with
reasons: features, rules, sequence model, SVM and fusion, side by side and with their time limits,
as online. HTTP and the database are not in.
"""

from __future__ import annotations

import os
import time

import numpy as np
import polars as pl
from barcode.learned import train
from barcode_quality import reference_of

from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
from anomaly_platform.ml.detectors.sequence_lstm.parameters import TrainingParameters
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.ml.scans.scoring import BarcodeModels
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_numbers
from anomaly_platform.simulator.supply_network import simulate_supply_network

REPEATS = 60
TRAINED_ON = 60_000
GOALS = {1: "20 ms", 1_000: "300 ms"}


def models() -> tuple[BarcodeModels, pl.DataFrame]:
    """Train models of the usual size, briefly, and return scans to judge."""
    data = simulate_supply_network(events=TRAINED_ON, days=30, seed=5)
    search = SvmSearch(nu=(0.1,), gamma=(1.0,), kernel=("rbf",))
    trained = train(data.scans, reference_of(data), TrainingParameters(max_epochs=2), search)
    return trained, simulate_supply_network(events=TRAINED_ON // 10, days=30, seed=6).scans


def section() -> list[str]:
    """Measure requests of one EPC and of 1,000 scans, and return the page's lines."""
    trained, scans = models()
    features = ScanFeatureSet()
    limits = split_numbers(Settings().scan_time_limits)
    one = scans.filter(pl.col("entity") == scans["entity"].mode().sort()[0])
    lines = [
        f"""## Requests

From scans to confidences with reasons: features, rules, sequence model, SVM and fusion.
Median of {REPEATS} requests, the fastest of them, and CPU time over all threads. The
machine is shared: its load average was {os.getloadavg()[0]:.1f} when this began.

| request | median, ms | fastest, ms | CPU, ms | wanted |
|---|--:|--:|--:|--:|"""
    ]
    for size, request in ((1, one), (1_000, scans.head(1_000))):
        took, busy = [], []
        for _ in range(REPEATS + 1):
            began, used = time.perf_counter(), time.process_time()
            trained.score(features.compute(request), limits=limits)
            took.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.process_time() - used))
        name = f"one EPC, {request.height} scans" if size == 1 else f"{size:,} scans"
        times = (np.median(took[1:]), min(took), np.median(busy[1:]))
        shown = " | ".join(f"{milliseconds:.1f}" for milliseconds in times)
        lines.append(f"| {name} | {shown} | {GOALS[size]} |")
    return lines
