-- Views of metric streams: anomaly_score is 0 to 1 in every stream, decision_score 1 to -1.

DROP FUNCTION ensure_stream_tables;
CREATE FUNCTION ensure_stream_tables(
    stream_name   text,
    entity_field  text DEFAULT 'entity'
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    partition_name  text := 'scored_' || stream_name;
    scores_name     text := 'bi_' || stream_name || '_scores';
    daily_name      text := 'bi_' || stream_name || '_daily';
    columns         text[];
    kept            text := '';
BEGIN
    IF stream_name !~ '^[a-z][a-z0-9_]{0,30}$' OR stream_name IN ('metrics', 'days') THEN
        RAISE EXCEPTION 'stream name % cannot be used for tables', quote_literal(stream_name);
    END IF;
    IF entity_field !~ '^[a-z][a-z0-9_]{0,30}$' THEN
        RAISE EXCEPTION 'entity field % cannot be used as a column', quote_literal(entity_field);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_stream_tables', 0));

    IF to_regclass(quote_ident(partition_name)) IS NULL THEN
        -- Made beside and then attached: readers of other streams are not held up.
        EXECUTE format('CREATE TABLE %I (LIKE scored_metrics INCLUDING ALL)', partition_name);
        -- Statistics of a million sorted rows a day go stale before a fifth of them changed.
        EXECUTE format('ALTER TABLE %I SET (autovacuum_analyze_scale_factor = 0.02, '
                       'autovacuum_vacuum_scale_factor = 0.05)', partition_name);
        EXECUTE format('CREATE INDEX %I ON %I (day)', partition_name || '_day', partition_name);
        -- Days are written one after the other, which suits the smallest kind of index.
        EXECUTE format('CREATE INDEX %I ON %I USING brin (event_time timestamptz_minmax_multi_ops) '
                       'WITH (autosummarize = on)', partition_name || '_time', partition_name);
        -- From 18 on, PostgreSQL skips through the metrics of the primary key by itself.
        IF current_setting('server_version_num')::integer < 180000 THEN
            EXECUTE format('CREATE INDEX %I ON %I (entity, event_time)',
                           partition_name || '_entity', partition_name);
        END IF;
        EXECUTE format('CREATE INDEX %I ON %I (event_time) WHERE is_anomaly',
                       partition_name || '_flagged', partition_name);
        EXECUTE format('ALTER TABLE scored_metrics ATTACH PARTITION %I FOR VALUES IN (%L)',
                       partition_name, stream_name);
        EXECUTE format('COMMENT ON TABLE %I IS %L', partition_name,
                       'Scored readings of the stream ' || stream_name || '.');
    END IF;

    -- A view whose columns keep their places is replaced: grants and views upon it stay.
    SELECT array_agg(attname) INTO columns FROM pg_attribute
        WHERE attrelid = to_regclass(quote_ident(scores_name)) AND attnum > 0;
    IF NOT entity_field = ANY (columns) THEN
        EXECUTE format('DROP VIEW %I, %I', scores_name, daily_name);
    END IF;
    IF 'unit_score' = ANY (columns) THEN
        kept := 'CASE is_anomaly WHEN true THEN -1 WHEN false THEN 1 END AS prediction, '
                'score AS unit_score,';
    END IF;

    EXECUTE format($view$
        CREATE OR REPLACE VIEW %I AS SELECT
            event_id, day, entity AS %I, metric AS metric_name, event_time AS "timestamp", value,
            score AS anomaly_score,
            abs(decision_score(score, threshold)) AS confidence,
            %s
            is_anomaly, threshold, status, p_value, z_score, iqr_score, mad_score, label,
            entity_score, entity_is_anomaly, causes, metadata, detector, bundle_version,
            decision_score(score, threshold) AS decision_score
        FROM %I$view$, scores_name, entity_field, kept, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', scores_name,
        'One row per reading of the stream ' || stream_name || ' with its verdict; filter by day, '
        'by ' || entity_field || ' and timestamp, or by is_anomaly, which are indexed.');
    EXECUTE format('COMMENT ON COLUMN %I.anomaly_score IS %L', scores_name,
        '0 ordinary to 1 most unusual; an anomaly from threshold on.');
    EXECUTE format('COMMENT ON COLUMN %I.decision_score IS %L', scores_name,
        '1 ordinary to -1 most unusual; an anomaly at 0 and below.');
    EXECUTE format('COMMENT ON COLUMN %I.confidence IS %L', scores_name,
        'Distance of the score from the threshold, 0 at it and 1 at the end of the scale.');
    EXECUTE format('COMMENT ON COLUMN %I.is_anomaly IS %L', scores_name,
        'Null where nothing can be said (see status), never false for it.');
    IF kept <> '' THEN
        EXECUTE format('COMMENT ON COLUMN %I.prediction IS %L', scores_name,
            '-1 is an anomaly, 1 is normal, null is unknown.');
        EXECUTE format('COMMENT ON COLUMN %I.unit_score IS %L', scores_name,
            'The former name of anomaly_score.');
    END IF;

    EXECUTE format($view$
        CREATE OR REPLACE VIEW %I AS SELECT
            day, entity AS %I, metric AS metric_name,
            count(*) AS readings,
            count(*) FILTER (WHERE value IS NULL) AS missing,
            count(*) FILTER (WHERE is_anomaly) AS anomalies,
            count(*) FILTER (WHERE is_anomaly IS NULL AND value IS NOT NULL) AS undecided,
            count(*) FILTER (WHERE is_anomaly)::double precision
                / nullif(count(is_anomaly), 0) AS anomaly_rate,
            avg(score) AS mean_score, max(score) AS max_score,
            min(value) AS min_value, avg(value) AS mean_value, max(value) AS max_value
        FROM %I GROUP BY day, entity, metric$view$,
        daily_name, entity_field, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', daily_name,
        'Readings, anomalies and scores (0 ordinary to 1 most unusual) of the stream '
        || stream_name || ' per day, ' || entity_field || ' and metric_name.');
END $function$;

COMMENT ON FUNCTION ensure_stream_tables IS
    'Makes partition, indexes and BI views of a metric stream; doing it again renews the views.';

-- The entity's column is the third of a view.
SELECT ensure_stream_tables(substr(relid::text, length('scored_') + 1), attname)
FROM pg_partition_tree('scored_metrics') JOIN pg_attribute ON attnum = 3
    AND attrelid = to_regclass('bi_' || substr(relid::text, length('scored_') + 1) || '_scores')
WHERE isleaf;
