"""When models are trained anew: with patience and cool-down, never twice on the same data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.drift.days import DayChange
from anomaly_platform.streams.base import RetrainingPolicy
from anomaly_platform.streams.drift import Verdict, judge_day
from anomaly_platform.streams.retraining import (
    DriftedDay,
    SeriesEvidence,
    StreamEvidence,
    decide,
)

POLICY = RetrainingPolicy()
NOW = datetime(2026, 2, 1, tzinfo=UTC)
VERDICTS: dict[str, Verdict] = {"-": "none", "d": "drifted", "s": "severe", "?": "unknown"}


def days(pattern: str) -> tuple[DriftedDay, ...]:
    first = date(2026, 1, 20)
    return tuple(
        DriftedDay(first + timedelta(days=n), VERDICTS[letter], 2.0, 3.0)
        for n, letter in enumerate(pattern)
    )


def series(name: str = "load", **changes: object) -> SeriesEvidence:
    base = SeriesEvidence("press-1", name, 6000, NOW - timedelta(days=25), NOW, trained_rows=5000)
    return replace(base, **changes)  # type: ignore[arg-type]


def fleet(*members: SeriesEvidence, **changes: object) -> StreamEvidence:
    base = StreamEvidence(
        newest_event=NOW,
        champion=1,
        window_end=NOW - timedelta(days=3),
        trained_series=100,
        series=members,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def causes(evidence: StreamEvidence, policy: RetrainingPolicy = POLICY) -> list[tuple[str, bool]]:
    return [(one.cause, one.entity is None) for one in decide(policy, evidence)]


@pytest.mark.parametrize(
    ("pattern", "due"),
    [
        ("", False),
        ("--d", False),
        ("dd-", False),
        ("-dd", False),
        ("ddd", True),
        ("dd?", False),
        ("-dds", True),
        # A model of the new behaviour is trained on it alone, which takes two of these days.
        ("--s", False),
        ("-ss", True),
        ("-ds", True),
        ("s--", False),
        ("dds-", False),
    ],
)
def test_drift_needs_days_in_a_row_or_one_that_is_severe(pattern: str, due: bool) -> None:
    expected = [("drift", False)] if due else []
    assert causes(fleet(series(days=days(pattern)), severe_series=1)) == expected


def test_a_severe_day_needs_patience_where_the_model_has_seen_no_week() -> None:
    """A model of Monday to Wednesday only lacks a Sunday."""
    for pattern, due in (("-ss", False), ("sss", True)):
        young = series(days=days(pattern), trained_rows=6 * 240, new_labels=0, rows=2_000)
        young = replace(young, first_event=NOW - timedelta(days=2_000 / 240))
        assert causes(fleet(young, severe_series=1)) == ([("drift", False)] if due else [])
        week = replace(young, trained_rows=7 * 240 - 1)
        assert causes(fleet(week, severe_series=1)) == [("drift", False)]


def test_one_odd_day_of_the_whole_fleet_trains_nothing() -> None:
    """A holiday: every series is severe on one day."""
    members = [series(f"m{n}", days=days("---s")) for n in range(100)]
    assert causes(fleet(*members, severe_series=100)) == []
    lasting = [series(f"m{n}", days=days("-sss")) for n in range(100)]
    assert causes(fleet(*lasting, severe_series=100)) == [("drift", True)]


def test_many_series_become_the_whole_stream() -> None:
    some = [series(f"m{n}", days=days("ddd")) for n in range(49)]
    assert causes(fleet(*some)) == [("drift", False)] * 49
    # Half of them have not changed, and keep their history.
    half = fleet(*some, series("more", days=days("ddd")))
    assert causes(half) == [("drift", False)] * 50
    (whole,) = decide(POLICY, replace(half, trained_series=50))
    assert (whole.entity, whole.cause) == (None, "drift")
    assert "50 series are due and 50 have a model" in whole.reason
    grown = [series(f"m{n}", rows=9_000, trained_rows=1_000) for n in range(50)]
    assert causes(fleet(*grown)) == [("volume", True)]


@pytest.mark.parametrize(
    ("week", "due"),
    [
        ("qqqqqqq", True),
        ("qqq--qq", True),
        ("--qqqqq", False),
        ("qqqqqq", False),
        ("q-q-q-q", False),
    ],
)
def test_less_noise_is_learned_after_a_week_of_it(week: str, due: bool) -> None:
    changes = {"q": DayChange("quieter", 0.3, 1.0), "-": DayChange(None, 1.0, 1.0)}
    first = date(2026, 1, 30) - timedelta(days=len(week) - 1)
    seen = [
        DriftedDay(first + timedelta(days=n), "none", change=changes[one])
        for n, one in enumerate(week)
    ]
    found = decide(POLICY, fleet(series(days=seen)))
    assert [(one.cause, one.window_days) for one in found] == ([("drift", 7)] if due else [])
    assert all(
        "less noise for a week up to 2026-01-30; its noise on" in one.reason for one in found
    )


def test_one_run_trains_on_what_all_of_its_series_have_of_the_new_behaviour() -> None:
    members = [series("a", days=days("dddd")), series("b", days=days("-ddd"))]
    assert [one.window_days for one in decide(POLICY, fleet(*members))] == [3, 3]
    newcomer = series("c", trained_rows=None)
    found = {one.metric: one.window_days for one in decide(POLICY, fleet(*members, newcomer))}
    assert found == {"a": 3, "b": 3, "c": None}


def test_what_was_asked_for_cools_down_in_event_time() -> None:
    drifted = series(days=days("ddd"))
    assert causes(fleet(replace(drifted, asked=NOW))) == []
    assert causes(fleet(drifted, asked=NOW - timedelta(hours=23))) == []
    assert causes(fleet(replace(drifted, asked=NOW - timedelta(days=1)))) == [("drift", False)]
    # So does what was trained without being asked for, such as the first model.
    assert causes(fleet(drifted, window_end=NOW)) == []


def test_age_is_data_that_the_models_have_not_seen() -> None:
    old = fleet(window_end=NOW - timedelta(days=7))
    assert causes(old) == [("age", True)]
    assert causes(fleet(window_end=NOW - timedelta(days=6, hours=23))) == []
    # Imported history that ends where its training ended is not old, however long ago that is.
    assert causes(fleet(window_end=NOW)) == []
    # Asked for and not promoted: not again before there is another week of data.
    assert causes(replace(old, asked=NOW - timedelta(days=6))) == []
    assert causes(replace(old, asked=NOW - timedelta(days=7))) == [("age", True)]


def test_poor_quality_trains_once_the_data_can_have_changed() -> None:
    assert causes(fleet(injected_quality=0.89)) == [("quality", True)]
    assert causes(fleet(injected_quality=0.89, window_end=NOW - timedelta(days=2))) == []
    assert causes(fleet(injected_quality=0.89, asked=NOW - timedelta(days=2))) == []
    # What people know counts more than what was injected, once there is enough of it.
    enough = {"labelled": 50, "labelled_anomalies": 30}
    assert causes(fleet(injected_quality=0.5, labelled_quality=0.95, **enough)) == []
    poor = fleet(injected_quality=0.95, labelled_quality=0.5, **enough)
    assert causes(poor) == [("quality", True)]
    assert causes(replace(poor, labelled=49)) == []
    assert causes(replace(poor, labelled_anomalies=29)) == []
    # Models of a day or two are young, which is no news.
    assert causes(fleet(injected_quality=0.5, trained_days=6.9)) == []
    assert causes(fleet(injected_quality=0.5, trained_days=7.0)) == [("quality", True)]
    barcode = RetrainingPolicy(minimum_quality=0.75)
    assert causes(fleet(injected_quality=0.80), barcode) == []


def test_a_new_series_gets_a_model_and_a_young_one_a_better_one() -> None:
    assert causes(fleet(series(trained_rows=None))) == [("volume", False)]
    assert causes(fleet(series(trained_rows=None, rows=99))) == []
    assert causes(fleet(series(rows=9_999))) == []
    assert causes(fleet(series(rows=10_000))) == [("volume", False)]
    # A series that has more history than a training takes has always "grown".
    long = series(rows=10_000, first_event=NOW - timedelta(days=31))
    assert causes(fleet(long)) == []


def test_labels_ask_for_a_training_once_there_are_some() -> None:
    assert causes(fleet(series(new_labels=9))) == []
    assert causes(fleet(series(new_labels=10))) == [("labels", False)]


def test_nothing_is_asked_for_before_the_first_model() -> None:
    assert decide(POLICY, StreamEvidence()) == []
    assert causes(fleet(series(trained_rows=None), champion=None)) == []


def test_a_stream_of_scans_is_judged_as_a_whole() -> None:
    assert causes(fleet(days=days("-dd"))) == []
    assert causes(fleet(days=days("-ddd"))) == [("drift", True)]
    assert causes(fleet(days=days("-ddd"), asked=NOW)) == []


letters = st.text(alphabet="-ds?", max_size=8)


@given(pattern=letters, asked_hours=st.integers(0, 400), severe=st.integers(0, 100))
def test_what_was_asked_for_is_not_asked_for_again_on_the_same_data(
    pattern: str, asked_hours: int, severe: int
) -> None:
    """However often a sensor ticks, it asks once per state of the data."""
    member = series(days=days(pattern), trained_rows=None if severe % 2 else 2000)
    evidence = fleet(
        member,
        severe_series=severe,
        window_end=NOW - timedelta(hours=asked_hours),
        injected_quality=0.5,
    )
    once = decide(POLICY, evidence)
    asked = fleet(
        replace(member, asked=NOW if any(d.entity for d in once) else None),
        severe_series=severe,
        window_end=evidence.window_end,
        injected_quality=0.5,
        asked=NOW if any(d.entity is None for d in once) else None,
    )
    again = decide(POLICY, asked)
    assert not any(d.entity is not None for d in again)
    assert not (asked.asked and again)


@given(pattern=letters, patience=st.integers(1, 8))
def test_patience_is_the_number_of_drifted_days_in_a_row(pattern: str, patience: int) -> None:
    policy = RetrainingPolicy(drift_days=patience)
    row = len(pattern) - len(pattern.rstrip("ds"))
    calm = fleet(series(days=days(pattern)), severe_series=100)
    found = decide(policy, calm)
    assert bool(found) == (row >= max(patience, 2))
    assert all(one.window_days == row for one in found)


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        ((None, None, None, None), "unknown"),
        ((0.9, 0.05, None, None), "unknown"),
        ((0.9, 0.05, None, 0.3), "none"),
        # An ordinary day of a machine in shifts lies far from its month.
        ((0.7, 0.05, 0.7, 0.3), "none"),
        ((1.1, 0.05, 0.7, 0.3), "drifted"),
        ((2.2, 0.05, 0.7, 0.3), "severe"),
        # Few readings: such a PSI comes of sampling alone.
        ((0.3, 0.2, 0.01, 0.3), "none"),
        ((0.24, 0.01, 0.01, 0.3), "none"),
        ((0.26, 0.01, 0.01, 0.3), "drifted"),
        ((0.1, 0.01, 0.7, 2.1), "drifted"),
        ((0.1, 0.01, 0.7, 4.1), "severe"),
    ],
)
def test_a_day_is_judged_against_what_is_usual(
    measured: tuple[float | None, ...], verdict: str
) -> None:
    psi, noise, usual, score = measured
    assert judge_day(POLICY, psi=psi, psi_noise=noise, usual_psi=usual, score_psi=score) == verdict


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (DayChange(), "unknown"),
        (DayChange(None, 1.0, 1.0), "none"),
        (DayChange("quieter", 0.3, 1.0), "none"),
        (DayChange("wider", 1.0, 1.5), "drifted"),
    ],
)
def test_a_day_that_could_be_compared_and_did_not_change_is_known(
    change: DayChange, verdict: str
) -> None:
    unknown = {"psi": None, "psi_noise": None, "usual_psi": None, "score_psi": None}
    assert judge_day(POLICY, **unknown, change=change) == verdict


def test_the_reason_counts_calendar_days_as_the_page_of_the_series_does() -> None:
    def told_of(*behind: int) -> bool:
        quiet = DayChange("quieter", 0.3, 1.0)
        drifted = [
            DriftedDay(date(2026, 1, 30) - timedelta(days=n), "drifted", change=quiet)
            for n in behind
        ]
        (due,) = decide(POLICY, fleet(series(days=drifted)))
        return "its noise on 3 of the last 3 days" in due.reason

    assert told_of(6, 1, 0)
    assert not told_of(7, 1, 0)


def test_series_that_changed_are_trained_before_everything_is() -> None:
    changed = series("changed", days=days("ddd"))
    assert causes(fleet(changed, injected_quality=0.5)) == [("drift", False)]
    assert causes(fleet(changed, window_end=NOW - timedelta(days=9))) == [("drift", False)]
    asked = replace(changed, asked=NOW)
    assert causes(fleet(asked, injected_quality=0.5)) == [("quality", True)]
