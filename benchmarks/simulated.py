"""Measure the metric streams on simulated telemetry, where every anomaly is known.

One command, everything written to ``docs/measured/simulated.md``::

    python benchmarks/simulated.py [--devices 16] [--out docs/measured/simulated.md]

Months: a stream is trained on 28 days under one seed and judged on 28 days under another, on the
same devices, thirty days later. Streams: single series in streaming order, by NAB's rules.
Short histories: hosts that are known for a few minutes (`short_histories`).
Changes: series that become another for good, and whether that is followed (`changes`). Steps:
lasting ones at any sampling and noise (`steps`). Glances: events that a person sees at once
(`glance`). Counters: what is flagged after an event of theirs (`counters`). Stuck:
sensors that repeat a value while a model learns (`still_open`). Resting: hosts whose metrics rest
together (`resting`). Design choices were made on these data
(``docs/explanation/detection.md``), so they show what was aimed at; the figures on foreign data are
those of ``benchmarks/quality.py``.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from cases.changes import changes_section
from cases.counters import counters_section
from cases.followed import followed_section
from cases.glance import glance_section
from cases.resting import resting_section
from cases.short_histories import short_section
from cases.steps import steps_section
from cases.still_open import still_open_section
from foreign_data.nab import NabSeries, optimised_score, score_at
from tqdm import tqdm

from anomaly_platform.ml.backtest.streaming import streaming
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.simulator.metrics import Simulation, simulate_ems, simulate_iiot
from anomaly_platform.streams import IIOT

ROOT = Path(__file__).resolve().parents[1]
FIRST = datetime(2025, 1, 6, tzinfo=UTC)
ALPHA = 0.001
MONTH_SEEDS = ((1, 2), (3, 4))
STREAM_SEEDS = (101, 202)

MONTHS = """## Months of a plant

`iiot`, {devices} devices of seven metrics, some with days of history only; 2 % of the rows
anomalous; α = {alpha}. *Known*: the anomalies of the training month are left out, as labels or
feedback allow; *unknown*: they stay in. Wanted (I6): false positives below 5 %, events found above
95 %, precision above 90 %.

| anomalies in training | seeds | false positives | precision, rows | events found | met |
| --- | --- | ---: | ---: | ---: | ---: |"""

STREAMS = """## Single series in streaming order

`iiot` and `ems`, 14 and 50 days at five minutes, 0.8 % of the rows anomalous and unlabelled; the
first 15 % are learned from (750 rows at most). Scored by NAB's rules.

