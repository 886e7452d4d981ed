"""Measure barcode detection on simulated months that training never saw.

One command, everything written to ``docs/measured/barcode_quality.md``::

    python benchmarks/barcode_quality.py [--events 300000] [--out docs/measured/barcode_quality.md]

Training and test share the network (places, routes, habits) and nothing else: other seeds, other
months. Labels are read when everything is scored, and by nothing before.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from barcode import day_by_day as barcode_day_by_day
from barcode import learned as barcode_learned
from barcode import rules as barcode_rules

from anomaly_platform.ml.detectors.rules.detector import RulesModel
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.simulator.supply_network import SupplyNetworkData, simulate_supply_network

ROOT = Path(__file__).resolve().parents[1]
EVENTS = 300_000
TRAIN_SEED, TEST_SEEDS = 101, (202, 203, 204)
TRAIN_DAYS, TEST_DAYS = 90, 30
TRAIN_START = datetime(2024, 12, 9, tzinfo=UTC)
TEST_START = datetime(2025, 3, 10, tzinfo=UTC)
LOOK_BACK_START = TEST_START - timedelta(days=TEST_DAYS)


def training_data(events: int) -> SupplyNetworkData:
    """Three months with the anomalies that a training window has, `events` scans per month."""
    return simulate_supply_network(
        events=3 * events, days=TRAIN_DAYS, seed=TRAIN_SEED, start=TRAIN_START
    )


def test_months(events: int) -> dict[int, pl.DataFrame]:
    """Scans of the test months, by seed."""
    return {
        seed: simulate_supply_network(
            events=events, days=TEST_DAYS, seed=seed, start=TEST_START
        ).scans
        for seed in TEST_SEEDS
    }


def months_with_look_back(events: int) -> dict[int, tuple[pl.DataFrame, pl.DataFrame]]:
    """Return scans of the test months after a month of look-back, and incidents, by seed."""
    found = {
        seed: simulate_supply_network(
            events=2 * events, days=2 * TEST_DAYS, seed=seed, start=LOOK_BACK_START
        )
        for seed in TEST_SEEDS
    }
    return {seed: (data.scans, data.incidents) for seed, data in found.items()}


def reference_of(data: SupplyNetworkData) -> ScanReference:
    """Read the reference as a user would: from files."""
    with tempfile.TemporaryDirectory() as folder:
        data.world.write_reference(Path(folder))
        return ScanReference.read(Path(folder))


def main() -> None:
    """Run everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS, help="scans per month")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/measured/barcode_quality.md")
    chosen = parser.parse_args()

    train = training_data(chosen.events)
    months = test_months(chosen.events)
    reference = reference_of(train)
    labelled = train.scans.select(pl.col("label").mean()).item()
    events = f" --events {chosen.events}" if chosen.events != EVENTS else ""
    head = f"""# Barcode detection, measured

Written by `python benchmarks/barcode_quality.py{events}`; do not edit.

Trained on {len(train.scans):,} simulated scans of {TRAIN_DAYS} days (seed {TRAIN_SEED};
{labelled:.1%} of them carry a label, and none is read). Tested on months of {TEST_DAYS}
days that begin later, in the same network, from other seeds. No setting was chosen on
these months: development used another network and other seeds.
"""
    models = barcode_learned.train(train.scans, reference)
    judged = months_with_look_back(chosen.events)
    days = [TEST_START.date() + timedelta(days=day) for day in range(TEST_DAYS)]
    first = TEST_SEEDS[0]
    sections = [
        barcode_rules.section(RulesModel.fit(train.scans, reference), months),
        barcode_learned.section(models, judged, TEST_START),
        barcode_day_by_day.section(models, judged[first][0], days, f"The month of seed {first}"),
    ]
    chosen.out.write_text("\n".join([head, *sections]))
    print(f"{chosen.out} written")


if __name__ == "__main__":
    main()
