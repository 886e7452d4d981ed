import hashlib
import io

import pytest

from anomaly_platform.ingest.layout.mapping import (
    METRIC_FIELDS,
    SCAN_FIELDS,
    ColumnMapping,
    MappingError,
    content_digest,
)


def test_pairs_as_on_a_command_line():
    mapping = ColumnMapping.parse(
        ["a=b=timestamp", " temp = value "], ["device_id=x=y"], ["z", "y", "z"]
    )
    assert mapping.columns == {"a=b": "timestamp", "temp": "value"}
    assert mapping.constants == {"device_id": "x=y"}
    assert mapping.ignore == ("y", "z")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"columns": ["temp"]}, "'temp' is not of the form column=field"),
        ({"columns": ["=value"]}, "not of the form"),
        ({"columns": ["a=value", "a=metric"]}, "'a' is mapped twice"),
        ({"constants": ["device_id"]}, "not of the form field=text"),
        ({"constants": ["device_id="]}, "not of the form field=text"),
        ({"constants": ["a=1", "a=2"]}, "'a' is set twice"),
        ({"columns": ["a=value"], "ignore": ["a"]}, "'a' is both mapped and ignored"),
        ({"timezone": "Mars"}, "'Mars'"),
        ({"decimal": ";"}, "decimal sign ';'"),
    ],
)
def test_what_is_no_mapping_is_named(said, complaint):
    with pytest.raises(MappingError, match=complaint):
        ColumnMapping.parse(**said)


def test_fields_have_many_names():
    mapping = ColumnMapping({"t": "Timestamp", "d": "deviceId", "m": "metric"}, {"is_anomaly": "0"})
    columns, constants = mapping.resolve(METRIC_FIELDS)
    assert columns == {"event_time": "t", "entity": "d", "metric": "m"}
    assert constants == {"label": "0"}
    assert ColumnMapping({"d": "device_id"}).resolve(SCAN_FIELDS)[0] == {"device_id": "d"}


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        (ColumnMapping({"a": "colour"}), "no field 'colour'; the fields are timestamp, device_id"),
        (ColumnMapping({"a": "device_id", "b": "entity"}), "'a' and 'b' are both mapped"),
        (ColumnMapping({"a": "device_id"}, {"entity": "x"}), "'a' is mapped to it"),
        (ColumnMapping({}, {"device_id": "x", "entity": "y"}), "'entity' is set twice"),
    ],
)
def test_contradictions_are_named(mapping, complaint):
    with pytest.raises(MappingError, match=complaint):
        mapping.resolve(METRIC_FIELDS)


def test_a_mapping_is_read_as_it_was_written():
    mapping = ColumnMapping({"é": "value"}, {"device_id": "x"}, ("y",), "Europe/Paris", ",")
    assert ColumnMapping.from_json(mapping.to_json()) == mapping


def test_a_person_may_write_less():
    said = ColumnMapping.from_json('{"columns": {"a": "value"}}')
    assert said == ColumnMapping({"a": "value"})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"columns": []}', '{"columns": {"a": 1}}', '{"colums": {}}'),
        *('{"ignore": "a"}', '{"timezone": 1}', '{"decimal": "x"}', '{"timezone": "Mars"}'),
        *('{"set": {"a": null}}', "[" * 10_000, b"\xff"),
    ],
)
def test_a_mapping_that_cannot_be_understood(text):
    with pytest.raises(MappingError):
        ColumnMapping.from_json(text)


def test_a_digest_is_of_content_and_meaning():
    def digest(content=b"abc", mapping=None, stream="iiot", entity=None):
        return content_digest(
            io.BytesIO(content), mapping or ColumnMapping(), stream, entity=entity
        )

    assert digest() == digest()
    assert len(digest()) == hashlib.sha256().digest_size * 2
    others = {
        digest(),
        digest(content=b"abd"),
        digest(content=b""),
        digest(stream="ems"),
        digest(entity="pump"),
        digest(mapping=ColumnMapping({"a": "value"})),
        digest(mapping=ColumnMapping(timezone="Europe/Paris")),
        digest(mapping=ColumnMapping(decimal=",")),
    }
    assert len(others) == 8
    same = ColumnMapping({"a": "value", "b": "metric"}, {}, ("x", "y"))
    turned = ColumnMapping({"b": "metric", "a": "value"}, {}, ("y", "x"))
    assert digest(mapping=same) == digest(mapping=turned)


def test_a_digest_of_a_path_is_that_of_its_content(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 3_000_000)
    by_path = content_digest(path, ColumnMapping(), "iiot")
    assert by_path == content_digest(io.BytesIO(path.read_bytes()), ColumnMapping(), "iiot")
