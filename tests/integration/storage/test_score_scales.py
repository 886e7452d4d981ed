"""One meaning per name: `anomaly_score` in views is 0 to 1, `decision_score` is 1 to -1."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import polars as pl
import psycopg
import pytest

from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import SCHEMA_VERSION, upgrade
from anomaly_platform.warehouse import Warehouse
from tests.builders.schema import migrate
from tests.builders.scored_rows import DAY, replace_day, scored, scored_scans
from tests.builders.tables import rows_of

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
QUESTIONS = [
    question
    for page in ("README.md", "docs/tutorials/first-steps.md", "docs/how-to/barcode.md")
    for question in re.findall(
        r'anomaly sql "([^"]*bi_[a-z]+_scores[^"]*DESC[^"]*)"', (ROOT / page).read_text()
    )
]
OLD_INSERT = """
    INSERT INTO anomaly_detections (
        id, stream, device_id, metric_name, value, anomaly_score, is_anomaly,
        confidence, "timestamp", source, event_id, threshold, day
    ) VALUES (gen_random_uuid(), %s, %s, 'cpu', 1.0, %s, true, 0.5, now(), 'realtime',
        gen_random_uuid(), %s, current_date)
"""
"""As programs before schema 0008 write it, with a score of 0 to 1."""


def fill(warehouse: Warehouse, stream: str) -> None:
    """Score a day of which the last rows are ever more unusual."""
    if stream == "barcode":
        replace_day(
            warehouse.scan_scores,
            stream,
            DAY,
            [scored_scans(10.0, 60.0, 90.0, 75.0, day=DAY)],
            detector="fusion",
            threshold=0.7,
        )
        return
    rising = 0.7 + 0.01 * pl.int_range(pl.len())
    frame = scored(1, flagged=9).with_columns(
        score=pl.when(pl.col("is_anomaly")).then(rising).otherwise("score")
    )
    replace_day(warehouse.scores, stream, DAY, [frame])


@pytest.mark.parametrize("stream", ["iiot", "ems", "barcode"])
def test_the_docs_questions_put_the_most_unusual_first_in_every_stream(
    warehouse: Warehouse, stream: str
) -> None:
    fill(warehouse, stream)
    (most,) = rows_of(
        warehouse, f"SELECT max(anomaly_score), count(*) FROM bi_{stream}_scores WHERE is_anomaly"
    )
    assert len(QUESTIONS) == 3
    for question in QUESTIONS:
        about = re.search(r"bi_([a-z]+)_scores", question)
        assert about is not None
        column = re.search(r"ORDER BY (\w+) DESC", question)
        assert column is not None
        assert column[1] == "anomaly_score"
        shown = re.sub(r"SELECT .* FROM", "SELECT anomaly_score FROM", question, flags=re.DOTALL)
        answer = rows_of(warehouse, shown.replace(about[0], f"bi_{stream}_scores"))
        scores = [score for (score,) in answer]
        assert scores == sorted(scores, reverse=True)
        assert (scores[0], len(scores)) == (most[0], min(5, most[1]))


def test_an_older_database_keeps_its_rows_grants_and_views(
    empty_database_url: str, tmp_path: Path
) -> None:
    migrate(empty_database_url, "0007")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("SELECT ensure_stream_tables('pumps', 'pump')")
        connection.execute(OLD_INSERT, ("iiot", "odd", 0.85, 0.7))
        connection.execute(OLD_INSERT, ("iiot", "none", None, 0.7))
        for stream in ("iiot", "pumps"):
            connection.execute(f"GRANT SELECT ON bi_{stream}_scores TO pg_read_all_stats")
            connection.execute(f"CREATE VIEW my_{stream} AS SELECT * FROM bi_{stream}_scores")
        connection.execute(
            "CREATE VIEW before AS SELECT attrelid::regclass::text AS view, attname, attnum "
            "FROM pg_attribute WHERE attrelid::regclass::text ~ '^bi_(iiot|ems|pumps)_'"
        )
        connection.execute("CREATE TABLE kept AS SELECT * FROM before")
    settings = get_settings(
        home=tmp_path, database_url=empty_database_url, dagster_database="postgres"
    )
    assert upgrade(settings) == SCHEMA_VERSION
    with contextlib.closing(Warehouse(empty_database_url)) as warehouse:
        found = rows_of(
            warehouse,
            "SELECT device_id, score, anomaly_score FROM anomaly_detections ORDER BY device_id",
        )
        assert found == [("none", None, None), ("odd", 0.85, pytest.approx(-0.5))]
        assert rows_of(warehouse, "SELECT * FROM kept EXCEPT SELECT * FROM before") == []
        for stream in ("iiot", "pumps"):
            fill(warehouse, stream)
            shown = f"SELECT max(anomaly_score), min(decision_score) FROM bi_{stream}_scores"
            assert rows_of(warehouse, shown) == [(pytest.approx(0.89), pytest.approx(-0.19 / 0.3))]
            granted = (
                f"SELECT has_table_privilege('pg_read_all_stats', 'bi_{stream}_scores', 'SELECT')"
            )
            assert rows_of(warehouse, granted) == [(True,)]
        assert rows_of(warehouse, "SELECT max(unit_score) FROM my_iiot") == [(pytest.approx(0.89),)]


def test_a_program_of_before_goes_on_writing_detections(warehouse: Warehouse) -> None:
    with warehouse.transactions.begin() as connection:
        connection.execute(OLD_INSERT, ("iiot", "press-1", 0.91, 0.7))
        connection.execute(OLD_INSERT, ("iiot", "press-2", 1.0, 1.0))
        connection.execute(OLD_INSERT, ("iiot", "press-3", 0.0, 0.0))
        connection.execute("SELECT ensure_stream_tables(%s, %s)", ("boilers", "boiler"))
    found = rows_of(
        warehouse, "SELECT score, anomaly_score FROM anomaly_detections ORDER BY device_id"
    )
    assert found == [(0.91, pytest.approx(-0.7)), (1.0, 0.0), (0.0, 0.0)]


def test_the_way_back_restores_the_scales_of_before(empty_database_url: str) -> None:
    migrate(empty_database_url, "0007")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(OLD_INSERT, ("iiot", "odd", 0.85, 0.7))
    columns = (
        "SELECT attrelid::regclass::text, attname, col_description(attrelid, attnum) "
        "FROM pg_attribute WHERE attrelid::regclass::text ~ '^bi_' ORDER BY attrelid, attnum"
    )

    def shown() -> list[tuple[object, ...]]:
        with psycopg.connect(empty_database_url) as connection:
            return [
                *sorted(connection.execute(columns).fetchall()),
                *connection.execute("SELECT anomaly_score FROM anomaly_detections").fetchall(),
            ]

    before = shown()
    for _ in range(2):
        migrate(empty_database_url, "0008")
        assert shown() != before
        migrate(empty_database_url, "0007", "downgrade")
        assert shown() == before


def test_the_way_back_from_explanations_keeps_the_views_with_calls(empty_database_url: str) -> None:
    migrate(empty_database_url, "0014")
    query = (
        "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) "
        "FROM information_schema.columns WHERE table_name ~ '^(bi|scored)_' "
        "GROUP BY table_name ORDER BY table_name"
    )

    def shown() -> dict[str, list[str]]:
        with psycopg.connect(empty_database_url) as connection:
            return dict(connection.execute(query).fetchall())

    before = shown()
    calls = ["reason", "is_call", "entity_is_call"]
    assert before["bi_iiot_scores"][-3:] == calls
    for _ in range(2):
        migrate(empty_database_url, "0015")
        after = shown()["bi_iiot_scores"]
        assert after[: after.index("expected_low")] == before["bi_iiot_scores"]
        assert after[-1] == "explanation"
        migrate(empty_database_url, "0014", "downgrade")
        assert shown() == before
