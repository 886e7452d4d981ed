"""From a file in landing to BI, timed stage by stage, and the memory that a large day takes.

A platform of its own, with its embedded PostgreSQL, lives in a temporary folder. Stages are the
functions that the assets call. What is measured for its memory runs in a new process.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import psycopg
from speed_table import peak_memory, seconds

from anomaly_platform.assets.features import features_of_day
from anomaly_platform.assets.monitoring import stats_of_day
from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.assets.scored import score_day
from anomaly_platform.assets.validated import validate_day
from anomaly_platform.kinds.base import TrainingOrder
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import EMS

STAGES = ("raw", "validated", "features", "scored")
FIRST_DAY = date(2026, 1, 5)
_DAY_US = 86_400_000_000


def write_day(path: Path, day: date, series: int, readings: int) -> None:
    """Write a day of a fleet as CSV, in the order of time, ten metrics per host."""
    midnight = datetime.combine(day, time(), UTC)
    pairs = [(f"host-{n // 10:05d}", f"metric-{n % 10}") for n in range(series)]
    names = pl.DataFrame(pairs, schema=["asset_id", "metric_name"], orient="row")
    rng = np.random.default_rng(day.toordinal())
    with path.open("wb") as file:
        for n in range(readings):
            when = midnight + timedelta(microseconds=n * (_DAY_US // readings))
            usual = 50 + 10 * np.sin(2 * np.pi * n / readings)
            value = (usual + rng.normal(0, 1, series)).round(3)
            names.with_columns(
                timestamp=pl.lit(when), value=pl.Series(value, dtype=pl.Float64)
            ).write_csv(file, include_header=n == 0, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def a_platform(home: Path) -> closing[Platform]:
    """Open the platform whose files and database are under `home`."""
    return closing(Platform(get_settings(home=home, database_url=None)))


def run_stage(platform: Platform, stage: str, day: date) -> object:
    """Do what the asset of this stage does for a day."""
    now = datetime.now(UTC)
    if stage == "raw":
        report = ingest_files(platform, EMS, platform.landing.waiting(EMS.name), now)
        if report.failed or report.rejected:
            raise RuntimeError(f"not ingested: {report.failed or report.reasons}")
        return report
    kind = platform.kind(EMS)
    if stage == "training":
        kind.train(DETECTOR, TrainingOrder())
        return list(kind.judge())
    counts = np.zeros(50, dtype=np.int64)
    stages: dict[str, Callable[[], object]] = {
        "validated": lambda: validate_day(platform, EMS, day, now),
        "features": lambda: features_of_day(platform, EMS, day),
        "scored": lambda: score_day(platform, EMS, day, kind.scorer(), counts),
        "monitoring": lambda: stats_of_day(platform, EMS, day, kind.monitor()),
    }
    return stages[stage]()


@dataclass(frozen=True)
class Whole:
    """Seconds of each stage, ours and the peer's, as medians over the days."""

    rows: int
    series: int
    days: int
    ours: dict[str, float]
    theirs: dict[str, float]


def whole_run(series: int, readings: int, days: int) -> Whole:
    """Bring days from landing to BI with a champion in service; after each, let the peer run.

    Two days before them train the champion and are not timed.
    """
    with tempfile.TemporaryDirectory() as folder, a_platform(Path(folder)) as platform:
        try:
            ours, theirs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
            landing = Path(platform.landing.folder(EMS.name))
            peer = _Peer(platform, Path(folder) / "peer")
            for n in range(days + 2):
                day = FIRST_DAY + timedelta(days=n)
                write_day(landing / f"{day}.csv", day, series, readings)
                peer.keep(landing / f"{day}.csv")
                for stage in STAGES if n >= 2 else STAGES[:3]:
                    took = seconds(lambda stage=stage, day=day: run_stage(platform, stage, day))
                    if n >= 2:
                        ours[stage].append(took)
                if n == 1:
                    run_stage(platform, "training", day)
                if n >= 2:
                    for stage, took in peer.times(day).items():
                        theirs[stage].append(took)
            medians = (
                {stage: median(took) for stage, took in taken.items()} for taken in (ours, theirs)
            )
            return Whole(series * readings, series, days, *medians)
        finally:
            platform.release()


