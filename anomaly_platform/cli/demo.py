"""``anomaly demo``: the whole platform once, on data whose anomalies are all known."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console
from rich.table import Table

from anomaly_platform.cli.rows import figure_table
from anomaly_platform.cli.runtime import Runtime, open_platform, open_runtime
from anomaly_platform.cli.services.running import only_platform_of
from anomaly_platform.cli.streams.run import account_table, run_stream
from anomaly_platform.cli.streams.simulating import simulate_network, simulate_stream, write_scans
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.first_days import FirstDays
from anomaly_platform.storage.tables.progress import Account
from anomaly_platform.streams import BUILT_IN, Stream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anomaly_platform.ml.evaluation.measures import Report

TRAINING_DAYS = 28
TEST_DAYS = 7
#: Says of a home that the demo has made it, and of which last day its data are.
MARK = "demo.json"
_ENTITIES = 6
#: Added to the seed: the test week has other noise and other anomalies than the training weeks.
_TEST_SEED = 1
_SCANS_A_DAY = 350
#: Share of the test week's codes to which something happens: enough that each kind is among them.
_TEST_ANOMALY_RATE = 0.25
_ANOMALY_RATE = 0.05
#: What is in a home that the demo has made; logs, keys of files and the like stay.
_MADE = ("postgres", "lake", "landing", "reference", "simulated", "mlflow", "cache", "dagster")
_OTHER_DATA = """
SELECT EXISTS (SELECT FROM ingest_ledger WHERE source <> ALL (%(simulated)s))
    OR EXISTS (SELECT FROM online_readings)
    OR EXISTS (SELECT FROM feedback_labels)
    OR EXISTS (SELECT FROM api_keys)
    OR EXISTS (SELECT FROM raw_days WHERE stream <> ALL (%(streams)s))
