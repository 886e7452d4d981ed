"""Limits without a window: what they promise holds on data that they were not made for."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_platform.ml.series_model.outage import PROBABILITIES, UNKNOWN, outage_limits

FREQUENCY = 900_000_000
BLOCK = 96


def limits_of(values, *, level=0.0, seasonal=False):
    times = np.arange(values.size) * FREQUENCY
    return outage_limits(times, values, FREQUENCY, BLOCK, level, seasonal=seasonal)


def steady(rng, blocks):
    return rng.normal(0.0, 1.0, blocks * BLOCK)


def heavy(rng, blocks):
    return rng.laplace(0.0, 1.0, blocks * BLOCK)


def levels(rng, blocks):
    """Each block has a level of its own."""
    return np.repeat(rng.normal(0.0, 2.0, blocks), BLOCK) + rng.normal(0.0, 1.0, blocks * BLOCK)


def lasting(rng, blocks):
    """Readings remember those before: an hour and a half to half."""
    noise = rng.normal(0.0, 1.0, blocks * BLOCK)
    for i in range(1, noise.size):
        noise[i] += 0.9 * noise[i - 1]
    return noise


def bursts(rng, blocks):
    """Every day has some rows that go far, as disks and networks do."""
    noise = rng.normal(0.0, 1.0, blocks * BLOCK)
    busy = rng.random(noise.size) < 0.04
    return noise + busy * rng.exponential(20.0, noise.size)


def share_beyond(draw, blocks):
    """(4,) share of the rows of one more block that each limit calls."""
    rng = np.random.default_rng(7)
    beyond = np.zeros(len(PROBABILITIES))
    for _ in range(60):
        values = draw(rng, blocks + 1)
        known, new = values[: blocks * BLOCK], values[blocks * BLOCK :]
        distances = np.abs(new - np.median(known))
        beyond += [np.mean(distances > limit) for limit in limits_of(known)]
    return beyond / 60


@pytest.mark.parametrize("draw", [steady, heavy, levels, lasting])
@pytest.mark.parametrize("blocks", [8, 21])
def test_of_one_more_block_no_more_than_alpha_is_called(draw, blocks):
    assert (share_beyond(draw, blocks) <= PROBABILITIES).all()


def test_of_bursts_that_come_every_day_few_are_called():
    called = share_beyond(bursts, 21)
    assert called[1] < 0.01
    assert called[2] < 0.002


def test_suspect_rows_in_a_third_of_the_blocks_change_little():
    rng = np.random.default_rng(3)
    clean = steady(rng, 21)
    dirty = clean.copy()
    for block in range(7):
        dirty[block * BLOCK : block * BLOCK + 4] += 50.0
    before, after = limits_of(clean), limits_of(dirty)
    assert (after[:3] < 1.5 * before[:3]).all()
    assert after[2] < 10.0


def test_where_most_blocks_go_is_no_anomaly():
    rng = np.random.default_rng(4)
    daily = steady(rng, 21)
    daily[::BLOCK] += 50.0
    assert 45.0 < limits_of(daily)[0] < limits_of(daily)[2] < 150.0


def test_few_blocks_make_wide_limits():
    rng = np.random.default_rng(5)
    few = np.median([limits_of(levels(rng, 8)) for _ in range(20)], axis=0)
    many = np.median([limits_of(levels(rng, 60)) for _ in range(20)], axis=0)
    assert (few > many).all()


def test_the_time_of_day_narrows_them():
    rng = np.random.default_rng(1)
    clock = np.arange(21 * BLOCK) / BLOCK * 2 * np.pi
    values = np.sin(clock) + rng.normal(0.0, 0.02, clock.size)
    assert limits_of(values, seasonal=True)[2] < 0.3
    assert limits_of(values)[2] > 1.0


def test_a_series_that_never_moved_is_held_to_its_level():
    resting = limits_of(np.zeros(21 * BLOCK), level=1000.0)
    assert (np.diff(resting) > 0).all()
    assert 1000.0 < resting[0] < resting[2] < 3000.0
    nothing = limits_of(np.zeros(21 * BLOCK))
    assert 1.0 < nothing[2] < 3.0


def test_of_a_handful_of_rows_nothing_is_known():
    assert (limits_of(np.arange(7.0)) == UNKNOWN).all()
    assert np.isfinite(limits_of(np.arange(8.0))).all()