class _Peer:
    """Polars reading what each stage reads and writing what it writes, and PostgreSQL's COPY."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self._platform = platform
        self._folder = folder
        folder.mkdir()
        with psycopg.connect(platform.urls.application) as connection:
            connection.execute(f"CREATE TABLE peer (LIKE scored_{EMS.name} INCLUDING ALL)")

    def keep(self, landed: Path) -> None:
        """Keep a copy of a landed file, which the platform will move away."""
        self._landed = self._folder / "landed.csv"
        self._landed.write_bytes(landed.read_bytes())

    def times(self, day: date) -> dict[str, float]:
        """Return the seconds of each stage's plain reading and writing, and of COPY."""
        lake = Path(self._platform.settings.lake_url)
        partitions = self._platform.warehouse.partitions

        def path(stage: str, of: date) -> Path:
            found = partitions.get(EMS.name, stage, of.isoformat())
            if found is None:
                raise RuntimeError(f"{of} has no {stage}")
            return lake / found.path

        (raw,) = self._platform.warehouse.ledger.raw_files(EMS.name, day)
        before = day - timedelta(days=1)
        validated = [path("validated_events", of) for of in (before, day)]
        features, scored = path("features", day), path("scored_events", day)
        texts = dict.fromkeys(("asset_id", "metric_name", "timestamp", "value"), pl.String)
        landed, raw_path = self._landed, lake / raw.path
        return {
            "raw": self._one(lambda: pl.read_csv(landed, schema_overrides=texts), raw_path),
            "validated": self._one(lambda: pl.read_parquet(raw_path), validated[1]),
            "features": self._one(lambda: pl.read_parquet(validated), features),
            "scored": self._one(lambda: pl.read_parquet(features), scored),
            "COPY": self._copy(pl.read_parquet(scored), day),
        }

    def _one(self, read: Callable[[], object], written: Path) -> float:
        frame = pl.read_parquet(written)
        target = self._folder / "written.parquet"

        return seconds(read) + seconds(
            lambda: frame.write_parquet(target, compression="zstd", compression_level=1)
        )

    def _copy(self, scored: pl.DataFrame, day: date) -> float:
        rows = scored.drop("bucket").with_columns(
            stream=pl.lit(EMS.name),
            day=pl.lit(day),
            detector=pl.lit("isolation_forest"),
            bundle_version=pl.lit(1),
        )

        def copy() -> None:
            text = io.BytesIO()
            rows.write_csv(
                text,
                include_header=False,
                quote_style="non_numeric",
                datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
            )
            columns = ", ".join(rows.columns)
            with (
                psycopg.connect(self._platform.urls.application) as connection,
                connection.cursor() as cursor,
                cursor.copy(f"COPY peer ({columns}) FROM STDIN (FORMAT csv)") as stream,
            ):
                stream.write(text.getbuffer())

        return seconds(copy)


@dataclass(frozen=True)
class Memory:
    """Peak memory in bytes and seconds of each stage, by the rows of the day."""

    series: int
    rows: tuple[int, int]
    peaks: dict[str, tuple[int, int]]
    taken: dict[str, tuple[float, float]]


def memory_of_days(series: int, small: int, large: int) -> Memory:
    """Bring a day of `small` readings per series and one of `large` through every stage.

    Each stage of each day runs in a process of its own. Two earlier days train the champion.
    """
    # The last process's server may still write while its folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        with a_platform(home) as platform:
            landing = Path(platform.landing.folder(EMS.name))
            peaks, taken = defaultdict[str, list[int]](list), defaultdict[str, list[float]](list)
            try:
                for n, readings in enumerate((small, small, small, large)):
                    day = FIRST_DAY + timedelta(days=n)
                    write_day(landing / f"{day}.csv", day, series, readings)
                    stages = STAGES[:3] if n < 2 else (*STAGES, "monitoring")
                    for stage in (*stages, "training") if n == 1 else stages:
                        took, peak = in_child(stage_in_child, str(home), stage, day)
                        if n >= 2 or stage == "training":
                            peaks[stage].append(peak)
                            taken[stage].append(took)
            finally:
                platform.release()
    # Training runs once.
    return Memory(
        series,
        (series * small, series * large),
        {stage: (most[0], most[-1]) for stage, most in peaks.items()},
        {stage: (took[0], took[-1]) for stage, took in taken.items()},
    )


def stage_in_child(home: str, stage: str, day: date) -> float:
    """Open the platform, run one stage, and return its seconds."""
    with a_platform(Path(home)) as platform:
        return seconds(lambda: run_stage(platform, stage, day))


def in_child(run: Callable[..., Any], *arguments: object) -> tuple[Any, int]:
    """Call a function in a new process; return its result and the process's peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (run, arguments))


def _with_peak(run: Callable[..., Any], arguments: tuple[object, ...]) -> tuple[Any, int]:
    return run(*arguments), peak_memory()
