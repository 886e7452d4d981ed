# ruff: noqa: S608 - the statement is put together from constants
"""The table of scored scans; in ``anomaly_detections`` a scan's device is its code."""

from typing import Final

from anomaly_platform.storage.tables.scored.table import ScoredTable

_METRIC: Final = "scans"
_EVERY_CODE: Final = "*"
"""What stands for a metric of scans, and for the device of a model that judges every code."""

SCORED_SCANS: Final = ScoredTable(
    name="scored_scans",
    columns={
        "stream": "text",
        "day": "date",
        "epc_code": "text",
        "event_time": "timestamptz",
        "location_id": "text",
        "business_step": "text",
        "event_type": "text",
        "event_id": "text",
        "file_id": "text",
        "scan_location": "text",
        "operator_id": "text",
        "device_id": "text",
        "product_name": "text",
        "place": "text",
        "location_interpolated": "bool",
        "step": "text",
        "business_step_inferred": "bool",
        "event_type_missing": "bool",
        "epc_malformed": "bool",
        "partial_sequence": "bool",
        "place_name": "text",
        "latitude": "float8",
        "longitude": "float8",
        "location_type": "text",
        "location_hierarchy": "int4",
        "epc_fake_score": "float8",
        "epc_dup_score": "float8",
        "loc_err_score": "float8",
        "evt_order_err_score": "float8",
        "jump_score": "float8",
        "blind_rules": "text",
        "lstm_score": "float8",
        "svm_score": "float8",
        "ml_combined_score": "float8",
        "final_confidence": "float8",
        "is_anomaly": "bool",
        "severity": "text",
        "explanation": "text",
        "label": "bool",
        "anomaly_kind": "text",
        "detector": "text",
        "bundle_version": "int4",
    },
    key=("epc_code", "event_time", "location_id", "business_step", "event_type"),
    optional=(),
    detections=f"""
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, score, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day,
            created_at
        )
        SELECT
            md5(jsonb_build_array('batch', s.stream, s.epc_code,
                extract(epoch FROM s.event_time), s.location_id, s.business_step,
                s.event_type)::text)::uuid,
            m.id, s.stream, s.epc_code, '{_METRIC}',
            %(threshold)s + (1 - %(threshold)s) * (s.final_confidence - 50) / 50,
            (50 - s.final_confidence) / 50, true,
            (s.final_confidence - 50) / 50, s.event_time,
            jsonb_strip_nulls(jsonb_build_object(
                'event_id', s.event_id, 'place', s.place, 'event_type', s.event_type,
                'severity', s.severity, 'final_confidence', s.final_confidence,
                'explanation', s.explanation, 'detector', s.detector, 'label', s.label)),
            'batch', md5(jsonb_build_array(s.stream, s.event_id)::text)::uuid,
            %(threshold)s, s.bundle_version, s.day,
            clock_timestamp()
        FROM {{partition}} s
        LEFT JOIN ml_models m ON m.stream = s.stream AND m.model_type = s.detector
            AND m.bundle_version = s.bundle_version
            AND m.device_id = '{_EVERY_CODE}' AND m.metric_name = '{_METRIC}'
        WHERE s.day = %(day)s AND s.is_anomaly
        """,
)
