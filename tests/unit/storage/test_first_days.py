"""The note of each stream's first day, and where partitions begin because of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dagster import DailyPartitionsDefinition

from anomaly_platform.definitions import build_defs
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.first_days import FirstDays
from anomaly_platform.streams import BUILT_IN, IIOT

DAY = date(2026, 3, 5)


def test_what_is_noted_is_read_and_a_stream_that_has_no_data_goes(tmp_path: Path) -> None:
    days = FirstDays(tmp_path / "home")
    assert days.read() == {}
    days.note({"iiot": DAY, "ems": None})
    days.note({"barcode": DAY})
    assert days.read() == {"barcode": DAY, "iiot": DAY}
    days.note({"iiot": None})
    assert days.read() == {"barcode": DAY}


def test_a_broken_note_is_none(tmp_path: Path) -> None:
    days = FirstDays(tmp_path)
    for text in ("", "{", '{"iiot": "yesterday"}', "[]"):
        days.path.write_text(text)
        assert days.read() == {}


def test_streams_that_note_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"stream_{n}" for n in range(30)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: FirstDays(tmp_path).note({name: DAY}), names))
    assert set(FirstDays(tmp_path).read()) == set(names)


def first_partition(platform: Platform) -> str:
    specs = {
        spec.key.to_user_string(): spec
        for spec in build_defs(platform=platform).resolve_all_asset_specs()
    }
    partitions = specs["iiot/scored_events"].partitions_def
    assert isinstance(partitions, DailyPartitionsDefinition)
    return str(partitions.get_first_partition_key())


def test_partitions_begin_at_the_first_data(tmp_path: Path) -> None:
    platform = Platform(get_settings(home=tmp_path), BUILT_IN)
    assert first_partition(platform) == "2010-01-01", "whatever comes first has its day"
    platform.first_days.note({"iiot": DAY})
    assert first_partition(platform) == "2026-03-05"
    platform.first_days.note({"iiot": date(2005, 1, 2)})
    assert first_partition(platform) == "2005-01-02"


def test_a_start_that_was_set_is_a_bound_for_both(tmp_path: Path) -> None:
    platform = Platform(get_settings(home=tmp_path, start_date=DAY), BUILT_IN)
    assert (platform.start_of(IIOT), platform.first_day_of(IIOT)) == (DAY, DAY)
    platform.first_days.note({"iiot": date(2005, 1, 2)})
    assert platform.first_day_of(IIOT) == DAY
    platform.first_days.note({"iiot": DAY + timedelta(days=3)})
    assert platform.first_day_of(IIOT) == DAY + timedelta(days=3)


def test_a_day_that_has_not_begun_here_is_no_first_partition(tmp_path: Path) -> None:
    platform = Platform(get_settings(home=tmp_path), BUILT_IN)
    today = datetime.now(UTC).date()
    platform.first_days.note({"iiot": today + timedelta(days=1)})
    assert platform.first_day_of(IIOT) <= datetime.now(UTC).date()
