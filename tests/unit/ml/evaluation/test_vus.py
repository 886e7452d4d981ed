import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.evaluation.vus import segments, vus


def example() -> tuple[np.ndarray, np.ndarray]:
    """Anomalies at both ends, touching slopes, a single row, and a long one; no chance in it."""
    t = np.arange(600)
    labels = np.zeros(600, dtype=bool)
    for start, stop in ((0, 4), (90, 130), (150, 155), (300, 301), (420, 480), (590, 600)):
        labels[start:stop] = True
    scores = np.sin(t * 0.37) + 0.5 * np.cos(t * t * 0.013) + 0.9 * labels * (t % 3 != 0)
    return labels, scores


# What the published packages TSB-AD 1.5 (version='opt') and vus 0.0.6 say about `example`.
PUBLISHED = {
    0: (0.4320323514016531, 0.612355324074074),
    1: (0.4320323514016531, 0.612355324074074),
    20: (0.5134126164026606, 0.7408149968666379),
    100: (0.7178858555520748, 0.8821112276497267),
}


@pytest.mark.parametrize("window", PUBLISHED)
def test_equals_the_published_packages(window):
    assert vus(*example(), window=window) == pytest.approx(PUBLISHED[window], abs=1e-12)


def test_equals_the_published_packages_with_tied_scores_and_few_thresholds():
    labels, scores = example()
    found = vus(labels, np.round(scores, 1), window=60, thresholds=50)
    assert found == pytest.approx((0.6098382059480891, 0.8357166335345103), abs=1e-12)


# The edition of 2022, from a transcript of the algorithm that was published with the paper.
PUBLISHED_2022 = {
    0: (0.43175947082019633, 0.612355324074074),
    20: (0.4901944845837526, 0.7023037222322069),
    100: (0.6654084851749891, 0.7996340789916246),
}


@pytest.mark.parametrize("window", PUBLISHED_2022)
def test_equals_the_edition_of_2022(window):
    found = vus(*example(), window=window, edition="2022")
    assert found == pytest.approx(PUBLISHED_2022[window], abs=1e-12)


def straightforward(labels, scores, window, thresholds):
    """Follow the definition literally, one buffer, one threshold and one row at a time."""
    n = len(labels)
    ranked = sorted(scores, reverse=True)
    levels = [ranked[int(i)] for i in np.linspace(0, n - 1, thresholds)]
    runs, i = [], 0
    while i < n:
        if labels[i]:
            j = i
            while j + 1 < n and labels[j + 1]:
                j += 1
            runs.append((i, j))
            i = j
        i += 1
    prs, rocs = [], []
    for w in range(window + 1):
        half = w // 2
        soft = [0.0] * n
        groups = []
        for s, e in runs:
            for row in range(max(0, s - half), min(n, e + half + 1)):
                away = max(s - row, row - e, 0)
                soft[row] += np.sqrt(1 - away / w) if away else 1.0
            if groups and s - half <= groups[-1][1]:
                groups[-1] = (groups[-1][0], e + half)
            else:
                groups.append((max(0, s - half), e + half))
        soft = [min(1.0, value) for value in soft]
        curve = [(0.0, 0.0, 1.0)]
        for level in levels:
            flags = [score >= level for score in scores]
            # On a slope only what is flagged is asked for.
            asked = [1.0 if labels[r] else soft[r] * flags[r] for r in range(n)]
            tp = sum(asked[r] * flags[r] for r in range(n))
            positives = (sum(labels) + sum(asked)) / 2
            hit = sum(any(flags[s : e + 1]) for s, e in groups) / len(groups)
            curve.append(
                (
                    min(tp / positives, 1.0) * hit,
                    (sum(flags) - tp) / (n - positives),
                    tp / sum(flags),
                )
            )
        prs.append(sum((b[0] - a[0]) * b[2] for a, b in itertools.pairwise(curve)))
        closed = [*curve, (1.0, 1.0, 0.0)]
        rocs.append(sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(closed)))
    return float(np.mean(prs)), float(np.mean(rocs))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(5, 60),
    seed=st.integers(0, 10_000),
    window=st.integers(0, 12),
    thresholds=st.integers(2, 20),
    digits=st.integers(0, 3),
)
def test_equals_the_definition_followed_literally(rows, seed, window, thresholds, digits):
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < rng.uniform(0.05, 0.4)
    labels[rng.integers(rows)] = True
    labels[rng.choice(np.flatnonzero(labels)) - 1] = False
    if not labels.any():
        labels[0] = True
    scores = np.round(rng.normal(size=rows), digits)
    expected = straightforward(labels.tolist(), scores.tolist(), window, thresholds)
    assert vus(labels, scores, window=window, thresholds=thresholds) == pytest.approx(expected)


def test_perfect_scores_are_near_one_and_random_ones_near_the_share_of_anomalies():
    labels, _ = example()
    assert vus(labels, labels.astype(float), window=0) == pytest.approx((1.0, 1.0))
    noise = np.random.default_rng(0).random(20_000)
    sparse = np.zeros(20_000, dtype=bool)
    sparse[5000:5400] = True
    area_pr, area_roc = vus(sparse, noise, window=0)
    assert area_pr < 0.06
    assert area_roc == pytest.approx(0.5, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_only_the_order_of_the_scores_counts(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros(200, dtype=bool)
    labels[50:70] = True
    scores = rng.normal(size=200)
    assert vus(labels, scores, window=10) == vus(labels, np.exp(scores), window=10)


def test_rows_without_score_may_be_minus_infinity():
    labels, scores = example()
    lowest = scores.copy()
    lowest[:30] = -np.inf
    assert vus(labels, lowest, window=5) == vus(
        labels, np.where(np.isinf(lowest), -99, scores), window=5
    )


@pytest.mark.parametrize(
    ("labels", "scores", "options", "message"),
    [
        ([True, False], [0.1], {}, "equally long"),
        ([[True, False]], [[0.1, 0.2]], {}, "equally long"),
        ([True, False], [0.1, np.nan], {}, "NaN"),
        ([True, True], [0.1, 0.2], {}, "both"),
        ([False, False], [0.1, 0.2], {}, "both"),
        ([True, False], [0.1, 0.2], {"window": -1}, "window"),
        ([True, False], [0.1, 0.2], {"thresholds": 1}, "thresholds"),
        ([True, False], [0.1, 0.2], {"edition": "2030"}, "edition"),
    ],
)
def test_unusable_input_is_refused(labels, scores, options, message):
    with pytest.raises(ValueError, match=message):
        vus(labels, scores, **options)


def test_segments():
    assert segments([True, True, False, True]).tolist() == [[0, 1], [3, 3]]
    assert segments([False, False]).tolist() == []
    assert segments([]).tolist() == []
