import polars as pl

from anomaly_platform.ingest.bucketing import BUCKETS, bucket, bucket_of


def test_buckets_are_the_same_for_ever():
    # Lake files are sorted by them.
    assert bucket("pump-01") == 61
    assert bucket("") == 0
    assert bucket("Kühlung") == 20


def test_a_column_is_as_its_cells():
    entities = pl.Series(["a", "b", "a", None, "Kühlung"])
    buckets = bucket_of(entities)
    assert buckets.dtype == pl.UInt8
    assert buckets.to_list() == [bucket(entity or "") for entity in entities]
    assert bucket_of(entities.clear()).dtype == pl.UInt8


def test_entities_spread_over_all_buckets():
    assert bucket_of(pl.Series([f"device-{n}" for n in range(5000)])).n_unique() == BUCKETS
