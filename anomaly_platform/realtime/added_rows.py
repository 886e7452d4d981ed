"""What one statement stores of readings, by column, in PostgreSQL's binary format.

Belongs here: the arguments of ``add_newer_readings``, and running it. Does not belong here: which
readings (``append_path``), nor what a binary array is (``storage.postgres.binary_format``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anomaly_platform.ml.arrays import Bools, Ints
from anomaly_platform.storage.postgres.binary_format import (
    NULL,
    Encoded,
    cell_array,
    fixed_array,
    fixed_arrays,
    prepare,
    run_prepared,
    text_array,
    text_cell,
)

if TYPE_CHECKING:
    from anomaly_platform.realtime.answers import StoredColumns
    from anomaly_platform.realtime.series_state_cache import CachedSeries
    from anomaly_platform.storage.postgres.transactions import Connection
    from anomaly_platform.storage.tables.online import Source

_ADD: Final = "add_newer_readings"
_PREPARED: Final = (
    "SELECT add_newer_readings($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
    "$12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)"
)
_VERSION: Final = struct.Struct(">i")
_STATUS: Final = {name: text_cell(name) for name in ("trained", "insufficient_history", "failed")}


@dataclass(frozen=True, slots=True)
class MovedSeries:
    """The series of some readings, in the order of their rows' ids.

    Attributes
    ----------
    places
        Where each is held.
    tail_rows
        (series,) readings since each row's snapshot afterwards; 0 where a new one is written.
    """

    places: Ints
    tail_rows: Ints


def prepare_adding(connection: Connection) -> None:
    """Make a connection ready for :func:`add_rows`."""
    prepare(connection, _ADD, _PREPARED)


def add_rows(
    connection: Connection, arguments: Sequence[bytes | None], meanwhile: Callable[[], None]
) -> None:
    """Store readings; call `meanwhile` while PostgreSQL works."""
    run_prepared(connection, _ADD, arguments, meanwhile)


def arguments_of(
    stream: str,
    source: Source,
    stored: StoredColumns,
    given: Bools | None,
    cached: CachedSeries,
    of_readings: Ints,
    series: MovedSeries,
) -> list[bytes | None]:
    """Return the arguments that store readings.

    Parameters
    ----------
    stream, source
        Where they belong, and came from.
    stored
        The readings with their verdicts.
    given
        (n,) which ids are their senders'; None where none is.
    cached, of_readings, series
        The series in memory, the place of each reading's, and those that move on.
    """
    readings, places = stored.readings, of_readings.tolist()
    whole, version = series.places[series.tail_rows == 0], stored.bundle_version
    times, values, scores, p_values, thresholds = fixed_arrays(
        ("timestamptz", readings.times),
        ("float8", readings.values),
        ("float8", stored.scores),
        ("float8", stored.p_values),
        ("float8", stored.thresholds),
    )
    decisions, calls = fixed_arrays(("int2", stored.decisions), ("int2", stored.calls))
    encoded = (
        *fixed_arrays(
            ("int8", cached.ids[series.places]),
            ("int8", cached.revisions[series.places]),
            ("timestamptz", cached.newest(series.places)),
            ("float8", cached.own[series.places]),
        ),
        fixed_array("int8", cached.ids[whole]),
        text_array([cached.state(place).to_bytes() for place in whole.tolist()], "bytea"),
        fixed_array("uuid", stored.event_ids),
        None if given is None else fixed_array("int2", given),
        cell_array([cached.entities[place] for place in places]),
        cell_array([cached.metrics[place] for place in places]),
        *(times, values, _metadata(readings.metadata), scores, p_values, decisions, thresholds),
        cell_array([_STATUS[status] for status in stored.statuses]),
        calls,
    )
    return [
        *(stream.encode(), source.encode()),
        None if version is None else _VERSION.pack(version),
        *(None if one is None else one.data for one in encoded),
    ]


def _metadata(metadata: Sequence[str | None] | None) -> Encoded | None:
    if metadata is None:
        return None
    return cell_array([NULL if one is None else text_cell(one) for one in metadata])
