"""Refused rows are held whole and in order, few of them in memory."""

import pytest

from anomaly_platform.ingest import reject_spool
from anomaly_platform.ingest.rejects import no_rejects, row_rejects


@pytest.mark.parametrize("held_bytes", [1, 300, 1 << 20])
def test_what_was_added_comes_back_in_order(held_bytes, monkeypatch):
    monkeypatch.setattr(reject_spool, "_HELD_BYTES", held_bytes)
    with reject_spool.RejectSpool() as spool:
        spool.add(no_rejects())
        for number in range(1, 20, 2):
            spool.add(row_rejects([(number, "why", "é"), (number + 1, "why", "x" * 50)]))
        assert spool.height == 20
        for _ in range(2):
            parts = list(spool)
            assert [n for part in parts for n in part["row_number"]] == list(range(1, 21))
        assert (len(parts) > 1) == (held_bytes < 1000)
