"""The entity's evidence: the largest few decide, one metric alone cannot shout the others down."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.scoring.entities import EntityEvidence, fuse

p_values = st.floats(1e-12, 1.0)


def test_series_meet_on_a_common_clock():
    times = [np.array([10, 20, 30]), np.array([20, 40])]
    evidence = EntityEvidence.align(
        times, [np.array([1.0, 0.1, 1.0]), np.array([0.01, 1.0])], [True] * 2
    )
    assert evidence.times.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(evidence.matrix[1], [np.log(10), np.log(100)])
    assert evidence.matrix[3].tolist() == [0.0, 0.0]
    assert [place.tolist() for place in evidence.places] == [[0, 1, 2], [1, 3]]


def test_causes_are_ranked_and_never_empty():
    p = [np.array([1e-3, 0.5]), np.array([1e-5, 0.6]), np.array([0.3, 0.4])]
    evidence = EntityEvidence.align([np.array([1, 2])] * 3, p, [True] * 3)
    assert evidence.causes(0) == [1, 0]
    assert evidence.causes(1) == [2]


@given(st.lists(st.lists(p_values, min_size=4, max_size=4), min_size=1, max_size=20))
def test_more_evidence_anywhere_never_lowers_the_whole(rows):
    evidence = -np.log(np.array(rows))
    before = fuse(evidence)
    evidence[:, 2] += 1.0
    assert (fuse(evidence) >= before).all()


def test_what_is_extrapolated_counts_less_and_at_rest_hardly_at_all():
    p = [np.array([np.exp(-27.0), np.exp(-20.0)]), np.ones(2), np.ones(2)]
    clear = EntityEvidence.align([np.array([1, 2])] * 3, [np.full(2, 0.002)] * 3, [True] * 3)
    moving = EntityEvidence.align([np.array([1, 2])] * 3, p, [True] * 3)
    resting = EntityEvidence.align([np.array([1, 2])] * 3, p, [False, True, True])
    assert moving.fused()[0] > clear.fused()[0] > resting.fused()[0]
    for evidence in (moving, resting):
        assert evidence.fused()[0] > evidence.fused()[1]


def test_an_entity_without_series_has_no_evidence():
    assert fuse(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]


def test_a_silent_sensor_makes_the_others_no_louder():
    evidence = np.array([[3.0, 1.0]])
    assert fuse(evidence)[0] == 3.0
    assert fuse(evidence, series=3)[0] == 2.0
    assert fuse(evidence[:, :1], series=3)[0] == 1.5
