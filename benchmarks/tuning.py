"""Measure what tuning gains, on the newest fifth of each series, which no search saw.

One command, everything written to ``docs/measured/tuning.md``::

    python benchmarks/tuning.py [--data ../shared/data] [--trials 8] [--out docs/measured/tuning.md]

The search is that of ``anomaly tune``, told of no anomaly. Labels are read only afterwards: both
settings are trained on the older four fifths and judged on the rest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from foreign_data.corpora import nab

from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.tuning.comparison import compare
from anomaly_platform.ml.tuning.held_out import HeldOut, before_judged
from anomaly_platform.ml.tuning.judging import Judge, Measured
from anomaly_platform.ml.tuning.search import search
from anomaly_platform.ml.tuning.space import DetectorSettings, candidates
from anomaly_platform.simulator.metrics import simulate_ems, simulate_iiot
from anomaly_platform.streams import IIOT

ROOT = Path(__file__).resolve().parents[1]
START = datetime(2025, 1, 6, tzinfo=UTC)
TODAY = DetectorSettings(0.01, IIOT.features.windows, 0.1, 100)
SEED = 42

HEAD = """# What tuning gains

Made by `python benchmarks/tuning.py` in one run: {trials} candidates a stream, α = 0.01 before,
the search told of no anomaly ([how it works](../how-to/tuning.md)). Both settings are judged on the
newest fifth of each series, which the search never saw. *Objective*: F1 of injected anomalies,
lowered where more than 1 % of the ordinary rows are flagged, with the gain's interval of 95 %.
*Found*, *false*: events of the data's own labels of which a row is flagged, and the share of the
other rows that is. Where no candidate was better in the search, nothing is compared.

| stream | series | objective | tuned | gain | applied | found | tuned | false | tuned |
| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |
"""


def streams(data: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield simulated streams and series of NAB, with their labels."""
    for name, simulate in (("`iiot`", simulate_iiot), ("`ems`", simulate_ems)):
        yield f"{name}, simulated", simulate(14, 3, 11, start=START, churn=0.0).frame
    for folder in ("realKnownCause",):
        parts = [
            case.frame.select(
                entity=pl.lit(case.name),
                metric=pl.lit("value"),
                event_time=pl.lit(START).dt.cast_time_unit("us")
                + pl.duration(minutes=5 * pl.int_range(pl.len())),
                value=pl.col(case.metrics[0]).cast(pl.Float64),
                label=pl.Series(case.labels),
            )
            for case in nab(data)
            if case.name.startswith(folder)
        ]
        yield f"NAB {folder}", pl.concat(parts)


def row(name: str, rows: pl.DataFrame, trials: int) -> str:
    """Tune a stream and return its line of the table."""
    labels = rows.rename({"label": "known"})
    plain = labels.with_columns(known=pl.lit(value=False))
    compared = HeldOut.of(plain, seed=SEED + 1, min_samples=100)
    searched = HeldOut.of(before_judged(plain), seed=SEED, min_samples=100)
    count = compared.rows.select("entity", "metric").n_unique()
    with tempfile.TemporaryDirectory() as folder:

        def judge(held: HeldOut) -> Judge:
            return Judge(
                held, IIOT.features, FleetPolicy(), lambda: Path(tempfile.mkdtemp(dir=folder))
            )

        def judged(one: DetectorSettings, part: Collection[str]) -> tuple[Measured, float]:
            return Measured.of(judge(searched).counts(one, part), TODAY.alpha), 0.0

        best = search(
            TODAY,
            candidates(TODAY, trials, seed=SEED, longest_window=600),
            searched.entities,
            judged,
            out_of_time=lambda: False,
            tell=lambda _: None,
        )
        if best is None:
            return f"| {name} | {count} | | | | no better one | | | | |"
        both = [judge(compared).counts_and_ranking(one) for one in (TODAY, best)]
        told = compare(*both, hosts=len(compared.entities), limit=TODAY.alpha, seed=SEED)
        truth = compared.rows.drop("known").join(
            labels.select("entity", "metric", "event_time", "known"),
            on=["entity", "metric", "event_time"],
            maintain_order="left",
        )
        labelled = replace(
            compared,
            rows=truth.with_columns(known=pl.col("known") & pl.col("judged")),
            rounds=(truth.select("value", truth=pl.col("known") & pl.col("judged")),),
        )
        real = [
            Measured.of(judge(labelled).counts_and_ranking(one)[0], TODAY.alpha)
            for one in (TODAY, best)
        ]
    return (
        f"| {name} | {count} | {told.present.objective:.3f} | {told.proposed.objective:.3f} | "
        f"{told.gain:+.3f} ({told.low:+.3f} to {told.high:+.3f}) | "
        f"{'yes' if told.is_gain else 'no'} | "
        + " | ".join(f"{one.event_recall:.0%}" for one in real)
        + " | "
        + " | ".join(f"{one.false_positive_rate:.2%}" for one in real)
        + " |"
    )


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/tuning.md")
    options = parser.parse_args()
    text = HEAD.format(trials=options.trials)
    for name, rows in streams(options.data / "nab"):
        text += row(name, rows, options.trials) + "\n"
        print(text.splitlines()[-1], flush=True)
        options.out.write_text(text)


if __name__ == "__main__":
    main()
