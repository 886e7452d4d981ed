"""What columns say is what single answers say."""

from __future__ import annotations

import json
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derived_octets
from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.realtime.answers import StoredColumns
from anomaly_platform.serving.http.direct import JsonAnswer
from anomaly_platform.serving.schemas.telemetry import TelemetryAnswer, members_of, names_in
from anomaly_platform.serving.telemetry.verdicts import verdicts, written
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
        derived_octets(columns.keys, np.array(times)),
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
    assert json.loads(written(stored)) == json.loads(JsonAnswer(one_by_one).body)
    TelemetryAnswer.model_validate_json(written(stored))
    assert written(stored.part(0, 1)).count(b'"event_id"') == 1


@given(rows, st.randoms(use_true_random=False))
def test_what_several_writers_say_is_said_in_the_order_of_the_readings(
    said: list[tuple[int, float, int, float, str]], random: Random
) -> None:
    of_first = np.array([random.random() < 0.5 for _ in said])
    places = [some for some in (np.flatnonzero(of_first), np.flatnonzero(~of_first)) if some.size]
    parts = [stored_of([said[place] for place in some], 3) for some in places]
    whole = stored_of(said, 3)

    joined = StoredColumns.joined(whole.readings, parts, np.concatenate(places).argsort())

    assert written(joined) == written(whole)
    assert list(map(repr, joined.answers())) == list(map(repr, whole.answers()))
