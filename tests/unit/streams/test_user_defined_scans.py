"""A stream of scans of a user is read from its file, and what is wrong with it is said."""

from __future__ import annotations

from datetime import timedelta

import pytest

from anomaly_platform.streams import BARCODE, ScanStream
from anomaly_platform.streams.scan_document import ScanDocument
from anomaly_platform.streams.stream_problems import key_paths, read_document
from anomaly_platform.streams.yaml_lines import read_yaml

EVERY_SCAN_KEY = """
kind: scans
name: parcels
title: Parcels
description: Parcels on their way.
code_scheme: pattern
code_pattern: ^PX(?P<company>[0-9]{3})(?P<serial>[0-9]{8})$
columns:
  code: [tracking_no, barcode]
  time: scanned_at
  place: depot
  step: stage
  event: what
  event_id: id
  label: bad
  ignore: [remark]
timezone: Europe/Berlin
alpha: 0.02
threshold: 0.8
retraining:
  window: 60d
  max_age: 14d
  max_silence: 365d
  minimum_quality: 0.7
  drift_psi: 0.3
  drift_days: 2
  cool_down: 2d
  growth: 3
weights:
  rules: 0.5
  lstm: 0.3
  svm: 0.2
time_limits:
  rules: 2
  lstm: 3
  svm: 2.5
  habits: 1.5
min_training_scans: 500
checks:
  max_quarantine_ratio: 0.1
  max_anomaly_rate: 0.2
start: 2021-05-01
owners: [team:parcels]
"""


def test_a_file_with_every_key_of_a_scan_stream_has_every_key() -> None:
    document = read_yaml(EVERY_SCAN_KEY.encode())
    keys = {path for path in document.lines if path and isinstance(path[-1], str)}
    assert keys == set(key_paths(ScanDocument))
    said, problems = read_document(document)
    assert said is not None, problems
    stream = said.to_stream()
    assert isinstance(stream, ScanStream)
    assert stream.features.code_pattern == "^PX(?P<company>[0-9]{3})(?P<serial>[0-9]{8})$"
    assert stream.features.version != BARCODE.features.version
    assert stream.column_names()["epc_code"] == ("tracking_no", "barcode")
    assert stream.retraining.window == timedelta(days=60)
    assert (stream.min_training_scans, stream.alpha, stream.threshold) == (500, 0.02, 0.8)
    assert stream.weights == {"rules": 0.5, "lstm": 0.3, "svm": 0.2}
    assert stream.time_limits == {"rules": 2.0, "lstm": 3.0, "svm": 2.5, "habits": 1.5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: scan\nname: x\n", "line 1: kind: unknown kind 'scan'; there is metrics, scans"),
        (
            "kind: scans\nname: x\ncode_scheme: pattern\n",
            "write code_pattern with code_scheme: pattern, and only there",
        ),
        (
            "kind: scans\nname: x\ncode_pattern: '(['\n",
            (
                "line 3: code_pattern: '([' cannot be used; write a regular expression; "
                "unterminated character set at position 1"
            ),
        ),
        (
            "kind: scans\nname: x\ncode_pattern: (?P<colour>a)\n",
            (
                "line 3: code_pattern: '(?P<colour>a)' cannot be used; write groups named header, "
                "company, product, lot, manufacture_date, serial; there is no part 'colour'"
            ),
        ),
        (
            "kind: scans\nname: x\nfrequency: 5m\n",
            "line 3: unknown key 'frequency'; the keys here are",
        ),
    ],
)
def test_what_is_wrong_with_a_scan_stream_is_said(text: str, expected: str) -> None:
    said, problems = read_document(read_yaml(text.encode()))
    assert said is None
    shown = "; ".join(f"line {problem.line}: {problem.message}" for problem in problems)
    assert expected in shown
