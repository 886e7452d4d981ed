"""Streams of one's own: six lines are enough, and a bad file says where and what instead."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.scan_document import ScanDocument
from anomaly_platform.streams.stream_problems import key_paths, read_document
from anomaly_platform.streams.user_defined import load_user_streams
from anomaly_platform.streams.yaml_lines import LARGEST_BYTES, read_yaml

DOCS = Path(__file__).parents[3] / "docs/reference/streams.md"
GOOD = "name: boilers\nfrequency: 5m\n"

EVERY_KEY = """
kind: metrics
name: pumps
frequency: 30s
title: "Pumps of hall 3: all"
description: Pressures and flows.
columns:
  entity: [Pump ID, pump_name]
  metric: host
  time: measured at
  value: reading
  event_id: reading_id
  label: broken
  metadata: remarks
  ignore: [operator, shift]
timezone: Europe/Berlin
features:
  windows: [10, 60, 600]
  lags: [1, 5]
detectors: [isolation_forest]
forest:
  trees: 50
  contamination: 0.05
alpha: 1e-3
threshold: 0.8
retraining:
  window: 2w
  max_age: 3d
  max_silence: 90 days
  minimum_quality: 0.8
  drift_psi: 0.4
  drift_days: 2
  cool_down: 2d
  growth: 1.5
checks:
  max_quarantine_ratio: 0.1
  max_anomaly_rate: 0.2
