"""How much a bundle may weigh: ordinary ones of any size pass, one that has grown does not."""

import numpy as np
import polars as pl
import pytest

from anomaly_platform.kinds.metric.bundles import BYTES_BESIDES, allowed_bytes
from anomaly_platform.ml.training.extending import MOST_LAYERS, extend_fleet
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.streams import IIOT
from tests.builders.readings import series

POLICY = FleetPolicy(evaluate=False)


def device(number):
    rng = np.random.default_rng(number)
    parts = [
        series(f"d{number}", metric, rng.normal(50.0, 2.0, 600)) for metric in ("load", "speed")
    ]
    return IIOT.features.compute(pl.concat(parts).sort("entity", "metric", "event_time"))


def weight(bundle):
    return sum(one["bytes"] for one in bundle.manifest["files"].values())


def test_bundles_of_ordinary_series_weigh_what_they_may_however_many_series_there_are(tmp_path):
    devices = [device(number) for number in range(4)]
    bundle = train_fleet(
        devices, IIOT.features, POLICY, tmp_path / "0", lineage=Lineage("iiot", "0", "0.1.0")
    )
    files = []
    for number in range(1, MOST_LAYERS + 3):
        # What every bundle may weigh besides is nothing to a large fleet.
        assert weight(bundle) <= allowed_bytes(bundle.manifest) - BYTES_BESIDES
        files.append(len(bundle.manifest["files"]))
        bundle = extend_fleet(
            *(bundle, [(f"d{number % 4}", "load")], [devices[number % 4]], IIOT.features, POLICY),
            tmp_path / str(number),
            lineage=Lineage("iiot", str(number), "0.1.0", parent=str(number - 1)),
        )
    assert max(files) > 3


@pytest.mark.parametrize(
    ("series", "slots", "layers", "size"),
    [(58, 58, 2, 15_444_528), (70, 70, 2, 18_550_391), (10_000, 12_000, 7, 3_800_000_000)],
)
def test_a_bundle_twice_as_heavy_as_ordinary_weighs_too_much(series, slots, layers, size):
    manifest = {"data": {"trained": series}, "slots": slots, "layers": [{}] * layers}
    assert size <= allowed_bytes(manifest) < 2 * size


def test_replaced_models_count_only_as_far_as_files_may_hold_them():
    many, too_many = ({"data": {"trained": 50}, "slots": n, "layers": []} for n in (100, 400))
    assert allowed_bytes(many) == allowed_bytes(too_many)
