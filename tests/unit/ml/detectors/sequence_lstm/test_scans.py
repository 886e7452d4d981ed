from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.detectors.sequence_lstm.events import ABSENT, UNKNOWN
from anomaly_platform.ml.detectors.sequence_lstm.scans import (
    SCAN_SPEC,
    UNITS_PER_LOT,
    encode_scans,
    hold_out_lots,
    observations,
    scan_vocabularies,
)

START = datetime(2025, 3, 3, 8, tzinfo=UTC)
CODE = "001.8804823.0000003.000001.20241201.{:09d}"
PLACE, EVENT = SCAN_SPEC.categorical.index("place"), SCAN_SPEC.categorical.index("event")


def scans(*rows: tuple[int, float, str | None, str | None]) -> pl.DataFrame:
    """Rows of serial number, hours since the start, place and event."""
    return pl.DataFrame(
        {
            "epc_code": [CODE.format(serial) for serial, *_ in rows],
            "event_id": [f"{i:03d}" for i in range(len(rows))],
            "event_time": [START + timedelta(hours=hours) for _, hours, *_ in rows],
            "place": [place for *_, place, _ in rows],
            "event": [event for *_, event in rows],
            "business_step": ["WMS"] * len(rows),
        },
        schema_overrides={"place": pl.String, "event": pl.String},
    )


def test_scans_become_one_sequence_per_epc_in_order_of_time() -> None:
    frame = scans(
        (2, 5.0, "B", "WMS_Inbound"), (1, 3.0, "A", "WMS_Outbound"), (1, 1.0, "A", "WMS_Inbound")
    )
    encoded = encode_scans(frame, scan_vocabularies(frame))
    assert encoded.rows.tolist() == [2, 1, 0]
    assert encoded.sequences.offsets.tolist() == [0, 2, 3]
    assert encoded.sequences.elapsed_hours.tolist() == [0.0, 2.0, 0.0]
    back = encoded.to_frame_order(np.array([10.0, 20.0, 30.0]), 3)
    assert back.tolist() == [30.0, 20.0, 10.0]


def test_a_second_reading_is_no_event() -> None:
    frame = scans(
        (1, 1.0, "A", "WMS_Inbound"),
        (1, 1.0 + 20 / 3600, "A", "WMS_Inbound"),
        (1, 1.0 + 40 / 3600, "B", "WMS_Inbound"),
    )
    encoded = encode_scans(frame, scan_vocabularies(frame))
    assert encoded.rows.tolist() == [0, 2]
    assert encoded.to_frame_order(np.ones(2), 3).tolist() == [1.0, 0.0, 1.0]


def test_a_doubtful_scan_is_judged_and_then_left_out_of_the_history() -> None:
    frame = scans(
        (1, 1.0, "A", "WMS_Inbound"),
        (1, 2.0, "Z", "WMS_Inbound"),
        (1, 4.0, "A", "WMS_Outbound"),
        (2, 1.0, "A", "WMS_Inbound"),
    )
    doubtful = np.array([False, True, False, False])
    encoded = encode_scans(frame, scan_vocabularies(frame), doubtful)
    # Both trusted sequences, the doubtful scan after its history, then a second opinion about the
    # scan that follows: as if the doubtful one were right.
    assert encoded.sequences.offsets.tolist() == [0, 2, 3, 5, 8]
    assert encoded.rows.tolist() == [0, 2, 3, -1, 1, -1, -1, -1]
    assert encoded.second.tolist() == [-1] * 7 + [2]
    assert encoded.sequences.elapsed_hours.tolist() == [0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 1.0, 2.0]
    assert encoded.trusted == 2
    assert encoded.training.events == 3
    values = np.array([0.0, 9.0, 3.0, 0.0, 4.0, 0.0, 0.0, 1.0])
    assert encoded.to_frame_order(values, 4).tolist() == [0.0, 4.0, 1.0, 3.0]


def test_what_a_scan_does_not_say_is_absent_and_what_is_new_is_unknown() -> None:
    known = scans((1, 1.0, "A", "WMS_Inbound"))
    frame = scans((1, 1.0, None, "Inspection"), (1, 2.0, "new", None))
    codes = encode_scans(frame, scan_vocabularies(known)).sequences.codes
    assert codes[:, PLACE].tolist() == [ABSENT, UNKNOWN]
    assert codes[:, EVENT].tolist() == [ABSENT, ABSENT]


def test_lots_are_held_out_whole() -> None:
    frame = scans(*((serial, 1.0, "A", "WMS_Inbound") for serial in range(40))).with_columns(
        epc_code=pl.col("epc_code").str.replace(
            "000001", pl.Series([f"{i // 10:06d}" for i in range(40)])
        )
    )
    encoded = encode_scans(frame, scan_vocabularies(frame))
    kept, held, rest = hold_out_lots(encoded, 0.25, seed=0)
    assert (len(kept), len(held), len(rest)) == (30, 10, 0)


def test_of_a_large_lot_a_few_units_are_learned_from_and_the_rest_is_counted() -> None:
    frame = scans(*((serial, 1.0, "A", "WMS_Inbound") for serial in range(60))).with_columns(
        epc_code=pl.Series(CODE.format(i).replace("000001", f"{i // 30:06d}") for i in range(60))
    )
    encoded = encode_scans(frame, scan_vocabularies(frame))
    kept, held, rest = hold_out_lots(encoded, 0.5, seed=0)
    assert (len(kept), len(held), len(rest)) == (UNITS_PER_LOT, UNITS_PER_LOT, 30 - UNITS_PER_LOT)
    assert set(rest.group_of_sequence()) == set(kept.group_of_sequence())


def test_incomplete_frames_are_refused() -> None:
    frame = scans((1, 1.0, "A", "WMS_Inbound"))
    vocabularies = scan_vocabularies(frame)
    with pytest.raises(ValueError, match="lack place"):
        encode_scans(frame.drop("place"), vocabularies)
    with pytest.raises(ValueError, match="epc_code"):
        encode_scans(frame.with_columns(epc_code=pl.lit(None, pl.String)), vocabularies)
    with pytest.raises(ValueError, match="two lots"):
        hold_out_lots(encode_scans(frame, vocabularies), 0.5, seed=0)


def test_a_shipment_counts_once_and_a_unit_that_goes_alone_hardly() -> None:
    pallet = [(serial, 1.0 + serial / 3600, "HUB", "HUB_Inbound") for serial in range(20)]
    alone = (20, 1.1, "ELSEWHERE", "HUB_Inbound")
    sales = [(serial, 50.0 + serial, "SHOP", "POS_Sell") for serial in range(5)]
    frame = scans(*pallet, alone, *sales).with_columns(lot=pl.lit(1))
    counts = observations(frame)
    assert counts[:20].sum() == pytest.approx(1.0)
    assert counts[20] == pytest.approx(1.0 / 20)
    assert counts[21:].tolist() == [1.0] * 5
    shuffled = frame.with_row_index().sample(fraction=1.0, shuffle=True, seed=1)
    np.testing.assert_array_equal(observations(shuffled), counts[shuffled["index"].to_numpy()])


def test_shipments_are_counted_only_where_habits_are_learned() -> None:
    frame = scans((1, 1.0, "A", "WMS_Inbound"), (2, 1.0, "A", "WMS_Inbound"))
    vocabularies = scan_vocabularies(frame)
    assert encode_scans(frame, vocabularies).sequences.observations is None
    counted = encode_scans(frame, vocabularies, count=True).training.observations
    assert counted is not None
    assert counted.tolist() == [0.5, 0.5]
