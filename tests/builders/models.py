"""Versions of models in the registry, with files or without."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import polars as pl

from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.warehouse import Warehouse

FOREST = "isolation_forest"
#: What a model of all scans has in place of series.
ALL_SCANS = pl.DataFrame({"entity": ["*"], "metric": ["scans"], "status": "trained", "rows": 1})

#: A model for each of three hosts, the last of which has too little history.
HOSTS = pl.DataFrame(
    {
        "entity": ["host-0", "host-1", "host-2"],
        "metric": ["cpu"] * 3,
        "status": ["trained", "trained", "insufficient_history"],
        "rows": [500, 400, 50],
        "accuracy": [0.95, float("nan"), None],
        "false_positive_rate": [0.01, None, None],
    }
)


def path_of(stream: str, detector: str, version: int) -> str:
    """Return where the lake keeps a version."""
    return f"models/{stream}/{detector}/{version:06d}"


def register(
    warehouse: Warehouse,
    stream: str,
    detector: str = FOREST,
    *,
    parent: int | None = None,
    **facts: Any,
) -> int:
    """Enter a trained version of one series, or of what `facts` say; return its number."""
    version = warehouse.bundles.reserve_version(stream, detector, parent=parent)
    usual = {
        "path": path_of(stream, detector, version),
        "digest": f"digest-{version}",
        "trained_at": dt.datetime.now(dt.UTC),
        "window_start": None,
        "window_end": None,
        "metrics": {},
        "parameters": {"run_id": f"run-{version}"},
        "series": pl.DataFrame(
            {"entity": ["press-1"], "metric": ["load"], "status": ["trained"], "rows": [500]}
        ),
    }
    warehouse.bundles.register(stream, detector, version, **(usual | facts))
    return version


def publish(lake: Lake, path: str, files: Mapping[str, str]) -> None:
    """Put the files of a version into the lake."""
    folder = lake.new_folder() / "bundle"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    lake.publish_folder(folder, path)
