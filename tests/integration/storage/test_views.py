"""What BI reads: documented, on the promised scales, and found through indexes."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl
import psycopg
import pytest

from anomaly_platform.cli.streams.run import query_of_most_unusual
from anomaly_platform.streams import IIOT
from anomaly_platform.warehouse import Warehouse
from tests.builders.models import HOSTS, register
from tests.builders.scored_rows import DAY, replace_day, scored
from tests.builders.tables import rows_of

pytestmark = pytest.mark.integration


def fill(warehouse: Warehouse, stream: str) -> None:
    version = register(warehouse, stream, series=HOSTS)
    warehouse.bundles.promote_set(stream, {"isolation_forest": version}, "test")
    replace_day(warehouse.scores, stream, DAY, [scored(3)], bundle_version=version)


def test_the_scale_of_devices_is_the_decision_score(warehouse: Warehouse) -> None:
    fill(warehouse, "iiot")
    found = rows_of(
        warehouse,
        "SELECT is_anomaly, decision_score, confidence, prediction, anomaly_score "
        "FROM bi_iiot_scores WHERE device_id = 'host-1' ORDER BY \"timestamp\" DESC",
    )
    flagged, normal, *_, missing = found
    assert flagged == (True, pytest.approx(-2 / 3), pytest.approx(2 / 3), -1, 0.9)
    assert normal == (False, pytest.approx(5 / 7), pytest.approx(5 / 7), 1, 0.2)
    assert missing == (None, None, None, None, None)


def test_ems_view_has_both_scales(warehouse: Warehouse) -> None:
    fill(warehouse, "ems")
    flagged = rows_of(
        warehouse,
        "SELECT asset_id, metric_name, anomaly_score, decision_score, confidence "
        "FROM bi_ems_scores WHERE is_anomaly ORDER BY asset_id",
    )
    assert flagged[0] == ("host-0", "cpu", 0.9, pytest.approx(-2 / 3), pytest.approx(2 / 3))
    assert len(flagged) == 3


@pytest.mark.parametrize(("threshold", "signed"), [(0.0, [-0.9, -0.2]), (1.0, [0.1, 0.8])])
def test_views_know_the_ends_of_the_scale(
    warehouse: Warehouse, threshold: float, signed: list[float]
) -> None:
    frame = scored(1).with_columns(
        threshold=pl.lit(threshold), is_anomaly=pl.col("score") >= threshold
    )
    for stream in ("iiot", "ems"):
        replace_day(warehouse.scores, stream, DAY, [frame])
    (*shown,) = rows_of(
        warehouse,
        "SELECT DISTINCT decision_score, confidence FROM bi_iiot_scores "
        "WHERE value IS NOT NULL ORDER BY decision_score",
    )
    wanted = [(pytest.approx(one), pytest.approx(abs(one))) for one in signed]
    assert shown == wanted
    confidences = rows_of(
        warehouse,
        "SELECT DISTINCT confidence FROM bi_ems_scores WHERE value IS NOT NULL ORDER BY confidence",
    )
    assert [one for (one,) in confidences] == pytest.approx(sorted(map(abs, signed)))
    (counted,) = rows_of(warehouse, "SELECT count(*) FROM anomaly_detections WHERE stream = 'ems'")
    assert counted == (19 if threshold == 0.0 else 0,)


def test_daily_summaries(warehouse: Warehouse) -> None:
    fill(warehouse, "ems")
    found = rows_of(
        warehouse,
        "SELECT day, readings, missing, anomalies, undecided, anomaly_rate, max_score "
        "FROM bi_ems_daily WHERE asset_id = 'host-0'",
    )
    assert found == [(DAY, 20, 1, 1, 0, pytest.approx(1 / 19), 0.9)]


def test_the_names_that_users_of_an_ems_know(warehouse: Warehouse) -> None:
    fill(warehouse, "ems")
    fill(warehouse, "iiot")
    found = rows_of(
        warehouse,
        'SELECT id, "assetId", "metricName", score, "isAnomaly", threshold, metadata, '
        '"timestamp" FROM anomaly_scores',
    )
    assert len(found) == 60, "only the assets' readings"
    kinds = rows_of(warehouse, 'SELECT pg_typeof("assetId")::text FROM anomaly_scores')
    assert kinds[0] == ("text",)
    models = rows_of(
        warehouse,
        'SELECT "modelType", "modelVersion", "trainingDate", metrics, parameters, status, '
        '"filePath", metadata, "createdAt" FROM model_metadata ORDER BY metadata ->> \'stream\'',
    )
    assert [model[0:2] for model in models] == [("isolation_forest", "1")] * 2
    assert models[0][5] == "champion"


@pytest.mark.parametrize(
    "query",
    [
        'SELECT * FROM anomaly_scores WHERE "assetId" = \'x\' AND "timestamp" > now()',
        "SELECT * FROM bi_ems_scores WHERE asset_id = 'x' AND metric_name = 'cpu'",
        "SELECT * FROM bi_ems_scores WHERE day = '2026-01-05'",
        'SELECT * FROM bi_ems_scores WHERE "timestamp" BETWEEN now() AND now()',
        'SELECT * FROM bi_ems_scores WHERE is_anomaly ORDER BY "timestamp" DESC LIMIT 10',
        "SELECT * FROM bi_ems_daily WHERE day = '2026-01-05'",
        "SELECT * FROM anomaly_detections WHERE device_id = 'x' AND \"timestamp\" > now()",
        "SELECT * FROM anomaly_detections WHERE model_id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
    ],
)
def test_questions_are_answered_through_an_index(warehouse: Warehouse, query: str) -> None:
    with warehouse.transactions.begin() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))
    assert "Index" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_every_view_and_table_is_documented(warehouse: Warehouse) -> None:
    undocumented = rows_of(
        warehouse,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'v') AND relname <> 'alembic_version' "
        "AND obj_description(oid, 'pg_class') IS NULL",
    )
    assert undocumented == []


def test_a_stream_of_the_users_own(warehouse: Warehouse) -> None:
    for _ in range(2):
        warehouse.transactions.execute("SELECT ensure_stream_tables('pumps', 'pump')")
    fill(warehouse, "pumps")
    pumps = rows_of(warehouse, "SELECT DISTINCT pump FROM bi_pumps_scores ORDER BY 1")
    assert pumps[0] == ("host-0",)
    stream = replace(IIOT, name="pumps", entity_field="pump", time_field="read at")
    assert len(rows_of(warehouse, query_of_most_unusual(stream, DAY, DAY))) == 10
    assert len(rows_of(warehouse, "SELECT * FROM bi_pumps_daily")) == 3
    assert rows_of(warehouse, "SELECT count(*) FROM scored_metrics") == [(60,)]
    assert warehouse.scores.count_rows("ems", DAY) == 0
    warehouse.scores.ensure_metric_tables("pumps", entity_field="pump_id")
    assert len(rows_of(warehouse, "SELECT pump_id FROM bi_pumps_scores")) == 60


@pytest.mark.parametrize("name", ["Pumps", "a-b", "x; DROP TABLE series", "metrics", "days", ""])
def test_names_that_cannot_be_tables_are_refused(warehouse: Warehouse, name: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="cannot be used"):
        warehouse.scores.ensure_metric_tables(name)
    with pytest.raises(psycopg.errors.RaiseException, match="cannot be used"):
        warehouse.scores.ensure_metric_tables("pumps", entity_field="a b")


def test_new_streams_do_not_wait_for_readers_of_others(
    warehouse: Warehouse, database_url: str
) -> None:
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM scored_ems")
        with warehouse.transactions.begin() as connection:
            connection.execute("SET LOCAL lock_timeout = '5s'")
            connection.execute("SELECT ensure_stream_tables('valves')")
        reader.execute("SELECT count(*) FROM scored_metrics WHERE day = %s", (dt.date(2026, 1, 5),))