| seed | series | optimised | windows found, false rows | live | windows found, false rows |
| ---: | ---: | ---: | ---: | ---: | ---: |"""
KEY = ["entity", "metric", "event_time"]


@dataclass(frozen=True)
class Month:
    """What a month came to: shares in [0, 1]; `kinds` has the events found of each kind."""

    false_positive_rate: float
    precision: float
    event_recall: float
    events: int
    kinds: dict[str, float]


def month(devices: int, seeds: tuple[int, int], *, known: bool) -> Month:
    """Train on one simulated month and judge another.

    Parameters
    ----------
    devices
        How many there are, seven metrics each.
    seeds
        Of the month to learn from and of the month to judge.
    known
        Whether the anomalies of the first are known and left out; otherwise they stay in.
    """
    past = simulate_iiot(28, devices, seeds[0], start=FIRST).frame
    if known:
        past = past.with_columns(value=pl.when(~pl.col("label")).then("value"))
    later = simulate_iiot(28, devices, seeds[1], start=FIRST + timedelta(days=30))
    with tempfile.TemporaryDirectory() as folder:
        bundle = train_fleet(
            (IIOT.features.compute(part.drop("label")) for part in past.partition_by("entity")),
            IIOT.features,
            FleetPolicy(alpha=ALPHA, evaluate=False),
            Path(folder) / "bundle",
            lineage=Lineage(stream="iiot", version="1", code_version="benchmark"),
        )
        scorer = FleetScorer(bundle)
        scored = pl.concat(
            scorer.score(IIOT.features.compute(part.drop("label")), runs=RunStates())
            .select(*KEY, flag=pl.col("is_anomaly").fill_null(value=False))
            .join(part.select(*KEY, "label"), on=KEY)
            for part in later.frame.partition_by("entity")
        )
        bundle.close()
    return judged(scored, later)


def judged(scored: pl.DataFrame, later: Simulation) -> Month:
    """Compare flags with labels, row by row and event by event."""
    hits = scored.filter(pl.col("flag") & pl.col("label")).select(KEY)
    inside = pl.col("event_time").is_between(pl.col("start"), pl.col("end"))
    events = (
        later.events.join(hits, on=["entity", "metric"], how="left")
        .group_by("entity", "metric", "start")
        .agg(found=inside.fill_null(value=False).any(), kind=pl.col("kind").first())
    )
    normal = scored.filter(label=False)
    kinds = events.group_by("kind").agg(pl.col("found").mean()).sort("kind")
    return Month(
        false_positive_rate=float(normal["flag"].to_numpy().mean()),
        precision=hits.height / max(int(scored["flag"].sum()), 1),
        event_recall=float(events["found"].to_numpy().mean()),
        events=events.height,
        kinds=dict(kinds.iter_rows()),
    )


def months_section(devices: int) -> str:
    """Return the chapter on months."""
    lines = [MONTHS.format(devices=devices, alpha=ALPHA)]
    kinds: dict[str, list[str]] = {}
    for known in (True, False):
        for seeds in tqdm(MONTH_SEEDS, desc="months"):
            one = month(devices, seeds, known=known)
            met = (one.false_positive_rate < 0.05, one.precision > 0.9, one.event_recall > 0.95)
            lines.append(
                f"| {'known' if known else 'unknown'} | {seeds[0]}, {seeds[1]} | "
                f"{one.false_positive_rate:.2%} | {one.precision:.1%} | "
                f"{one.event_recall:.1%} of {one.events} | "
                f"{'yes' if all(met) else f'**{sum(met)} of 3**'} |"
            )
            for kind, share in one.kinds.items():
                kinds.setdefault(kind, []).append(f"{share:.0%}")
    columns = [f"{k}, {s[0]}/{s[1]}" for k in ("known", "unknown") for s in MONTH_SEEDS]
    lines += ["", f"| events found | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {kind} | {' | '.join(shares)} |" for kind, shares in kinds.items()]
    return "\n".join(lines) + "\n"


def streams(seed: int) -> list[tuple[pl.DataFrame, tuple[tuple[int, int], ...]]]:
    """Return single series with NAB's windows: a tenth of the series around its anomalies."""
    cases = []
    simulators, spans = (simulate_iiot, simulate_ems), ((14, 5), (50, 1))
    for (days, devices), simulate in product(spans, simulators):
        simulation = simulate(days, devices, seed, anomaly_rate=0.008, churn=0.0)
        for rows in simulation.frame.partition_by("entity", "metric", maintain_order=True):
            own = simulation.events.join(rows.head(1), on=["entity", "metric"], how="semi")
            if not 1 <= own.height <= 6:
                continue
            half = int(0.1 * rows.height / own.height) // 2
            windows: list[tuple[int, int]] = []
            for start in own["start"]:
                at = int(rows["event_time"].search_sorted(start))
                low, high = max(0, at - half), min(rows.height - 1, at + half)
                if windows and low <= windows[-1][1]:
                    windows[-1] = (windows[-1][0], high)
                else:
                    windows.append((low, high))
            cases.append((rows.select("event_time", "value"), tuple(windows)))
    return cases


def streams_section() -> str:
    """Return the chapter on streams."""
    lines = [STREAMS]
    for seed in STREAM_SEEDS:
        cases = streams(seed)
        scores, flags = [], []
        for frame, windows in tqdm(cases, desc="streams"):
            result = streaming(frame, time_column="event_time")
            before = np.full(frame.height - result.score.size, np.nan)
            scores.append(NabSeries(np.concatenate((before, result.score)), windows))
            called = np.concatenate((np.zeros(before.size), result.is_anomaly))
            flags.append(NabSeries(called, windows))
        best, live = optimised_score(scores), score_at(flags, 1.0)
        lines.append(
            f"| {seed} | {len(cases)} | {best.score:.1f} | {best.windows_found}/{best.windows}, "
            f"{best.false_positives} | {live.score:.1f} | {live.windows_found}/{live.windows}, "
            f"{live.false_positives} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=16)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/simulated.md")
    options = parser.parse_args()
    head = (
        "# Detection quality on simulated data\n\n"
        "Made by `python benchmarks/simulated.py` in one run. Design choices were made on data of "
        "this kind ([detection.md](../explanation/detection.md)): the figures show what was aimed "
        "at. Those on foreign data are in [quality.md](quality.md).\n"
    )
    text = "\n".join(
        [
            head,
            months_section(options.devices),
            streams_section(),
            short_section(),
            changes_section(),
            followed_section(),
            steps_section(),
            glance_section(),
            counters_section(),
            still_open_section(),
            resting_section(),
        ]
    )
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
