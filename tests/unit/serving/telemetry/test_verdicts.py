"""What columns say is what single answers say."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.realtime.answers import StoredColumns
from anomaly_platform.serving.http.direct import JsonAnswer
from anomaly_platform.serving.schemas.telemetry import TelemetryAnswer, members_of, names_in
from anomaly_platform.serving.telemetry.verdicts import answer_of, verdicts, written_rows
from anomaly_platform.streams import IIOT

rows = st.lists(
    st.tuples(
        st.integers(0, 2_000_000_000_000_000),
        st.one_of(st.just(float("nan")), st.floats(0, 1)),
        st.sampled_from([0, 1, -1]),
        st.floats(1e-9, 1, exclude_max=True),
        st.sampled_from(["trained", "insufficient_history", "failed"]),
    ),
    min_size=1,
    max_size=6,
)


def stored_of(said: list[tuple[int, float, int, float, str]], version: int | None) -> StoredColumns:
    columns = ReadingColumns.of([Reading("pump", "temp", one[0], 1.0) for one in said])
    times, scores, decisions, thresholds, statuses = zip(*said, strict=True)
    return StoredColumns(
        columns,
        b"".join(one.bytes for one in derived_ids(columns.keys, times)),
        np.array(scores),
        np.array(scores),
        np.array(decisions),
        np.zeros(len(said), dtype=np.bool_),
        np.array(thresholds),
        statuses,
        version,
        -np.array(decisions),
    )


@given(rows, st.one_of(st.none(), st.integers(1, 9)))
def test_columns_are_written_as_single_answers_are(
    said: list[tuple[int, float, int, float, str]], version: int | None
) -> None:
    readings = stored_of(said, version).readings.readings()
    decisions, stored = [one[2] for one in said], stored_of(said, version)
    one_by_one = {
        "accepted": len(said),
        "refused": 0,
        "anomalies": decisions.count(1),
        "readings": verdicts(names_in(None, members_of(IIOT)), readings, stored.answers()),
    }
    body = answer_of(written_rows(stored), decisions.count(1))
    assert json.loads(body) == json.loads(JsonAnswer(one_by_one).body)
    TelemetryAnswer.model_validate_json(body)
    assert written_rows(stored.part(0, 1)) == written_rows(stored)[:1]
