from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.calibration.conformal import barcode_view, score_of_p
from anomaly_platform.ml.scans.fusion import (
    HABITS,
    LSTM,
    RULES,
    SVM,
    BarcodeFusion,
    FusionWeights,
    p_of_certainty,
    run_side_by_side,
)

COUNT = 4000


def normal(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {LSTM: 1 - rng.random(COUNT), SVM: 1 - rng.random(COUNT)}


@pytest.fixture(scope="module")
def fusion() -> BarcodeFusion:
    return BarcodeFusion.fit(np.zeros(COUNT), normal(0))


def test_a_share_alpha_of_normal_scans_reaches_the_threshold(fusion: BarcodeFusion) -> None:
    fused = fusion.fuse(np.zeros(COUNT), normal(1))
    assert fused.used == (RULES, LSTM, SVM)
    for confidence in (fused.final, fused.ml, fused.lstm, fused.svm):
        assert (confidence >= 50).mean() == pytest.approx(0.01, abs=0.006)


def test_a_second_detector_that_agrees_adds_to_the_first(fusion: BarcodeFusion) -> None:
    p = {LSTM: np.array([1e-3, 1e-3]), SVM: np.array([1e-3, 0.5])}
    fused = fusion.fuse(np.zeros(2), p)
    assert fused.final[0] > fused.final[1]
    assert fused.ml[0] > fused.ml[1]


def test_what_one_is_very_sure_of_is_not_averaged_away(fusion: BarcodeFusion) -> None:
    fused = fusion.fuse(np.zeros(1), {LSTM: np.array([1e-9]), SVM: np.array([0.9])})
    assert fused.final[0] >= 50


@settings(deadline=None)
@given(rule=st.floats(50, 100), lstm=st.floats(1e-12, 1), svm=st.floats(1e-12, 1))
def test_a_rule_that_fires_floors_the_result(rule: float, lstm: float, svm: float) -> None:
    fusion = BarcodeFusion.fit(np.zeros(200), {k: v[:200] for k, v in normal(0).items()})
    rules = np.array([rule])
    for found in ({}, {LSTM: np.array([lstm])}, {LSTM: np.array([lstm]), SVM: np.array([svm])}):
        fused = fusion.fuse(rules, found)
        assert fused.final[0] >= rule
        assert fused.final[0] <= 100


@settings(deadline=None)
@given(st.floats(1e-12, 1), st.floats(1e-12, 1), st.floats(0.01, 1))
def test_more_evidence_never_lowers_the_confidence(lstm: float, svm: float, factor: float) -> None:
    fusion = BarcodeFusion.fit(np.zeros(200), {k: v[:200] for k, v in normal(0).items()})
    p = {LSTM: np.array([lstm, max(lstm * factor, 1e-12)]), SVM: np.array([svm, svm])}
    final = fusion.fuse(np.zeros(2), p).final
    assert final[1] >= final[0]


def test_weights_renormalise_when_a_detector_is_missing(fusion: BarcodeFusion) -> None:
    np.testing.assert_allclose(FusionWeights().of((RULES, LSTM)), [0.4 / 0.75, 0.35 / 0.75])
    fused = fusion.fuse(np.zeros(COUNT), {LSTM: normal(1)[LSTM]}, left_out={SVM: "late"})
    assert fused.used == (RULES, LSTM)
    assert fused.left_out == {SVM: "late"}
    assert np.isnan(fused.svm).all()
    np.testing.assert_array_equal(fused.ml, fused.lstm)
    assert (fused.final >= 50).mean() == pytest.approx(0.01, abs=0.006)


def test_after_a_proven_violation_learned_evidence_counts_half(fusion: BarcodeFusion) -> None:
    p = {LSTM: np.array([1e-4, 1e-4]), SVM: np.array([0.5, 0.5])}
    fused = fusion.fuse(np.zeros(2), p, after_violation=np.array([False, True]))
    assert fused.final[0] >= 50 > fused.final[1]
    assert fused.lstm[0] == fused.lstm[1]
    strong = fusion.fuse(np.zeros(1), {LSTM: np.array([1e-12])}, after_violation=np.array([True]))
    assert strong.final[0] >= 50


def test_without_models_the_rules_speak_alone() -> None:
    rules = np.array([0.0, 30.0, 95.0])
    fused = BarcodeFusion({}).fuse(rules, {})
    np.testing.assert_array_equal(fused.final, rules)
    assert np.isnan(fused.ml).all()
    assert fused.used == (RULES,)


def test_without_rules_the_learned_detectors_speak(fusion: BarcodeFusion) -> None:
    fused = fusion.fuse(np.full(COUNT, np.nan), normal(1))
    np.testing.assert_array_equal(fused.final, fused.ml)
    assert fused.used == (LSTM, SVM)


def test_scans_at_which_a_rule_fires_are_no_part_of_what_is_normal() -> None:
    p, rules = normal(0), np.zeros(COUNT)
    p[LSTM][:400] = p[SVM][:400] = 1e-9
    rules[:400] = 90.0
    clean = BarcodeFusion.fit(rules, p)
    assert (clean.fuse(np.zeros(COUNT), normal(1)).final >= 50).mean() > 0.004
    with pytest.raises(ValueError, match="a rule fires"):
        BarcodeFusion.fit(np.full(COUNT, 90.0), p)


def test_certainty_is_the_p_value_that_shows_the_same_number() -> None:
    rules = np.array([0.0, 20.0, 50.0, 80.0])
    shown = barcode_view(score_of_p(p_of_certainty(rules, 0.01), 0.01))
    np.testing.assert_allclose(shown, rules, atol=1e-9)
    assert p_of_certainty(np.array([100.0]), 0.01)[0] == 1e-12


def test_saved_and_loaded_it_says_the_same(fusion: BarcodeFusion) -> None:
    again = BarcodeFusion.from_arrays(fusion.to_arrays())
    p = normal(2)
    before, after = (f.fuse(np.zeros(COUNT), p) for f in (fusion, again))
    np.testing.assert_array_equal(before.final, after.final)
    assert again.weights == fusion.weights


def test_a_combination_that_was_never_calibrated_is_an_error() -> None:
    fusion = BarcodeFusion.fit(np.zeros(COUNT), {LSTM: normal(0)[LSTM]})
    with pytest.raises(ValueError, match="never calibrated together"):
        fusion.fuse(np.zeros(COUNT), normal(1))


@pytest.mark.parametrize("weights", [(-1, 1, 1), (0, 0, 0), (np.nan, 1, 1)])
def test_weights_that_cannot_be_are_refused(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        FusionWeights(*weights)


def test_one_that_fails_or_is_late_is_left_out_with_the_reason() -> None:
    release = threading.Event()

    def broken() -> int:
        raise RuntimeError("no bundle")

    def late() -> int:
        release.wait(30)
        return 1

    done = run_side_by_side(
        {RULES: lambda: 1, LSTM: late, SVM: broken}, {RULES: 20.0, LSTM: 0.05, SVM: 20.0}
    )
    release.set()
    assert done.results == {RULES: 1}
    assert done.left_out == {LSTM: "not ready within 0.05 s", SVM: "failed: no bundle"}


def test_a_batch_waits() -> None:
    begun = threading.Event()

    def slow() -> int:
        begun.wait(30)
        return 2

    def fast() -> int:
        begun.set()
        return 1

    assert run_side_by_side({LSTM: slow, SVM: fast}).results == {LSTM: 2, SVM: 1}
    assert run_side_by_side({}).results == {}


def test_few_lots_support_no_alarm_within_what_was_seen() -> None:
    many = BarcodeFusion.fit(np.zeros(COUNT), normal(0), lots=COUNT)
    few = BarcodeFusion.fit(np.zeros(COUNT), normal(0), lots=8)
    seen = normal(0)
    assert (many.fuse(np.zeros(COUNT), seen).final >= 50).mean() > 0.005
    assert (few.fuse(np.zeros(COUNT), seen).final >= 50).sum() == 0
    beyond = {LSTM: np.array([1e-12]), SVM: np.array([1e-12])}
    assert few.fuse(np.zeros(1), beyond).final[0] >= 50
    assert few.fuse(np.array([80.0]), {LSTM: np.ones(1), SVM: np.ones(1)}).final[0] >= 80


def with_few_lots(parted: np.ndarray | None = None) -> BarcodeFusion:
    habits = {HABITS: np.random.default_rng(2).random(COUNT)}
    return BarcodeFusion.fit(np.zeros(COUNT), normal(0) | habits, lots=8, parted=parted)


def test_of_few_lots_habits_say_no_more_of_a_whole_lot_than_that_it_is_a_new_one() -> None:
    ordinary = {LSTM: np.full(2, 0.5), SVM: np.full(2, 0.5)}
    odd = ordinary | {HABITS: np.array([1e-12, 1 / 9])}
    whole, least = with_few_lots().fuse(np.zeros(2), odd).final
    assert whole == least < 50
    many = BarcodeFusion.fit(np.zeros(COUNT), normal(0) | {HABITS: np.full(COUNT, 0.5)}, lots=COUNT)
    assert many.fuse(np.zeros(2), odd).final[0] >= 50


def test_of_few_lots_a_code_that_left_its_company_is_held_against_those_like_it() -> None:
    apart = np.zeros(COUNT, dtype=bool)
    apart[:20] = True
    fusion = with_few_lots(apart)
    odd = {LSTM: np.full(2, 1e-3), SVM: np.full(2, 1e-3), HABITS: np.full(2, 1e-3)}
    parted, with_others = fusion.fuse(np.zeros(2), odd, parted=np.array([True, False])).final
    assert parted >= 50 > with_others
    plain = {name: np.full(1, 0.9) for name in (LSTM, SVM, HABITS)}
    assert fusion.fuse(np.zeros(1), plain, parted=np.ones(1, dtype=bool)).final[0] < 50
    again = BarcodeFusion.from_arrays(fusion.to_arrays())
    assert again.fuse(np.zeros(2), odd, parted=np.array([True, False])).final[0] == parted


def test_at_most_a_third_of_alpha_is_of_codes_that_left_their_company() -> None:
    apart = np.arange(COUNT) % 20 == 0
    fusion = with_few_lots(apart)
    fresh = normal(1) | {HABITS: np.random.default_rng(3).random(COUNT)}
    flagged = fusion.fuse(np.zeros(COUNT), fresh, parted=apart).final >= 50
    assert 0 < flagged.mean() <= 1.5 * fusion.alpha / 3


def test_a_set_that_was_fused_before_company_counted_scores_as_it_did() -> None:
    arrays = with_few_lots().to_arrays()
    del arrays["fusion/bounds_habits"]
    before = BarcodeFusion.from_arrays(arrays)
    odd = {LSTM: np.full(1, 0.5), SVM: np.full(1, 0.5), HABITS: np.full(1, 1e-12)}
    assert before.fuse(np.zeros(1), odd, parted=np.ones(1, dtype=bool)).final[0] >= 50
    assert "fusion/bounds_habits" not in before.to_arrays()


def test_lots_are_stored_and_there_is_at_least_one() -> None:
    fusion = BarcodeFusion.fit(np.zeros(COUNT), normal(0), lots=8)
    assert BarcodeFusion.from_arrays(fusion.to_arrays()).lots == 8
    assert BarcodeFusion.from_arrays(BarcodeFusion({}).to_arrays()).lots is None
    with pytest.raises(ValueError, match="lots"):
        BarcodeFusion.fit(np.zeros(COUNT), normal(0), lots=0)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    names = (RULES, LSTM, SVM, HABITS)
    shares, percents = FusionWeights(), FusionWeights(40.0, 35.0, 25.0)
    np.testing.assert_allclose(shares.of(names), percents.of(names))
