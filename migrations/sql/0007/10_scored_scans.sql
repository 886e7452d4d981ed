-- One table of scored scans, a partition per stream; scored_barcode becomes the first of them.

CREATE TABLE scored_scans (
    LIKE scored_barcode INCLUDING CONSTRAINTS INCLUDING COMMENTS,
    stream text NOT NULL
) PARTITION BY LIST (stream);

COMMENT ON TABLE scored_scans IS
    'Scans of goods as the models in service at the time see them; a day is replaced as a whole. '
    'One partition per stream: scored_<stream>.';

-- The default fills the rows that are there without writing them anew.
ALTER TABLE scored_barcode ADD COLUMN stream text NOT NULL DEFAULT 'barcode';
ALTER TABLE scored_barcode ALTER COLUMN stream DROP DEFAULT;
ALTER TABLE scored_scans ATTACH PARTITION scored_barcode FOR VALUES IN ('barcode');

CREATE FUNCTION ensure_scan_stream_tables(stream_name text) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    partition_name  text := 'scored_' || stream_name;
    scores_name     text := 'bi_' || stream_name || '_scores';
    daily_name      text := 'bi_' || stream_name || '_daily';
    places_name     text := 'bi_' || stream_name || '_places';
BEGIN
    IF stream_name !~ '^[a-z][a-z0-9_]{0,30}$' OR stream_name IN ('metrics', 'days', 'scans') THEN
        RAISE EXCEPTION 'stream name % cannot be used for tables', quote_literal(stream_name);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_stream_tables', 0));

    IF to_regclass(quote_ident(partition_name)) IS NULL THEN
        -- Made beside and then attached: readers of other streams are not held up.
        EXECUTE format('CREATE TABLE %I (LIKE scored_scans INCLUDING ALL)', partition_name);
        EXECUTE format('ALTER TABLE %I SET (autovacuum_analyze_scale_factor = 0.02, '
                       'autovacuum_vacuum_scale_factor = 0.05)', partition_name);
        -- The natural key of a scan, of which senders may leave out all but code and time.
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (epc_code, event_time, location_id, '
                       'business_step, event_type) NULLS NOT DISTINCT',
                       partition_name || '_key', partition_name);
        EXECUTE format('CREATE INDEX %I ON %I (day)', partition_name || '_day', partition_name);
        EXECUTE format('CREATE INDEX %I ON %I USING brin (event_time timestamptz_minmax_multi_ops) '
                       'WITH (autosummarize = on)', partition_name || '_time', partition_name);
        EXECUTE format('CREATE INDEX %I ON %I (place, event_time)',
                       partition_name || '_place', partition_name);
        EXECUTE format('CREATE INDEX %I ON %I (event_time) WHERE is_anomaly',
                       partition_name || '_flagged', partition_name);
        EXECUTE format('ALTER TABLE scored_scans ATTACH PARTITION %I FOR VALUES IN (%L)',
                       partition_name, stream_name);
        EXECUTE format('COMMENT ON TABLE %I IS %L', partition_name,
                       'Scored scans of the stream ' || stream_name || '.');
    END IF;

    EXECUTE format('DROP VIEW IF EXISTS %I', scores_name);
    EXECUTE format($view$
        CREATE VIEW %I AS SELECT
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
        FROM %I$view$, scores_name, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', scores_name,
        'One row per scan with its verdict; filter by day, by epc_code and timestamp, by '
        'location_id and timestamp, or by is_anomaly, which are indexed.');
    EXECUTE format('COMMENT ON COLUMN %I.final_confidence IS %L', scores_name,
        '0 ordinary, an anomaly from 50 on, 100 certain.');

    EXECUTE format('DROP VIEW IF EXISTS %I', daily_name);
    EXECUTE format($view$
        CREATE VIEW %I AS SELECT
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
        FROM %I GROUP BY day$view$, daily_name, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', daily_name,
        'Scans and what was found, per day.');

    EXECUTE format('DROP VIEW IF EXISTS %I', places_name);
    EXECUTE format($view$
        CREATE VIEW %I AS SELECT
            day, place AS location_id, max(place_name) AS scan_location,
            max(location_type) AS location_type,
            max(latitude) AS latitude, max(longitude) AS longitude,
            count(*) AS scans,
            count(*) FILTER (WHERE is_anomaly) AS anomalies,
            max(final_confidence) AS highest_confidence
        FROM %I GROUP BY day, place$view$, places_name, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', places_name,
        'Scans and anomalies per day and place, with coordinates for a map; a null place is '
        'unknown.');
END $function$;

COMMENT ON FUNCTION ensure_scan_stream_tables IS
    'Makes partition, indexes and BI views of a scan stream; doing it again renews the views.';
