"""Fingerprints and severities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.notifications.outbox import anomaly_severity, fingerprint


@given(st.lists(st.text(max_size=200), min_size=1, max_size=3))
def test_a_fingerprint_fits_an_index_and_names_one_thing(parts: list[str]) -> None:
    made = fingerprint("anomaly", *parts)
    assert made == fingerprint("anomaly", *parts)
    assert len(made.encode()) <= 400
    assert "\x00" not in made
    assert made != fingerprint("anomaly", *parts, "more")


def test_a_separator_within_a_name_is_not_one_between_names() -> None:
    assert fingerprint("anomaly", "a/b", "c") != fingerprint("anomaly", "a", "b/c")
    assert fingerprint("anomaly", "\ud800") != fingerprint("anomaly", "\ud801")
    assert fingerprint("anomaly", "a\x00") != fingerprint("anomaly", "a")


def test_severity_follows_the_way_from_threshold_to_one() -> None:
    assert anomaly_severity(0.7, 0.7) == "warning"
    assert anomaly_severity(0.87, 0.7) == "warning"
    assert anomaly_severity(0.9, 0.7) == "critical"
    assert anomaly_severity(1.0, 1.0) == "critical"
