"""Which routes are open to a product, learned from counts of shipments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.detectors.scan_habits.legs import Legs
from anomaly_platform.ml.detectors.scan_habits.steps import Steps

PLACES, PRODUCTS = 5, 4
HUB = 0
#: (product, place): shipments from the hub. Place 2 is closed to product 0, of which 2 of 86
#: shipments went there by mistake.
COUNTS = {
    (0, 1): 60, (0, 2): 2, (0, 3): 24,
    (1, 1): 40, (1, 2): 34, (1, 3): 26,
    (2, 1): 50, (2, 2): 28,
    (3, 2): 30, (3, 3): 20,
}  # fmt: skip


def legs_of(counts: dict[tuple[int, int], int]) -> Steps:
    product, place = (np.repeat([key[n] for key in counts], [*counts.values()]) for n in (0, 1))
    n = len(product)
    none = np.zeros(n, dtype=np.int64)
    return Steps(
        rows=np.arange(n),
        begins=np.zeros(n, dtype=bool),
        believed=np.ones(n, dtype=bool),
        place=place,
        event=none,
        product=product,
        source=np.full(n, HUB),
        before=none,
        hours=np.ones(n),
        starts=none,
        hour_of_week=np.zeros(n),
    )


def fitted(counts: dict[tuple[int, int], int] = COUNTS) -> Legs:
    steps = legs_of(counts)
    return Legs.fit(steps, np.ones(len(steps.rows)), PLACES, PRODUCTS)


def share(legs: Legs, place: int) -> np.ndarray:
    """(products,) how likely each product goes from the hub to a place."""
    return np.exp(legs.log_p(legs_of({(0, place): 1}))[0])


def test_a_few_mistakes_open_no_route() -> None:
    legs = fitted()
    assert share(legs, 2)[0] < 0.005
    assert share(legs, 1)[0] == pytest.approx(60 / 86, abs=0.05)
    # As few of a place that gets little from everybody are no mistakes.
    rare = {(product, 4): 2 for product in range(PRODUCTS)}
    assert (share(fitted(COUNTS | rare), 4) > 0.01).all()


def test_what_may_not_go_to_some_places_goes_the_more_to_the_others() -> None:
    """One product of two has few shipments, and none to the place where most of the others go."""
    counts = {(1, 1): 80, (1, 2): 10, (1, 3): 10, (0, 2): 6, (0, 3): 6}
    legs = fitted(counts)
    assert share(legs, 2)[0] == pytest.approx(0.5, abs=0.15)
    assert share(legs, 1)[0] < 0.05


def test_of_all_places_a_product_goes_to_one() -> None:
    legs = fitted()
    total = sum(share(legs, place) for place in range(1, PLACES))
    np.testing.assert_allclose(total, 1.0, atol=0.1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), shipments=st.sampled_from([1, 2, 5, 30, 300]), evenly=st.booleans()
)
def test_to_all_places_together_goods_go_once_at_most(
    seed: int, shipments: int, evenly: bool
) -> None:
    """Also from places that few shipments left, or none: a return or a diversion from a shop."""
    rng = np.random.default_rng(seed)
    ways = rng.dirichlet(np.full(PLACES, 5.0 if evenly else 0.2), size=(PLACES, PRODUCTS))
    never_left = int(rng.integers(PLACES))
    rows = np.zeros(shipments, dtype=np.int64)
    steps = legs_of({(0, 0): shipments})
    steps.product[:] = rng.integers(0, PRODUCTS, shipments)
    steps.source[:] = (never_left + rng.integers(1, PLACES, shipments)) % PLACES
    for row in range(shipments):
        rows[row] = rng.choice(PLACES, p=ways[steps.source[row], steps.product[row]])
    steps.place[:] = np.where(rows == steps.source, (rows + 1) % PLACES, rows)
    legs = Legs.fit(steps, np.ones(shipments), PLACES, PRODUCTS)
    others = [
        (source, place) for source in range(PLACES) for place in range(PLACES) if source != place
    ]
    routes = legs_of(dict.fromkeys(((0, n) for n in range(len(others))), 1))
    routes.source[:], routes.place[:] = np.array(others).T
    total = np.exp(legs.log_p(routes)).reshape(PLACES, PLACES - 1, PRODUCTS).sum(axis=1)
    left = legs.total[:PLACES, None]
    # Routes that nobody took come on top, as one shipment more.
    assert (total <= 1.01 + (left > 0) / (left + 1.0)).all()
    assert total[never_left].min() > 0.02


def test_what_never_comes_to_a_place_from_elsewhere_may_still_have_to_go_there() -> None:
    """Product 0 came to place 4 twice, and from there each time to place 2."""
    steps = legs_of(COUNTS | {(1, 2): 300})
    steps.source[(steps.product == 0) & (steps.place == 2)] = 4
    legs = Legs.fit(steps, np.ones(len(steps.rows)), PLACES, PRODUCTS)
    route = legs_of({(0, 2): 1})
    route.source[:] = 4
    assert np.exp(legs.log_p(route)[0, 0]) > 0.3


def test_a_set_that_was_fused_before_scores_as_it_did() -> None:
    stored = {
        "sizes": np.array([3, 2]),
        "keys": np.array([1, 2]),
        "share": np.array([15.333333333333334, 2.3333333333333335]) / 18.0,
        "own_keys": np.array([2, 3, 4]),
        "own": np.array([6.0, 9.0, 2.0]),
        "left_keys": np.array([0, 1]),
        "left": np.array([8.0, 9.0]),
        "total": np.array([17.0, 0.0, 0.0, 0.0]),
        "reached": np.array([0.0, 0.0, 6.0, 9.0, 2.0, 0.0]),
        "should_reach": np.array([0.0, 0.0, 8.0, 9.0, 8.0, 9.0])
        * np.repeat([1, 46 / 54, 7 / 54], 2),
    }
    old = Legs.from_arrays(stored)
    assert old.to_arrays().keys() == stored.keys()
    found = [old.log_p(legs_of({(0, place): 1}))[0] for place in (1, 2)]
    expected = [
        [-0.16030352041689575, -0.16030352040597226],
        [-2.0440538774925345, -3.1016970687888445],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_stored_and_read_again_it_says_the_same_bits() -> None:
    legs = fitted()
    again = Legs.from_arrays(legs.to_arrays())
    steps = legs_of(COUNTS)
    np.testing.assert_array_equal(again.log_p(steps), legs.log_p(steps))
    with pytest.raises(BadModelError):
        Legs.from_arrays(legs.to_arrays() | {"open_share": np.zeros(PRODUCTS)})
