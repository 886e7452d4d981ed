"""Every query that ships finds its metric in a real scrape, or its columns in the real tables."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.metrics.requests import count_request, count_scored
from anomaly_platform.settings import get_settings
from tests.builders.models import register

pytestmark = pytest.mark.integration

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/anomaly_platform.json"
NOW = dt.datetime.now(dt.UTC)

#: What Prometheus itself says of a target, and the labels that it adds to every sample.
_PROMETHEUS_OWN = {"up": {"job", "instance"}}
_KEYWORDS = {"by", "without", "and", "or", "unless", "on", "ignoring", "bool", "offset"}


def metrics_of(expression: str) -> dict[str, set[str]]:
    """Return the metrics that a PromQL expression names, each with the labels it is asked for."""
    found: dict[str, set[str]] = {}
    text = re.sub(r"\[[^\]]*\]", "", expression)
    grouping: set[str] = set()
    for labels in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", text):
        grouping |= {label.strip() for label in labels.split(",")}
    text = re.sub(r"\b(?:by|without)\s*\([^)]*\)", " ", text)
    # A name that is not part of a number, with its matchers, and not followed by a parenthesis.
    name = r"(?<![\w.:])([A-Za-z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\()(?![\w:])"
    for metric, matchers in re.findall(name, text):
        if metric in _KEYWORDS:
            continue
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        found.setdefault(metric, set()).update(asked | (grouping - {"le"}))
    return found


def test_the_names_in_an_expression_are_found() -> None:
    query = 'sum by (le, a) (rate(x_bucket{b="q{",c=~"d.*"}[5m])) / on() y > 1e9 and z offset 5m'
    assert metrics_of(query.replace("q{", "q")) == {
        "x_bucket": {"a", "b", "c"}, "y": {"a"}, "z": {"a"},
    }  # fmt: skip


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def data_sources() -> list[dict[str, Any]]:
    file = DEPLOY / "grafana/provisioning/datasources/datasources.yaml"
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text())["datasources"]
    return found


def queries(kind: str) -> list[tuple[str, str]]:
    """Return panel title and query of every panel that asks this kind of data source."""
    field = {"prometheus": "expr", "postgres": "rawSql"}[kind]
    document = dashboard()
    found = [
        (panel["title"], target[field])
        for panel in document["panels"]
        for target in panel.get("targets", ())
        if target["datasource"]["type"] == kind
    ]
    if kind == "postgres":
        found += [(one["name"], one["target"]["rawSql"]) for one in document["annotations"]["list"]]
        found += [(one["name"], one["query"]) for one in document["templating"]["list"]]
    return found


def alert_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def fill(platform: Platform) -> None:
    """Bring in what the queries ask about: models, a failed training, a scored day, detections."""
    warehouse = platform.warehouse
    version = register(
        warehouse, "iiot", trained_at=NOW, window_start=NOW, window_end=NOW,
        series=pl.DataFrame(
            {
                "entity": ["press-1", "press-2"], "metric": ["t", "t"],
                "status": ["trained", "trained"], "rows": [500, 400],
                "accuracy": [0.99, 0.8], "false_positive_rate": [0.01, 0.2],
            }
        ),
    )  # fmt: skip
    warehouse.bundles.promote_set("iiot", {"isolation_forest": version}, reason="first")
    failed = warehouse.bundles.reserve_version("iiot", "isolation_forest")
    warehouse.bundles.fail("iiot", "isolation_forest", failed, "out of memory")
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO scored_days (stream, day, watermark, detector, rows, anomalies) "
            "VALUES ('iiot', current_date, 1, 'isolation_forest', 100, 3)"
        )
        connection.execute(
            "INSERT INTO anomaly_detections (id, stream, device_id, metric_name, is_anomaly, "
            "\"timestamp\", source, event_id, threshold, day) VALUES (gen_random_uuid(), 'iiot', "
            "'press-1', 't', true, now(), 'batch', gen_random_uuid(), 0.7, current_date)"
        )
        connection.execute(
            "INSERT INTO feedback_labels (stream, entity, metric, event_time, is_anomaly, "
            "labelled_by, detection_id) SELECT 'iiot', 'press-1', 't', now(), false, 'me', id "
            "FROM anomaly_detections"
        )
        alert = Alert(
            kind="quality", fingerprint="f", subject="press-2/t", severity="warning",
            title="accuracy is 0.8", stream="iiot", details={},
        )  # fmt: skip
        platform.outbox.raise_alert(connection, alert)


@pytest.fixture(scope="module")
def scrape(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[str]]:
    """Every sample name that the running application shows, with its labels."""
    home = tmp_path_factory.mktemp("scrape")
    stored = home / "lake/models/iiot/isolation_forest/000001"
    stored.mkdir(parents=True)
    (stored / "arrays.safetensors").write_bytes(b"x" * 1000)
    platform = Platform(get_settings(home=home, database_url=module_database_url))
    fill(platform)
    _, key = platform.warehouse.api_keys.create("prometheus", ["ml:read"], created_by="test")
    with TestClient(create_app(platform)) as client:
        client.get("/api/v1/keys")
        # As a scoring route does; its own test is that it does.
        count_scored("iiot", 10, 1)
        count_request("POST", "/predict", 200, 0.01, scored=True)
        text = client.get("/metrics", headers={"X-API-Key": key}).text
    platform.close()
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        samples.setdefault(family.name, set())
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def assert_answered(expression: str, samples: dict[str, set[str]]) -> None:
    named = metrics_of(expression)
    assert named, expression
    for name, labels in named.items():
        known = _PROMETHEUS_OWN.get(name) or samples.get(name)
        assert known is not None, f"no metric {name} ({expression})"
        if name != "anomaly_redis_up":
            assert labels <= known, f"{name} has no labels {labels - known}"


@pytest.mark.parametrize(("title", "expression"), queries("prometheus"))
def test_every_panel_finds_its_metric(
    title: str, expression: str, scrape: dict[str, set[str]]
) -> None:
    assert_answered(expression, scrape)


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_every_alert_finds_its_metric(rule: dict[str, Any], scrape: dict[str, set[str]]) -> None:
    assert_answered(rule["expr"], scrape)
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "action"}
    labels = {label for known in metrics_of(rule["expr"]) for label in scrape.get(known, ())}
    said = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert said <= labels, "the text names a label that the alert does not have"


def test_the_alerts_of_the_requirements_are_there() -> None:
    expressions = " ".join(rule["expr"] for rule in alert_rules())
    for wanted in (
        "anomaly_models_off_target{target=\"accuracy\"} > 0",
        "anomaly_model_false_positive_ratio{statistic=\"mean\"} > 0.1",
        "anomaly_prediction_duration_seconds_bucket[5m]))) > 0.1",
        "anomaly_training_failures_total",
        "anomaly_model_storage_bytes) > 1e9",
    ):  # fmt: skip
        assert wanted in expressions


def as_grafana_sends(sql: str) -> str:
    """Replace Grafana's macros and variables as it does."""
    between = "{0} BETWEEN '2020-01-01T00:00:00Z' AND now() + interval '1 day'"
    sql = re.sub(r"\$__timeFilter\(([^()]*)\)", lambda m: between.format(m[1]), sql)
    sql = sql.replace("$stream", "'iiot','ems'")
    assert "$" not in sql, "a macro or variable that this test does not know"
    return sql


@pytest.mark.parametrize(("title", "sql"), queries("postgres"))
def test_every_sql_panel_runs_and_shows_something(
    title: str, sql: str, scrape: dict[str, set[str]], module_database_url: str
) -> None:
    [source] = [one for one in data_sources() if one["type"] == "postgres"]
    with psycopg.connect(module_database_url, user=source["user"]) as connection:
        cursor = connection.execute(as_grafana_sends(sql).encode())
        columns = [column.name for column in cursor.description or ()]
        assert cursor.fetchall(), f"{title} is empty"
    if "$__timeFilter" in sql and "time_series" in json.dumps(dashboard()):
        assert columns[0] in ("time", "timestamp") or columns == ["metric", "value"]


def test_the_dashboard_can_be_provisioned() -> None:
    document = dashboard()
    known = {(source["type"], source["uid"]) for source in data_sources()}
    assert document["uid"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert (target["datasource"]["type"], target["datasource"]["uid"]) in known
    titles = " ".join(panel["title"] for panel in document["panels"])
    for wanted in (
        "Models by status", "Anomaly rate", "Accuracy per device and metric",
        "Prediction latency", "False-positive rate over 24 h",
    ):  # fmt: skip
        assert wanted in titles
