"""``anomaly demo``: the whole platform once, on data whose anomalies are all known."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console
from rich.table import Table

from anomaly_platform.cli.rows import figure_table
from anomaly_platform.cli.runtime import Runtime, open_runtime
from anomaly_platform.cli.streams.run import account_table, run_stream
from anomaly_platform.cli.streams.simulating import simulate_network, simulate_stream, write_scans
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.progress import Account
from anomaly_platform.streams import BUILT_IN, Stream

if TYPE_CHECKING:
    from anomaly_platform.ml.evaluation.measures import Report

TRAINING_DAYS = 28
TEST_DAYS = 7
START = date(2026, 1, 5)
_ENTITIES = 6
#: Added to the seed: the test week has other noise and other anomalies than the training weeks.
_TEST_SEED = 1
_SCANS_A_DAY = 350
#: Share of the test week's codes to which something happens: enough that each kind is among them.
_TEST_ANOMALY_RATE = 0.25
_ANOMALY_RATE = 0.05
_SERIES = ("entity", "metric", "event_time")
_COLUMNS = (*_SERIES, "value", "score", "is_anomaly", "threshold", "label")


@dataclass(frozen=True, slots=True)
class Found:
    """What a stream found in the week that training never saw."""

    stream: Stream
    account: Account
    report: Report
    picture: Path


def run_demo(settings: Settings, console: Console, out: Path | None) -> None:
    """Simulate, train on four weeks, score a fifth, compare with the labels, draw pictures.

    The demo has a home of its own beside the platform's, made anew each time.
    """
    started = time.monotonic()
    home = settings.home / "demo"
    pictures = out or home / "pictures"
    demo_settings = settings.model_copy(
        update={
            "home": home,
            "lake_url": str(home / "lake"),
            "landing_url": str(home / "landing"),
            "reference_path": home / "reference",
            "database_url": None,
        }
    )
    _start_anew(home)
    pictures.mkdir(parents=True, exist_ok=True)
    with open_runtime(demo_settings) as runtime:
        found = [
            (_run_stream if stream.has_series else _run_scans)(runtime, stream, console, pictures)
            for stream in sorted(BUILT_IN, key=lambda one: not one.has_series)
        ]
    console.print(account_table({one.stream.name: one.account for one in found}))
    console.print(_findings_table(found))
    console.print("Pictures:")
    for one in found:
        console.print(f"  {one.picture}", soft_wrap=True)
    console.print(
        f"Done in {time.monotonic() - started:.0f} s. Look around in it: "
        f"ANOMALY_HOME={home} anomaly up",
        soft_wrap=True,
    )


def _start_anew(home: Path) -> None:
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    if home.exists():
        EmbeddedPostgres(home).stop()
        shutil.rmtree(home)
    home.mkdir(parents=True)


def _run_stream(runtime: Runtime, stream: Stream, console: Console, pictures: Path) -> Found:
    """Train on the first weeks; then let the test week arrive as new data."""
    seed = runtime.platform.settings.seed
    console.print(f"[bold]{stream.title}[/] ({stream.name})")
    _drop(runtime, stream, START, TRAINING_DAYS, seed)
    run_stream(runtime, stream, console, train=True)
    first = START + timedelta(days=TRAINING_DAYS)
    _drop(runtime, stream, first, TEST_DAYS, seed + _TEST_SEED)
    account = run_stream(runtime, stream, console, train=False)
    scored = _scored(runtime, stream, first)
    picture = pictures / f"{stream.name}.png"
    picture.write_bytes(_draw(scored, stream))
    return Found(stream, account, _report(scored), picture)


def _drop(runtime: Runtime, stream: Stream, start: date, days: int, seed: int) -> None:
    from anomaly_platform.simulator.metrics import write

    simulation = simulate_stream(stream, days=days, entities=_ENTITIES, seed=seed, start=start)
    folder = Path(runtime.platform.settings.home) / "simulated" / stream.name
    for path in write(simulation, folder):
        runtime.platform.landing.put(stream.name, path, None)


def _scored(runtime: Runtime, stream: Stream, first: date) -> pl.DataFrame:
    """Return the test week from PostgreSQL, as BI would see it."""
    days = [first + timedelta(days=n) for n in range(TEST_DAYS)]
    scores = runtime.platform.warehouse.scores
    frames = [scores.read_day(stream.name, day, _COLUMNS) for day in days]
    return pl.concat(frames).sort(_SERIES)


def _report(scored: pl.DataFrame) -> Report:
    from anomaly_platform.ml.evaluation.measures import evaluate

    known = scored.filter(pl.col("label").is_not_null() & pl.col("value").is_not_null())
    return evaluate(
        known["label"].to_numpy(),
        known["score"].fill_null(float("nan")).to_numpy(),
        known["is_anomaly"].fill_null(value=False).to_numpy(),
    )


def _draw(scored: pl.DataFrame, stream: Stream) -> bytes:
    """Draw the series with the most labelled readings that were found."""
    from anomaly_platform.ml.evaluation.plots import series_plot

    hits = (pl.col("label") & pl.col("is_anomaly")).sum()
    found = scored.group_by("entity", "metric").agg(hits=hits)
    entity, metric, _ = found.sort(-pl.col("hits").cast(pl.Int64), "entity", "metric").row(0)
    shown = scored.filter(entity=entity, metric=metric)
    return series_plot(
        shown["event_time"].dt.replace_time_zone(None).to_numpy(),
        shown["value"].fill_null(float("nan")).to_numpy(),
        shown["score"].fill_null(float("nan")).to_numpy(),
        threshold=float(shown["threshold"][0]),
        flags=shown["is_anomaly"].fill_null(value=False).to_numpy(),
        labels=shown["label"].fill_null(value=False).to_numpy(),
        title=f"{stream.title}: {entity}, {metric}",
    )


def _run_scans(runtime: Runtime, stream: Stream, console: Console, pictures: Path) -> Found:
    """Do the same with scans of goods, as small as a sequence model can learn from."""
    from anomaly_platform.ml.evaluation.measures import evaluate
    from anomaly_platform.ml.evaluation.plots import quality_curves

    platform = runtime.platform
    console.print(f"[bold]{stream.title}[/] ({stream.name})")
    first = START + timedelta(days=TRAINING_DAYS)
    for number, (start, days) in enumerate(((START, TRAINING_DAYS), (first, TEST_DAYS))):
        network = simulate_network(
            scans=days * _SCANS_A_DAY,
            days=days,
            seed=platform.settings.seed + number,
            start=start,
            anomaly_rate=_TEST_ANOMALY_RATE if number else _ANOMALY_RATE,
        )
        network.world.write_reference(platform.reference_folder(stream))
        simulated = Path(platform.settings.home) / "simulated" / stream.name
        for path in write_scans(network, simulated, stream.name):
            if path.stem >= f"{stream.name}-{start}":
                platform.landing.put(stream.name, path, None)
        account = run_stream(runtime, stream, console, train=number == 0)
    read = platform.warehouse.scan_scores.read_day
    columns = ("label", "final_confidence", "is_anomaly")
    days_of_test = [first + timedelta(days=n) for n in range(TEST_DAYS)]
    scored = pl.concat([read(stream.name, day, columns) for day in days_of_test])
    labels = scored["label"].to_numpy()
    confidence = scored["final_confidence"].to_numpy() / 100
    flags = scored["is_anomaly"].to_numpy()
    picture = pictures / f"{stream.name}.png"
    picture.write_bytes(
        quality_curves(labels, confidence, flags=flags, title=f"{stream.title}, the test week")
    )
    return Found(stream, account, evaluate(labels, confidence, flags), picture)


def _findings_table(found: list[Found]) -> Table:
    headings = ("stream", "readings", "anomalies", "flagged")
    measures = ("events found", "precision", "false alarms", "AUC-PR")
    rows = [
        (
            one.stream.name,
            f"{one.report.rows:,}",
            f"{one.report.anomalies:,} in {one.report.events}",
            f"{one.report.flagged:,}",
            _percent(one.report.event_recall),
            _percent(one.report.precision),
            _percent(one.report.false_positive_rate, digits=2),
            "–" if one.report.auc_pr is None else f"{one.report.auc_pr:.3f}",
        )
        for one in found
    ]
    title = "The week that training never saw, against its labels"
    return figure_table((*headings, *measures), rows, title)


def _percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{share:.{digits}%}"
