"""A reference that only lists the places: they are known, and the words of a scan name the tier."""

from __future__ import annotations

import polars as pl
import pytest

from anomaly_platform.ml.detectors.rules.detector import FIRES_AT, RULE_KINDS, RulesModel
from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
from anomaly_platform.ml.features.scans.reference import ScanReference
from tests.builders.scans import Scan, scans_of

NO_ROUTES = RouteStatistics(
    pl.DataFrame(
        schema={
            "from_place": pl.String,
            "to_place": pl.String,
            "trips": pl.Int64,
            "log_hours": pl.Float64,
            "spread": pl.Float64,
        }
    )
)
SKIPPED: list[Scan] = [(0, "F1", "Outbound", "Factory"), (5, "R1", "Inbound", "Retailer")]
AGAINST: list[Scan] = [(0, "M1", "Outbound", "WMS"), (5, "F1", "Inbound", "Factory")]
ORDINARY: list[Scan] = [(0, "F1", "Outbound", "Factory"), (5, "M1", "Inbound", "WMS")]
STRANGE: list[Scan] = [(0, "F1", "Outbound", "Factory"), (5, "X9", "Inbound", "WMS")]


def fired(rows: list[Scan], *known: str) -> set[tuple[int, str]]:
    reference = ScanReference()
    if known:
        reference = ScanReference(locations=pl.DataFrame({"location_id": known}))
    verdicts = RulesModel(reference, NO_ROUTES).score(scans_of(*rows))
    return {
        (row, kind)
        for kind in RULE_KINDS
        for row in (verdicts[f"{kind}_score"] >= FIRES_AT).arg_true()
    }


@pytest.mark.parametrize("known", [(), ("F1", "M1", "R1"), ("F1", "M1")])
def test_ids_alone_take_no_tier_from_the_words(known: tuple[str, ...]) -> None:
    assert fired(SKIPPED, *known) == {(1, "locErr")}
    assert fired(AGAINST, *known) == {(1, "locErr")}
    assert fired(ORDINARY, *known) == set()


def test_a_place_that_the_list_lacks_is_unknown() -> None:
    assert fired(STRANGE) == set(), "nobody has said which places there are"
    assert fired(STRANGE, "F1", "M1", "R1") == {(1, "locErr")}
