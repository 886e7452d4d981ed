import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from anomaly_platform.ml.evaluation.measures import (
    Confusion,
    auc_pr,
    auc_roc,
    confusion,
    evaluate,
    event_recall,
    events_found,
    pr_curve,
    random_event_recall,
    roc_curve,
)
from anomaly_platform.ml.evaluation.vus import vus

LABELS = np.array([0, 1, 1, 0, 0, 1, 0, 0, 1, 1], dtype=bool)
FLAGS = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1], dtype=bool)
SCORES = np.array([0.1, 0.4, 0.9, 0.8, 0.2, 0.3, 0.0, 0.1, 0.85, 0.95])


def test_counts_and_shares_by_hand():
    counts = confusion(LABELS, FLAGS)
    assert counts == Confusion(3, 1, 4, 2)
    assert counts.precision == 3 / 4
    assert counts.recall == 3 / 5
    assert counts.f1 == pytest.approx(2 / 3)
    assert counts.false_positive_rate == 1 / 5
    assert counts.balanced_accuracy == pytest.approx((0.6 + 0.8) / 2)
    assert counts + counts == Confusion(6, 2, 8, 4)


def test_event_recall_by_hand():
    assert events_found(LABELS, FLAGS).tolist() == [True, False, True]
    assert event_recall(LABELS, FLAGS) == pytest.approx(2 / 3)
    assert event_recall(np.zeros(4), np.ones(4)) is None


def test_random_event_recall_is_what_random_flags_reach():
    labels = np.zeros(400, dtype=bool)
    labels[[10, 50, 51, 52, 53]] = True
    labels[100:140] = True
    rng = np.random.default_rng(0)
    drawn = np.mean([event_recall(labels, rng.random(400) < 0.03) for _ in range(4000)])
    assert random_event_recall(labels, 0.03) == pytest.approx(drawn, abs=0.02)
    assert random_event_recall([False], 0.5) is None
    with pytest.raises(ValueError, match="rate"):
        random_event_recall(labels, 2)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 80), seed=st.integers(0, 10_000), digits=st.integers(0, 4))
def test_areas_and_shares_equal_scikit_learns(rows, seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.3
    labels[0], labels[1] = True, False
    scores = np.round(rng.normal(size=rows), digits)
    flags = scores > 0.5
    assert auc_pr(labels, scores) == pytest.approx(metrics.average_precision_score(labels, scores))
    assert auc_roc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    counts = confusion(labels, flags)
    assert counts.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, flags))
    assert counts.f1 == pytest.approx(metrics.f1_score(labels, flags, zero_division=0))


def test_report_has_every_measure_and_goes_into_json():
    report = evaluate(LABELS, SCORES, FLAGS, vus_window=2)
    assert (report.rows, report.anomalies, report.events, report.flagged) == (10, 5, 3, 4)
    assert (report.vus_pr, report.vus_roc) == vus(LABELS, SCORES, window=2)
    assert report.auc_pr == auc_pr(LABELS, SCORES)
    assert report.event_recall == pytest.approx(2 / 3)
    assert json.loads(json.dumps(asdict(report)))["precision"] == 0.75


def test_a_row_without_score_is_the_most_ordinary_and_not_flagged():
    scores, flags = SCORES.copy(), FLAGS.astype(object)
    scores[9], flags[9] = np.nan, None
    report = evaluate(LABELS, scores, flags)
    assert report.unscored == 1
    assert report.flagged == 3
    lowest = np.where(np.isnan(scores), -1.0, scores)
    assert report.auc_pr == auc_pr(LABELS, lowest)


@pytest.mark.parametrize("label", [True, False])
def test_what_one_class_cannot_tell_is_none(label):
    report = evaluate([label] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], [False] * 5)
    assert report.vus_pr is None
    assert report.auc_pr is None
    assert report.auc_roc is None
    assert report.precision is None
    assert report.balanced_accuracy is None
    assert (report.recall is None) is not label
    assert (report.f1 is None) is not label
    assert (report.event_recall is None) is not label
    assert (report.false_positive_rate is None) is label


def test_empty_input_is_an_empty_report():
    report = evaluate([], [], [])
    assert report.rows == 0
    assert report.f1 is None


def test_curves():
    recall, precision = pr_curve(LABELS, SCORES)
    assert recall[-1] == 1
    assert precision[-1] == 0.5
    assert np.all(np.diff(recall) >= 0)
    false_rate, hit_rate = roc_curve(LABELS, SCORES)
    assert (false_rate[0], hit_rate[0], false_rate[-1], hit_rate[-1]) == (0, 0, 1, 1)


def test_unusable_input_is_refused():
    with pytest.raises(ValueError, match="equally long"):
        evaluate([True], [0.1, 0.2], [True, False])
    with pytest.raises(ValueError, match="one dimension"):
        evaluate([[True]], [[0.1]], [[True]])
    with pytest.raises(ValueError, match="equally long"):
        auc_pr([True], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        auc_pr([True, False], [0.1, np.nan])
    with pytest.raises(ValueError, match="anomalous row"):
        pr_curve([False], [0.1])
    with pytest.raises(ValueError, match="both"):
        roc_curve([True], [0.1])
