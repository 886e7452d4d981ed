"""The public corpora of labelled data, read into one form. Nothing here scores anything.

Expected below one folder: ``smd``, ``asd``, ``skab`` and ``nab``, laid out as their README says.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from foreign_data.nab import probation_rows, windows_of

from anomaly_platform.ml.arrays import Bools, Floats

SKAB_TRAIN_ROWS = 400


@dataclass(frozen=True)
class Case:
    """One file to learn from and to be judged on.

    `frame` is wide: ``timestamp`` and one column per metric, in order of time. The first `train`
    rows may be learned from; `labels` speaks of all rows, but only those after them are judged.
    In a `streaming` case a method may go on learning from rows that it has judged.
    """

    name: str
    frame: pl.DataFrame
    train: int
    labels: Bools
    windows: tuple[tuple[int, int], ...] = ()
    streaming: bool = False

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return [column for column in self.frame.columns if column != "timestamp"]

    @property
    def values(self) -> Floats:
        """Readings, shape (rows, metrics)."""
        return self.frame.select(self.metrics).to_numpy().astype(np.float64)

    @property
    def judged(self) -> Bools:
        """Labels of the rows after the train part."""
        return self.labels[self.train :]


def servers(folder: Path) -> Iterator[Case]:
    """Yield the servers of SMD or ASD: a file of normal operation and one with anomalies each."""
    for test_path in sorted(folder.glob("*_test.csv.gz")):
        name = test_path.name.removesuffix("_test.csv.gz")
        train = _read(folder / f"{name}_train.csv.gz")
        test = _read(test_path)
        labels = np.concatenate((np.zeros(train.height, bool), test["is_anomaly"].to_numpy() > 0))
        frame = pl.concat([train, test.drop("is_anomaly")], how="vertical_relaxed")
        yield Case(name, frame, train.height, labels)


def skab(folder: Path) -> Iterator[Case]:
    """Yield the test stand's experiments; each learns from its own first 400 rows."""
    for path in sorted(folder.glob("*/*.csv.gz")):
        if path.parent.name == "anomaly-free":
            continue
        frame = _read(path, separator=";").rename({"datetime": "timestamp"})
        labels = frame["anomaly"].to_numpy() > 0
        name = f"{path.parent.name}/{path.name.removesuffix('.csv.gz')}"
        yield Case(name, frame.drop("anomaly", "changepoint"), SKAB_TRAIN_ROWS, labels)


def nab(folder: Path) -> Iterator[Case]:
    """Yield the series of NAB; each learns from its probation and is judged on the rest."""
    limits = json.loads((folder / "windows.json").read_text())
    for path in sorted(folder.glob("*/*.csv.gz")):
        frame = _read(path)
        name = f"{path.parent.name}/{path.name.removesuffix('.gz')}"
        windows = windows_of(frame["timestamp"].to_numpy(), limits[name])
        labels = np.zeros(frame.height, dtype=bool)
        for start, stop in windows:
            labels[start : stop + 1] = True
        learned = probation_rows(frame.height)
        yield Case(name.removesuffix(".csv"), frame, learned, labels, windows, streaming=True)


def _read(path: Path, separator: str = ",") -> pl.DataFrame:
    content = io.BytesIO(gzip.decompress(path.read_bytes()))
    return pl.read_csv(content, separator=separator, try_parse_dates=True, infer_schema_length=None)
