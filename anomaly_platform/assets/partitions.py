"""Days as partitions: the calendar of a stream, and the days that a run is about."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise

from dagster import AssetDep, BackfillPolicy, DailyPartitionsDefinition, TimeWindowPartitionMapping

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"

SINGLE_RUN = BackfillPolicy.single_run()


def days_of(start: date) -> DailyPartitionsDefinition:
    """Return the UTC days from `start` to today, today included."""
    return DailyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)


def with_lookback(key: Sequence[str], lookback_days: int) -> AssetDep:
    """Depend on the same day and on the `lookback_days` days before it."""
    return AssetDep(
        list(key),
        partition_mapping=TimeWindowPartitionMapping(
            start_offset=-lookback_days, allow_nonexistent_upstream_partitions=True
        ),
    )


def to_days(keys: Iterable[str]) -> list[date]:
    """Return partition keys as dates, ascending."""
    return sorted(date.fromisoformat(key) for key in keys)


def tagged_days(tags: Mapping[str, str]) -> list[date]:
    """Return the days that a run's tags name, ascending; empty when the run names none."""
    if RANGE_START_TAG in tags and RANGE_END_TAG in tags:
        first = date.fromisoformat(tags[RANGE_START_TAG])
        last = date.fromisoformat(tags[RANGE_END_TAG])
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]
    if PARTITION_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_TAG])]
    return []


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags that make a run cover `first` … `last` in one go."""
    return {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()}


def contiguous_spans(days: Iterable[date]) -> list[tuple[date, date]]:
    """Return the fewest (first, last) spans of consecutive days that cover exactly `days`.

    Examples
    --------
    >>> contiguous_spans([date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 5)])[1]
    (datetime.date(2026, 1, 5), datetime.date(2026, 1, 5))
    """
    ordered = sorted(set(days))
    if not ordered:
        return []
    breaks = [(a, b) for a, b in pairwise(ordered) if b - a > timedelta(days=1)]
    firsts = [ordered[0], *(b for _, b in breaks)]
    lasts = [*(a for a, _ in breaks), ordered[-1]]
    return list(zip(firsts, lasts, strict=True))
