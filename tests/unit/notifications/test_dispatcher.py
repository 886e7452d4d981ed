"""How long a delivery waits, and which addresses are public."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.notifications.channels.guarded_http import is_public
from anomaly_platform.notifications.dispatcher import FIRST_DELAY, LONGEST_DELAY, delay_after


@given(st.integers(1, 10_000))
def test_waits_double_are_spread_and_bounded(attempts: int) -> None:
    doubled = min(FIRST_DELAY * 2 ** min(attempts - 1, 20), LONGEST_DELAY)
    assert doubled / 2 <= delay_after(attempts) <= doubled


@given(st.integers(1, 50), st.floats(0, 1e9))
def test_a_receiver_may_ask_for_an_hour_at_most(attempts: int, asked: float) -> None:
    waited = delay_after(attempts, asked)
    assert dt.timedelta(seconds=min(asked, 3600)) - dt.timedelta(milliseconds=1) <= waited
    assert waited <= dt.timedelta(hours=1)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1", "::ffff:93.184.215.14"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)