start: 2020-01-31
owners: [team:maintenance, someone@example.org]
"""


def stream_of(tmp_path: Path, text: str) -> MetricStream:
    (tmp_path / "my.yaml").write_text(text)
    found = load_user_streams(tmp_path)
    assert not found.bad, [str(bad) for bad in found.bad]
    return found.streams[0]


def problems_of(tmp_path: Path, content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    (tmp_path / "my.yaml").write_bytes(raw)
    found = load_user_streams(tmp_path, {"iiot", "ems"})
    assert not found.streams
    (bad,) = found.bad
    return str(bad)


def test_two_lines_are_enough(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, GOOD)
    assert (stream.name, stream.title, stream.entity_field) == ("boilers", "Boilers", "entity")
    assert stream.features.windows == (12, 48, 288)
    assert stream.alpha is None
    assert stream.retraining.window == timedelta(days=30)


def test_every_key_arrives_where_it_belongs(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, EVERY_KEY)
    assert stream.name == "pumps"
    assert stream.title == "Pumps of hall 3: all"
    assert stream.entity_field == "pump_id"
    assert stream.column_names() == {
        "entity": ("pump_id", "Pump ID", "pump_name"),
        "metric": ("host",),
        "event_time": ("measured at",),
        "value": ("reading",),
        "event_id": ("reading_id",),
        "label": ("broken",),
        "metadata": ("remarks",),
    }
    assert stream.ignored_columns == ("operator", "shift")
    assert stream.timezone == "Europe/Berlin"
    assert stream.features.windows == (10, 60, 600)
    assert stream.features.lags == (1, 5)
    assert stream.features.frequency == timedelta(seconds=30)
    assert (stream.alpha, stream.threshold) == (0.001, 0.8)
    assert (stream.trees, stream.contamination) == (50, 0.05)
    policy = stream.retraining
    assert (policy.window.days, policy.max_age.days, policy.max_silence.days) == (14, 3, 90)
    assert (policy.minimum_quality, policy.drift_psi, policy.drift_days) == (0.8, 0.4, 2)
    assert (policy.cool_down.days, policy.growth) == (2, 1.5)
    assert (stream.max_quarantine_ratio, stream.max_anomaly_rate) == (0.1, 0.2)
    assert stream.start == date(2020, 1, 31)
    assert stream.owners == ("team:maintenance", "someone@example.org")


def test_a_file_with_every_key_has_every_key() -> None:
    written = read_yaml(EVERY_KEY.encode()).lines
    assert {path for path in written if path and isinstance(path[-1], str)} == set(key_paths())


def test_the_documentation_shows_every_key() -> None:
    text = DOCS.read_text()
    keys = [*key_paths(), *key_paths(ScanDocument)]
    missing = [".".join(path) for path in keys if f"`{'.'.join(path)}`" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: x\ncolumns:\n  entity: pump\nfrequncy: 5m\n",
            "line 4: unknown key 'frequncy'; did you mean 'frequency'?",
        ),
        ("name: x\n", "line 1: 'frequency' is missing; write frequency: 5m"),
        ("# mine\n\nfrequency: 5m\n", "line 3: 'name' is missing; write name: pumps"),
        (
            GOOD + "entity: pump\n",
            "line 3: unknown key 'entity' here; it belongs under 'columns'",
        ),
        (
            GOOD + "columns:\n  alpha: 0.1\n",
            "line 4: unknown key 'alpha' here; it belongs to the left, beside 'name'",
        ),
        (GOOD + "features:\n  x: 1\n", "line 4: unknown key 'x'; the keys here are windows, lags"),
        (
            "name: x\nfrequency: 300\n",
            (
                "line 2: frequency: 300 cannot be used; "
                "write a number and its unit, such as 30s, 5m, 1h or 7d"
            ),
        ),
        (
            "name: x\nfrequency: 2d\n",
            "line 2: frequency: '2d' cannot be used; write a time between 1s and 1d, such as 5m",
        ),
        ("name: x\nfrequency: 0m\n", "line 2: frequency: '0m' cannot be used"),
        (
            "name: My Pumps\nfrequency: 5m\n",
            (
                "line 1: name: 'My Pumps' cannot be used; write up to 31 lower-case letters, "
                "digits and '_', beginning with a letter, such as pumps"
            ),
        ),
        (
            GOOD + "alpha: 2\n",
            "line 3: alpha: 2 cannot be used; write a share above 0 and below 0.3, such as 0.01",
        ),
        (GOOD + "alpha: 0,01\n", "line 3: alpha: '0,01' cannot be used"),
        (GOOD + "alpha: .nan\n", "line 3: alpha: nan cannot be used"),
        (GOOD + "threshold: 0\n", "line 3: threshold: 0 cannot be used"),
        (
            GOOD + "features:\n  windows: [48, 12]\n",
            (
                "line 4: features.windows: [48, 12] cannot be used; "
                "write a list of ascending whole numbers of rows, 1 to 10,000, "
                "such as [12, 48, 288]"
            ),
        ),
        (
            GOOD + "features:\n  windows: [2, 4]\n",
            "line 4: features.windows: the longest window has to hold at least 30 rows, not 4",
        ),
        (
            GOOD + "features:\n  lags:\n  - 1\n  - -2\n",
            "line 6: features.lags: -2 cannot be used",
        ),
        (
            "name: x\nfrequency: 1d\nfeatures:\n  windows: [12, 900]\n",
            (
                "line 4: windows and lags reach 900 days back; "
                "at this frequency at most 366 rows keep within 366 days"
            ),
        ),
        (
            GOOD + "detectors: [isolation_forst]\n",
            "line 3: detectors: unknown detector 'isolation_forst'; there is isolation_forest",
        ),
        (
            "name: x\nfrequency: 1h\nretraining:\n  window: 2d\n",
            (
                "line 4: window holds 48 readings at this frequency, and a model needs 100; "
                "write at least 5d"
            ),
        ),
        (GOOD + "retraining:\n  max_age: 1m\n", "line 4: retraining.max_age: '1m' cannot be used"),
        (
            GOOD + "retraining: weekly\n",
            (
                "line 3: retraining: 'weekly' cannot be used; "
                "write its keys on lines of their own, indented"
            ),
        ),
        (
            GOOD + "columns:\n  entity: value\n",
            (
                "line 4: columns.entity: the BI views have a column 'value' already; "
                "put another name first, such as [device, 'value']"
            ),
        ),
        (
            GOOD + "columns:\n  entity: 温度\n",
            "line 4: columns.entity: '温度' cannot be a column of the BI views",
        ),
        (
            GOOD + "columns:\n  time: [when, At]\n  metric: at\n",
            "line 3: columns: the column 'At' is both metric and time; choose one",
        ),
        (GOOD + "timezone: Mars/Olympus\n", "line 3: timezone: 'Mars/Olympus' cannot be used"),
        (
            GOOD + "start: 2026-02-31\n",
            "line 3: start: '2026-02-31' cannot be used; write a day that the calendar has",
        ),
        (GOOD + "start: 31.01.2026\n", "line 3: start: '31.01.2026' cannot be used; write a day"),
        (
            GOOD + "start: 2026-02-01 30:00:00\n",
            "line 3: start: '2026-02-01 30:00:00' cannot be used; write a day that the calendar",
        ),
        (GOOD + "start: 2026-02-01 10:00:00\n", "line 3: start: 2026-02-01 10:00:00 cannot be"),
        (GOOD + "owners: me\n", "line 3: owners: 'me' is no owner; write an e-mail address or"),
        ("name: ems\nfrequency: 5m\n", "line 1: the name 'ems' is taken by the platform itself"),
        (
            "frequency: 5m\nname: days\n",
            "line 2: the name 'days' is taken by",
        ),
        (GOOD + "name: again\n", "line 3: 'name' stands here a second time; remove one"),
        ("name: x\n\tfrequency: 5m\n", "line 2: not readable as YAML"),
        (
            "name: x\nfrequency:5m\n",
            "line 2: a blank is missing after the colon; write frequency: 5m",
        ),
        ("name:x\nfrequency: 5m\n", "line 1: a blank is missing after the colon; write name: x"),
        (
            "name:x\n\n# mine\nfrequency:5m\nalpha: 0.1\n",
            "line 1: a blank is missing after the colon; write name: x",
        ),
        ("name:x\nfrequency:5m\n", "line 1: a blank is missing after the colon; write name: x"),
        (
            GOOD + "columns:\n  entity:pump\n  time: at\n",
            "line 4: a blank is missing after the colon; write entity: pump",
        ),
        (
            GOOD + "columns:\n  entity:pump\n",
            "line 4: columns: a blank is missing after the colon; write entity: pump",
        ),
        (
            GOOD + "title: it is\n  http://example.org\nalpha: 2\n",
            "line 5: alpha: 2 cannot be used",
        ),
        ("name: x\n  frequency: 5m\n", "line 2: begins further to the right than line 1; begin"),
        ("  name: x\nfrequency: 5m\n", "line 1: begins further to the right than line 2; begin"),
        (
            GOOD + "columns:\n  entity: pump\n  # when\n   time: at\n",
            "line 6: begins further to the right than line 4; begin both in the same column",
        ),
        (
            GOOD + "columns:\n    entity: pump\n  time: at\n",
            (
                "line 5: begins in column 3, as no line does that it could belong beside; "
                "line 4 begins in column 5; lines of one level begin in the same column"
            ),
        ),
        (GOOD + "columns:\n", "line 3: columns: an empty value cannot be used; write its keys"),
        (
            GOOD + "retraining:\n  growth: 0.5\n",
            (
                "line 4: retraining.growth: 0.5 cannot be used; "
                "write a number above 1, up to 100, such as 2"
            ),
        ),
        (
            GOOD + "features:\n  lags: 3\n",
            (
                "line 4: features.lags: 3 cannot be used; "
                "write a list of ascending whole numbers of rows, 1 to 10,000, such as [1, 2, 12]"
            ),
        ),
        ('name: "x\nfrequency: 5m\n', "line 1: not readable as YAML"),
        ("name: [x\nfrequency: 5m\n", "line 1: not readable as YAML"),
        (GOOD + "title: Pumps: all\n", "line 3: not readable as YAML"),
        (GOOD + "---\nname: y\n", "line 3: not readable as YAML"),
        ("name: x\nfrequency: !!python/name:os.system 5m\n", "line 2: not readable as YAML"),
        ("name: &a x\ntitle: *a\n", "line 2: aliases (*a) are not read; write it out"),
        (GOOD + "off: 1\n", "line 3: off is no key; keys are words"),
        (GOOD + "? [a]\n: 1\n", "line 3: expected a plain word as the key"),
        ("- name\n", "line 1: expected lines of the form `key: value`"),
        ("", "line 1: the file is empty; write at least name and frequency"),
        (GOOD + "title: \x07\n", "line 3: a control character; keep to plain text"),
        (GOOD.encode() + b"title: \xff\n", "line 3: the file is not UTF-8; save it as UTF-8 text"),
        ("#" * (LARGEST_BYTES + 1), "line 1: the file is larger than 65,536 bytes"),
    ],
)
def test_a_bad_file_says_where_what_and_what_instead(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    assert f"my.yaml {expected}" in problems_of(tmp_path, text)


def test_brackets_without_end_are_refused_and_harm_nothing(tmp_path: Path) -> None:
    said = problems_of(tmp_path, "name: " + "[" * 20_000 + "]" * 20_000)
    assert "my.yaml line 1: brackets within brackets without end" in said


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    said = problems_of(tmp_path, "name: x\nfrequncy: 5m\nalpha: 7\nstart: 2026-02-31\n")
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "my.yaml line 1",
        "my.yaml line 2",
        "my.yaml line 3",
        "my.yaml line 4",
    ]


def test_a_bad_file_takes_down_only_its_own_stream(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text("name: pumps\nfrequency: soon\n")
    (tmp_path / "c.yaml").write_text(GOOD)
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / ".e.yaml").write_text("hidden")
    (tmp_path / "notes.txt").write_text("no stream")
    found = load_user_streams(tmp_path)
    assert [stream.name for stream in found.streams] == ["boilers"]
    assert [path.name for path in found.sources] == ["a.yaml"]
    assert [bad.name for bad in found.bad] == ["pumps", "c", "d"]
    assert "the name 'boilers' is taken by a.yaml; choose another" in str(found.bad[1])


def test_a_folder_that_is_not_there_holds_no_streams(tmp_path: Path) -> None:
    assert load_user_streams(tmp_path / "none").bad == ()
    (tmp_path / "file").write_text("")
    (bad,) = load_user_streams(tmp_path / "file").bad
    assert str(tmp_path / "file") in str(bad)


@given(
    name=st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True),
    seconds=st.integers(1, 86_400),
    windows=st.sets(st.integers(30, 300), min_size=1, max_size=5).map(sorted),
    alpha=st.floats(1e-9, 0.299),
    title=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1),
)
def test_what_is_written_is_what_is_read(
    name: str, seconds: int, windows: list[int], alpha: float, title: str
) -> None:
    text = yaml.safe_dump(
        {
            "name": name,
            "frequency": f"{seconds}s",
            "features": {"windows": windows},
            "alpha": alpha,
            "title": title[:500],
        },
        allow_unicode=True,
    )
    said, problems = read_document(read_yaml(text.encode()))
    assert problems == []
    assert said is not None
    stream = said.to_stream()
    assert stream.name == name
    assert stream.title == title[:500]
    assert stream.alpha == alpha
    assert stream.features.windows == tuple(windows)
    assert stream.features.frequency == timedelta(seconds=seconds)


def test_nothing_of_yaml_is_imported_without_files(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; "
        "from anomaly_platform.streams.user_defined import load_user_streams; "
        f"load_user_streams(Path({str(tmp_path)!r})); "
        "sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
