"""What is found in small networks: four weeks of 350 scans a day teach, two more are judged.

    python benchmarks/barcode/small_networks.py NETWORK SEED...

Each seed is a supply chain of its own in the network, learned from scans with anomalies that
nobody labelled, as `anomaly backtest scans` learns. What is done to a pallet or a lot is one event,
however many codes are in it; a flagged scan without a label of its own is a false one. Prints a
line per seed and the sum.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.cli.demo import events_found
from anomaly_platform.ml.detectors.rules.parameters import RULE_KINDS
from anomaly_platform.ml.features.scans.reference import ScanReference
from anomaly_platform.ml.scans.learning import learn_scans
from anomaly_platform.ml.scans.scoring import Together
from anomaly_platform.simulator.supply_network import simulate_supply_network
from anomaly_platform.streams import BARCODE

START = datetime(2026, 1, 5, tzinfo=UTC)
TAUGHT, JUDGED, SCANS_A_DAY = 28, 14, 350
COUNTS = ("events", "found", "odd", "odd found", "flagged", "false", "scans")


def judged(network: int, seed: int) -> list[int]:
    """Learn from one month and judge the weeks after it; return `COUNTS`."""
    begin = START + timedelta(days=TAUGHT)
    taught, new = (
        simulate_supply_network(
            events=SCANS_A_DAY * days, days=days, seed=number, network_seed=network, start=start
        )
        for days, number, start in ((TAUGHT, seed, START), (JUDGED, seed + 100, begin))
    )
    with tempfile.TemporaryDirectory() as folder:
        taught.world.write_reference(Path(folder))
        reference = ScanReference.read(Path(folder))
    models = learn_scans(BARCODE.features.compute(taught.scans), reference, seed=0)
    features = BARCODE.features.compute(pl.concat([taught.scans, new.scans]))
    together = Together.of(models, features["location_id"], "file")
    known = new.scans.select("event_id", "label", "anomaly_kind")
    scored = models.score(features, since=begin, together=together)
    scored = scored.drop("label", "anomaly_kind", strict=False).join(known, on="event_id")
    events = events_found(scored)
    odd = events_found(scored.filter(~pl.col("anomaly_kind").is_in(RULE_KINDS)))
    flagged = scored.filter("is_anomaly")
    return [
        *(events.size, int(events.sum()), odd.size, int(odd.sum())),
        *(flagged.height, flagged.filter(~pl.col("label")).height, scored.height),
    ]


def main() -> None:
    """Judge the seeds of a network."""
    network, *seeds = map(int, sys.argv[1:])
    total = np.zeros(len(COUNTS), dtype=np.int64)
    for seed in seeds:
        found = judged(network, seed)
        total += found
        print(seed, dict(zip(COUNTS, found, strict=True)), flush=True)
    shares = f"found {total[1] / total[0]:.1%}, precision {1 - total[5] / total[4]:.1%}"
    print("all", dict(zip(COUNTS, total.tolist(), strict=True)), shares)


if __name__ == "__main__":
    main()
