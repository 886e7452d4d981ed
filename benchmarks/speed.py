"""How fast the platform is, against what people would use instead: one run, one table.

    python benchmarks/speed.py [--quick] [--out docs/measured/speed.md]

Everything is a ratio to a named peer that ran on the same machine minutes apart, by the median of
several repetitions, or a peak of memory against that of a tenth of the rows. Nothing fails because
a machine is slow. The whole run takes a quarter of an hour on two idle cores and some 15 GB of
disk; `--quick` takes two minutes and shows that everything works, not how fast it is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from parts import forest
from parts import platform as stages
from speed_table import Line, clock, machine, moment, size, table, times

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    fleet: int = 1_000
    sample: int = 20
    series: int = 3_470
    days: int = 3
    small_fleet: int = 1_000
    large_fleet: int = 10_000
    memory_series: int = 10_000
    small: int = 100
    large: int = 1_000


QUICK = Scale(100, 5, 200, 1, 100, 1_000, 1_000, 50, 500)


def main() -> None:
    """Measure everything and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a thirtieth of everything")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/speed.md")
    options = parser.parse_args()
    scale = QUICK if options.quick else Scale()
    began = moment()
    forest.warm_up()
    rng = np.random.default_rng(0)
    parts = ["## Models\n", *_models(rng, scale), "## From landing to BI\n", _whole(scale)]
    parts += ["## Memory of a large day\n", _memory(scale), "## Large fleets\n", _fleets(scale)]
    command = f"python benchmarks/speed.py{' --quick' if options.quick else ''}"
    options.out.write_text("\n".join([_head(command, began, moment()), *parts]))
    print(options.out.read_text())


def _head(command: str, began: str, ended: str) -> str:
    return (
        "# Speed\n\n"
        f"Made by `{command}` in one run, from {began} to {ended}, on {machine()}.\n\n"
        "Only ratios of the same run mean anything elsewhere. The machine is shared, so that the "
        "times themselves say more about its other guests; each time is a median, and ours and "
        "the peer's take turns where both are short.\n"
    )


def _models(rng: np.random.Generator, scale: Scale) -> list[str]:
    lines, difference = forest.forest_lines(rng)
    lines.append(forest.reading_line(rng))
    fleet, bytes_per_series = forest.fleet_lines(rng, scale.fleet, scale.sample)
    rows = [
        [
            *(line.what, clock(line.ours), line.peer, clock(line.theirs)),
            f"**{times(line.faster)}**",
            f"≥ {line.wanted}×" if line.wanted else "",
        ]
        for line in [*lines, *fleet]
    ]
    said = (
        f"A bundle takes **{size(bytes_per_series)}** per series (wanted: at most 300 KB). On "
        f"the same trees our scores differ from scikit-learn's by at most {difference:.0e}. "
        f"scikit-learn's loop is timed on {scale.sample} series and scaled.\n"
    )
    return [table(("what", "ours", "peer", "its time", "faster", "wanted"), rows), said]


def _whole(scale: Scale) -> str:
    found = stages.whole_run(scale.series, 288, scale.days)
    ours, theirs = dict(found.ours), dict(found.theirs)
    theirs["scored"] += theirs.pop("COPY")
    names = {
        "raw": "raw: CSV to rows of text",
        "validated": "validated",
        "features": "features, with a day of look-back",
        "scored": "scored, with COPY into PostgreSQL",
    }
    wanted = {"validated": "≤ 5×", "features": "≤ 3×"}
    lines = [
        Line(name, ours[stage], "", theirs[stage], wanted.get(stage, ""))
        for stage, name in names.items()
    ]
    total = Line("**together**", sum(ours.values()), "", sum(theirs.values()), "≤ 1.5×")
    rows = [
        [
            *(line.what, clock(line.ours), clock(line.ours / found.rows), clock(line.theirs)),
            f"**{times(line.slower)}**" if line is total else times(line.slower),
            line.wanted,
        ]
        for line in [*lines, total]
    ]
    return (
        f"A day of {found.rows:,} readings of {found.series:,} series, median of {found.days} "
        "days, a champion in service. The peer is Polars with its own threads, reading what the "
        "stage reads and writing what it writes (Zstandard, level 1) and nothing else, and for "
        "scores a plain COPY of the same rows as CSV into a table with the same indexes. Stages "
        "are called as the assets call them; Dagster's own work and asset checks are not in.\n\n"
        + table(("stage", "ours", "per row", "peer", "as long", "wanted"), rows)
    )


def _memory(scale: Scale) -> str:
    found = stages.memory_of_days(scale.memory_series, scale.small, scale.large)
    training = found.peaks["training"][0]
    rows = [
        [
            *(stage, size(small), size(large), f"**{times(large / small)}**", "≤ 1.4×"),
            clock(found.taken[stage][1] / found.rows[1]),
        ]
        for stage, (small, large) in found.peaks.items()
        if stage != "training"
    ]
    header = ["stage", *(f"{rows:,} rows" for rows in found.rows)]
    header += ["ratio", "wanted", "time per row of the large day"]
    return (
        f"The most memory that each stage held for one day of {found.series:,} series, each in a "
        "process of its own (the interpreter and its libraries included).\n\n"
        + table(header, rows)
        + f"\nTraining the champion on two such days took {clock(found.taken['training'][0])} and "
        f"{size(training)}.\n"
    )


def _fleets(scale: Scale) -> str:
    rows, peaks = [], []
    for count in (scale.small_fleet, scale.large_fleet):
        with tempfile.TemporaryDirectory() as folder:
            taken, peak = stages.in_child(forest.fleet_in_one_run, count, 288, folder)
        peaks.append(peak)
        rows.append(
            [
                *(f"{count:,} series", clock(taken["train"]), clock(taken["score"])),
                *(size(peak), size(taken["bytes"]), clock(taken["open"])),
                f"{size(taken['read'])} ({taken['read'] / taken['bytes']:.2%})",
            ]
        )
    header = ("fleet", "train", "score", "peak memory", "bundle", "open one series", "bytes read")
    return (
        "Trained and then scored in one process, 288 rows per series, features included. Memory "
        f"grows by **{times(peaks[1] / peaks[0])}** while the fleet grows by "
        f"{scale.large_fleet // scale.small_fleet}×. One series is opened and verified without "
        "reading the others' arrays; the bytes are those read of the array file.\n\n"
        + table(header, rows)
    )


if __name__ == "__main__":
    sys.exit(main())