"""
_ABOUT_SCANS = """\
Scans that break a rule are nearly all found, and most of what single codes do.
What whole pallets and lots do is only odd: to find it takes a model of more
scans than four weeks of a demo have (docs/measured/barcode_quality.md)."""
_SERIES = ("entity", "metric", "event_time")
_COLUMNS = (*_SERIES, "value", "score", "is_anomaly", "threshold", "label")


@dataclass(frozen=True, slots=True)
class Found:
    """What a stream found in the week that training never saw."""

    stream: Stream
    account: Account
    report: Report
    picture: Path


def run_demo(settings: Settings, console: Console, out: Path | None, end: date | None) -> None:
    """Simulate, train on four weeks, score a fifth, compare with the labels, draw pictures.

    The demo takes the home itself where nothing else is in it, so that ``anomaly up`` shows its
    data; else it has one of its own beside the data there. It is made anew each time.

    Parameters
    ----------
    settings : Settings
    console : Console
    out : Path or None
        Where the pictures go; by default into the home.
    end : date or None
        Last day of the data, ``None`` is yesterday. The same day makes the same data, models and
        scores.
    """
    end = end or datetime.now(UTC).date() - timedelta(days=1)
    home = home_of_demo(settings)
    with only_platform_of(home, "no address"):
        _run(settings, home, console, out, end)


def _run(settings: Settings, home: Path, console: Console, out: Path | None, end: date) -> None:
    started = time.monotonic()
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
    (home / MARK).write_text(json.dumps({"end": end.isoformat()}) + "\n")
    pictures.mkdir(parents=True, exist_ok=True)
    start = end - timedelta(days=TRAINING_DAYS + TEST_DAYS - 1)
    with open_runtime(demo_settings) as runtime:
        found = [
            (_run_stream if stream.has_series else _run_scans)(
                runtime, stream, console, pictures, start
            )
            for stream in sorted(BUILT_IN, key=lambda one: not one.has_series)
        ]
        for one in found:
            _keep_model(runtime, one.stream)
    console.print(account_table({one.stream.name: one.account for one in found}))
    console.print(_findings_table(found))
    console.print(_ABOUT_SCANS)
    console.print("Pictures:")
    for one in found:
        console.print(f"  {one.picture}", soft_wrap=True)
    console.print(f"Done in {time.monotonic() - started:.0f} s. See it in the console:")
    up = "anomaly up" if home == settings.home else f"ANOMALY_HOME={home} anomaly up"
    console.print(f"  {up}", soft_wrap=True)


def home_of_demo(settings: Settings) -> Path:
    """Return the home itself where `anomaly up` would show the demo, else a folder of its own."""
    home = settings.home
    at_home = (
        settings.is_embedded
        and settings.lake_url == str(home / "lake")
        and settings.landing_url == str(home / "landing")
        and settings.reference_path == home / "reference"
    )
    return home if at_home and not _has_other_data(home) else home / "demo"


def _has_other_data(home: Path) -> bool:
    """Return whether a home has anything that the demo has not put there."""
    if not (home / "postgres").exists():
        # Files wait in landing, or streams are described: somebody has begun to work here.
        return any((home / "landing").glob("*/*")) or any((home / "streams").glob("*"))
    if not (home / MARK).is_file():
        return True
    streams = [stream.name for stream in BUILT_IN]
    simulated = [path.name for path in (home / "simulated").rglob("*") if path.is_file()]
    with (
        open_platform(get_settings(home=home)) as platform,
        platform.warehouse.transactions.begin() as connection,
    ):
        known = {"streams": streams, "simulated": simulated}
        row = connection.execute(_OTHER_DATA, known).fetchone()
    return row is None or bool(row[0])


def _start_anew(home: Path) -> None:
    """Take away what the demo has made before, and nothing else."""
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    if home.exists():
        EmbeddedPostgres(home).stop()
        for made in (*_MADE, *(path.name for path in home.glob("postgres.new-*"))):
            shutil.rmtree(home / made, ignore_errors=True)
        FirstDays(home).path.unlink(missing_ok=True)
    home.mkdir(parents=True, exist_ok=True)


def _keep_model(runtime: Runtime, stream: Stream) -> None:
    """Note that the test week is no reason to train: the models learn again from newer data.

    The week is older than the models' patience with what they have not seen. Trained on it, they
    would no longer be those that the table is about.
    """
    platform = runtime.platform
    requests = platform.warehouse.training_requests
    evidence = platform.warehouse.training_evidence.of(
        stream, min_training_samples=platform.settings.min_training_samples
    )
    requests.ask(
        stream.name,
        cause="age",
        reason="the demo's test week was not to be trained on",
        requested_by="anomaly demo",
        event_watermark=evidence.newest_event,
    )
    for batch in {one.batch for one in requests.claim(stream.name)}:
        if batch is not None:
            requests.finish(
                batch,
                status="done",
                outcome="not trained: the models are new",
            )


def _run_stream(
    runtime: Runtime, stream: Stream, console: Console, pictures: Path, start: date
) -> Found:
    """Train on the first weeks; then let the test week arrive as new data."""
    seed = runtime.platform.settings.seed
    console.print(f"[bold]{stream.title}[/] ({stream.name})")
    _drop(runtime, stream, start, TRAINING_DAYS, seed)
    run_stream(runtime, stream, console, train=True)
    first = start + timedelta(days=TRAINING_DAYS)
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


def _run_scans(
    runtime: Runtime, stream: Stream, console: Console, pictures: Path, start: date
) -> Found:
    """Do the same with scans of goods, as small as a sequence model can learn from."""
    from anomaly_platform.ml.evaluation.measures import evaluate
    from anomaly_platform.ml.evaluation.plots import quality_curves

    platform = runtime.platform
    console.print(f"[bold]{stream.title}[/] ({stream.name})")
    first = start + timedelta(days=TRAINING_DAYS)
    for number, (begin, days) in enumerate(((start, TRAINING_DAYS), (first, TEST_DAYS))):
        network = simulate_network(
            scans=days * _SCANS_A_DAY,
            days=days,
            seed=platform.settings.seed + number,
            start=begin,
            anomaly_rate=_TEST_ANOMALY_RATE if number else _ANOMALY_RATE,
        )
        network.world.write_reference(platform.reference_folder(stream))
        simulated = Path(platform.settings.home) / "simulated" / stream.name
        for path in write_scans(network, simulated, stream.name):
            if path.stem >= f"{stream.name}-{begin}":
                platform.landing.put(stream.name, path, None)
        account = run_stream(runtime, stream, console, train=number == 0)
    read = platform.warehouse.scan_scores.read_day
    columns = ("epc_code", "label", "anomaly_kind", "final_confidence", "is_anomaly")
    days_of_test = [first + timedelta(days=n) for n in range(TEST_DAYS)]
    scored = pl.concat([read(stream.name, day, columns) for day in days_of_test])
    labels = scored["label"].to_numpy()
    confidence = scored["final_confidence"].to_numpy() / 100
    flags = scored["is_anomaly"].to_numpy()
    picture = pictures / f"{stream.name}.png"
    picture.write_bytes(
        quality_curves(
            *(labels, confidence),
            flags=flags,
            title=f"{stream.title}, the test week",
            note=_about_odd(scored),
        )
    )
    events = events_found(scored)
    report = replace(
        evaluate(labels, confidence, flags), events=events.size, event_recall=float(events.mean())
    )
    return Found(stream, account, report, picture)


def events_found(scored: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Return for each thing that the simulator did whether any scan of it is flagged.

    What is done to a pallet or a lot is one thing, however many codes are in it.
    """
    from anomaly_platform.ml.detectors.sequence_lstm.scans import lots_of
    from anomaly_platform.simulator.supply_network_anomalies import OF_MANY_CODES

    known = scored.filter("label")
    of_many = pl.col("anomaly_kind").is_in(OF_MANY_CODES)
    done_to = pl.when(of_many).then(lots_of(known)).otherwise("epc_code")
    happened = known.group_by("anomaly_kind", done_to=done_to).agg(pl.col("is_anomaly").any())
    return happened["is_anomaly"].to_numpy()


def _about_odd(scored: pl.DataFrame) -> str:
    """Say of how few lots the scans are that only models of many more scans would find."""
    from anomaly_platform.ml.detectors.rules.parameters import RULE_KINDS
    from anomaly_platform.ml.detectors.sequence_lstm.scans import lots_of

    known = scored.filter("label")
    odd = known.filter(~pl.col("anomaly_kind").is_in(RULE_KINDS))
    if odd.is_empty():
        return ""
    return (
        f"{odd.height} of the {known.height} labelled scans break no rule. "
        f"Their lots ({lots_of(odd).n_unique()}) are only odd: models of four weeks call what "
        "single codes do, and hardly any whole lot.\n"
        "The areas say little with so few lots: a single one with low scores can take the ROC "
        "below chance."
    )


def _findings_table(found: list[Found]) -> Table:
    headings = ("stream", "rows", "labelled", "flagged")
    measures = ("events\nfound", "precision", "false\nalarms", "AUC-PR")
    rows = [
        (
            one.stream.name,
            f"{one.report.rows:,}",
            f"{one.report.anomalies:,}\nin {one.report.events}",
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
