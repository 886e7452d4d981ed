"""What the members of a stream's readings may be called."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from anomaly_platform.ingest.online.reading_columns import plain_columns
from anomaly_platform.ingest.online.readings import ReadingRules
from anomaly_platform.serving.schemas.telemetry import (
    adapters_of,
    members_in_words,
    members_of,
    names_in,
)
from anomaly_platform.streams import EMS, IIOT, MetricStream
from anomaly_platform.streams.user_defined import load_user_streams


def stream_of(folder: Path, columns: str) -> MetricStream:
    text = f"name: boilers\nfrequency: 10m\ncolumns: {{{columns}}}\n"
    (folder / "boilers.yaml").write_text(text, encoding="utf-8")
    (stream,) = load_user_streams(folder).streams
    return stream


def test_built_in_streams_have_one_name_for_each_member() -> None:
    common = "metric_name, value, timestamp, event_id, metadata"
    assert members_in_words(members_of(IIOT)) == f"device_id, {common}"
    assert members_in_words(members_of(EMS)) == f"asset_id, {common}"


def test_columns_are_known_as_written_and_as_identifiers(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, "entity: Boiler No, time: [read at, When], event_id: Id 1")
    assert dict(members_of(stream)) == {
        "entity": ("boiler_no", "Boiler No"),
        "metric": ("metric_name",),
        "value": ("value",),
        "event_time": ("read at", "When", "read_at", "when", "timestamp"),
        "event_id": ("Id 1", "id_1", "event_id"),
        "metadata": ("metadata",),
    }


@pytest.mark.parametrize(
    ("columns", "field", "names"),
    [
        # What the stream says a name is, and not what it is elsewhere.
        ("label: Timestamp, time: at", "event_time", ("at",)),
        ("ignore: timestamp, time: at", "event_time", ("at",)),
        # Two columns with one identifier: it is the column's that has the name.
        ("entity: [zäit], metric: zait", "metric", ("zait", "metric_name")),
        ("entity: [zäit], metric: zait", "entity", ("zäit",)),
        ("entity: kit, time: 時刻", "event_time", ("時刻", "timestamp")),
    ],
)
def test_no_name_says_two_things(
    tmp_path: Path, columns: str, field: str, names: tuple[str, ...]
) -> None:
    members = members_of(stream_of(tmp_path, columns))
    assert dict(members)[field] == names
    every = [name for _, known in members for name in known]
    assert len(every) == len(set(every))


def test_every_name_reads_the_same_and_none_twice(tmp_path: Path) -> None:
    members = members_of(stream_of(tmp_path, "entity: Boiler No, time: read at"))
    one, _ = adapters_of(members)
    rest = {"metric_name": "pressure", "value": 20.1}
    for entity in ("Boiler No", "boiler_no"):
        for time in ("read at", "read_at", "timestamp"):
            sent = {**rest, entity: "B1", time: "2026-01-12T00:00:00Z"}
            read = one.validate_json(json.dumps(sent))
            assert (read.entity, read.event_time) == ("B1", "2026-01-12T00:00:00Z")
            names = names_in(sent, members)
            assert (names["entity"], names["event_time"]) == (entity, time)
    both = {**rest, "Boiler No": "B1", "boiler_no": "B2"}
    with pytest.raises(ValidationError) as caught:
        one.validate_json(json.dumps(both))
    (error,) = caught.value.errors()
    assert (error["type"], error["loc"]) == ("extra_forbidden", ("Boiler No",))
    with pytest.raises(ValidationError) as caught:
        one.validate_json(json.dumps(rest))
    assert [error["loc"] for error in caught.value.errors()] == [("boiler_no",)]


def test_what_is_no_object_has_the_usual_names() -> None:
    assert names_in("text", members_of(IIOT))["entity"] == "device_id"


@pytest.mark.parametrize("entity", ["Boiler No", "boiler_no"])
@pytest.mark.parametrize("time", ["read at", "read_at", "timestamp"])
def test_readings_under_any_name_go_by_column(tmp_path: Path, entity: str, time: str) -> None:
    members = members_of(stream_of(tmp_path, "entity: Boiler No, time: read at"))
    said = {entity: "B1", time: "2026-01-12T00:00:00Z", "metric_name": "p", "value": 1.5}
    now = datetime(2026, 1, 13, tzinfo=UTC)
    rules = ReadingRules(datetime(2020, 1, 1, tzinfo=UTC))
    columns = plain_columns([said, said], names_in(said, members), rules, now)
    assert columns is not None
    assert columns.keys == [("B1", "p")] * 2
    assert columns.has_time is None
    # A second name of the same column is for the slower way to refuse.
    twice = said | {"read_at": said[time], "read at": said[time]}
    assert plain_columns([twice], names_in(twice, members), rules, now) is None
