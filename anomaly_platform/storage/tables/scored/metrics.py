# ruff: noqa: S608 - the statement is put together from constants
"""The table of scored readings."""

from typing import Final

from anomaly_platform.storage.postgres.copying import PgType
from anomaly_platform.storage.tables.ml_models import FALLBACK, HAS_MODEL
from anomaly_platform.storage.tables.scored.table import ScoredTable

EXPLAINED: Final[dict[str, PgType]] = {
    **dict.fromkeys(("expected_low", "expected_high", "deviation", "lasted_s"), "float8"),
    "direction": "text",
    "lasting": "bool",
    "explanation": "jsonb",
}
"""Columns of a flagged reading's explanation."""
_EXPLAINED: Final = ", ".join(f"'{name}', s.{name}" for name in EXPLAINED)

SCORED_METRICS: Final = ScoredTable(
    name="scored_metrics",
    columns={
        "stream": "text",
        "day": "date",
        "entity": "text",
        "metric": "text",
        "event_time": "timestamptz",
        "event_id": "uuid",
        "value": "float8",
        "score": "float8",
        "is_anomaly": "bool",
        "threshold": "float8",
        "status": "text",
        "p_value": "float8",
        "raw_score": "float8",
        "z_score": "float8",
        "iqr_score": "float8",
        "mad_score": "float8",
        "label": "bool",
        "entity_score": "float8",
        "entity_is_anomaly": "bool",
        "causes": "jsonb",
        "reason": "text",
        "is_call": "bool",
        "entity_is_call": "bool",
        **EXPLAINED,
        "metadata": "json",
        "detector": "text",
        "bundle_version": "int4",
    },
    key=("entity", "metric", "event_time"),
    optional=(
        *("label", "entity_score", "entity_is_anomaly", "causes", "reason"),
        *("is_call", "entity_is_call", "metadata"),
        *EXPLAINED,
    ),
    detections=f"""
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, value, score, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day,
            created_at
        )
        SELECT
            md5(concat_ws(E'\\x1f', 'batch', s.stream, s.entity, s.metric,
                          extract(epoch FROM s.event_time)))::uuid,
            m.id, s.stream, s.entity, s.metric, s.value, s.score,
            decision_score(s.score, s.threshold), true,
            abs(decision_score(s.score, s.threshold)), s.event_time,
            jsonb_strip_nulls(jsonb_build_object(
                'status', s.status, 'p_value', s.p_value,
                'detector', CASE WHEN s.status = 'trained' OR m.{HAS_MODEL}
                    THEN s.detector ELSE '{FALLBACK}' END,
                'causes', s.causes, 'reason', s.reason, 'label', s.label, {_EXPLAINED})),
            'batch', s.event_id, s.threshold, s.bundle_version, s.day,
            clock_timestamp()
        FROM {{partition}} s
        LEFT JOIN ml_models m ON m.stream = s.stream AND m.model_type = s.detector
            AND m.bundle_version = s.bundle_version
            AND m.device_id = s.entity AND m.metric_name = s.metric
        WHERE s.day = %(day)s AND s.is_anomaly
        """,
)
