"""Files of tuned settings: whose name they may have, and what a bad one takes down."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.registry.tuned_settings import Tuned, TunedSettings
from anomaly_platform.settings import Settings
from anomaly_platform.streams.user_defined import StreamFileError

GOOD = Tuned(3, 0.002, (6, 12), 0.05, 50)


@pytest.mark.parametrize("name", ["../victim", "a/b", "", "..", "EMS", "ems\n", "/tmp/victim"])
def test_what_is_no_name_reaches_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "tuned").mkdir()
    victim = tmp_path / "victim.json"
    victim.write_text("{}")
    tuned = TunedSettings(tmp_path)
    for refused in (tuned.read, tuned.remove, lambda one: tuned.write(one, GOOD)):
        with pytest.raises(ValueError, match="no name of a stream"):
            refused(name)
    assert victim.read_text() == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "[]",
        '{"alpha": 1}',
        '{"tuning": 1, "alpha": 0.1, "windows": [], "contamination": 0.1, "trees": 10}',
        '{"tuning": 1, "alpha": 7, "windows": [6], "contamination": 0.1, "trees": 10}',
        '{"tuning": 1e999, "alpha": 0.1, "windows": [6], "contamination": 0.1, "trees": 10}',
    ],
)
def test_a_bad_file_leaves_out_its_own_stream_only(tmp_path: Path, text: str) -> None:
    TunedSettings(tmp_path).write("iiot", GOOD)
    (tmp_path / "tuned" / "ems.json").write_text(text)
    platform = Platform(Settings(home=tmp_path))
    assert [stream.name for stream in platform.streams] == ["barcode", "iiot"]
    assert platform.stream("iiot").alpha == GOOD.alpha
    (bad,) = platform.bad_streams
    assert bad.name == "ems"
    assert str(tmp_path / "tuned" / "ems.json") in str(bad)
    with pytest.raises(StreamFileError, match="`anomaly tune ems --undo`"):
        platform.stream("ems")
