-- What BI reads of the stream `barcode`: stable names, indexed for day, code, place and alarms.

CREATE VIEW bi_barcode_scores AS SELECT
    event_id, day, epc_code, event_time AS "timestamp",
    place AS location_id, place_name AS scan_location, location_interpolated,
    step AS business_step, business_step_inferred, event_type, event_type_missing,
    latitude, longitude, location_type, location_hierarchy,
    file_id, operator_id, device_id, product_name, epc_malformed,
    epc_fake_score >= 50 AS epc_fake, epc_fake_score,
    epc_dup_score >= 50 AS epc_dup, epc_dup_score,
    loc_err_score >= 50 AS loc_err, loc_err_score,
    evt_order_err_score >= 50 AS evt_order_err, evt_order_err_score,
    jump_score >= 50 AS jump, jump_score,
    lstm_score AS lstm_sequence_score, svm_score AS svm_outlier_score, ml_combined_score,
    final_confidence, is_anomaly, severity, explanation AS ml_explanation,
    label, anomaly_kind, detector, bundle_version
FROM scored_barcode;

COMMENT ON VIEW bi_barcode_scores IS
    'One row per scan with its verdict; filter by day, by epc_code and timestamp, by location_id '
    'and timestamp, or by is_anomaly, which are indexed.';
COMMENT ON COLUMN bi_barcode_scores.final_confidence IS
    '0 ordinary, an anomaly from 50 on, 100 certain.';

CREATE VIEW bi_barcode_daily AS SELECT
    day,
    count(*) AS scans,
    count(DISTINCT epc_code) AS codes,
    count(*) FILTER (WHERE is_anomaly) AS anomalies,
    count(*) FILTER (WHERE severity = 'HIGH') AS high,
    count(*) FILTER (WHERE epc_fake_score >= 50) AS epc_fake_count,
    count(*) FILTER (WHERE epc_dup_score >= 50) AS epc_dup_count,
    count(*) FILTER (WHERE loc_err_score >= 50) AS loc_err_count,
    count(*) FILTER (WHERE evt_order_err_score >= 50) AS evt_order_err_count,
    count(*) FILTER (WHERE jump_score >= 50) AS jump_count,
    count(*) FILTER (WHERE ml_combined_score >= 50) AS ml_count,
    avg(final_confidence) AS mean_confidence
FROM scored_barcode GROUP BY day;

COMMENT ON VIEW bi_barcode_daily IS 'Scans and what was found, per day.';

CREATE VIEW bi_barcode_places AS SELECT
    day, place AS location_id, max(place_name) AS scan_location, max(location_type) AS location_type,
    max(latitude) AS latitude, max(longitude) AS longitude,
    count(*) AS scans,
    count(*) FILTER (WHERE is_anomaly) AS anomalies,
    max(final_confidence) AS highest_confidence
FROM scored_barcode GROUP BY day, place;

COMMENT ON VIEW bi_barcode_places IS
    'Scans and anomalies per day and place, with coordinates for a map; a null place is unknown.';
