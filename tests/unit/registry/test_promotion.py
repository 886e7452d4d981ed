from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.registry.promotion import steps_taken

RETIRED = dict.fromkeys(range(1, 9), "retired")


def back(history, **changed):
    """Return where a roll-back leads after a history."""
    return steps_taken(history, RETIRED | {int(k[1:]): v for k, v in changed.items()})[-2]


def test_a_roll_back_leads_to_what_served_before():
    assert back([1, 2, 3]) == 2
    assert back([1, 2, 3, 2]) == 1
    # What somebody went back from did not serve before the next promotion.
    assert back([1, 2, 1, 3]) == 1
    assert back([1, 2, 7]) == 2
    assert back([1, 2, 3, 4, 2, 7, 2, 5]) == 2


def test_one_that_an_older_version_was_put_in_place_of_served_before():
    assert back([1, 2, 3, 1]) == 3


def test_going_back_passes_over_what_was_deleted():
    assert steps_taken([1, 2, 3, 1], RETIRED | {2: "deleted"}) == [1]
    assert back([1, 2, 3, 1, 4], v2="deleted") == 1


@given(st.lists(st.integers(1, 8), min_size=1, max_size=30))
def test_the_way_ends_at_what_serves_and_each_step_back_undoes_one(history):
    history = [one for n, one in enumerate(history) if n == 0 or one != history[n - 1]]
    way = steps_taken(history, RETIRED)
    assert way[-1] == history[-1]
    if len(way) > 1:
        assert steps_taken([*history, way[-2]], RETIRED) == way[:-1]
