-- What every metric stream gets when it is first used: a partition and its BI views.

CREATE FUNCTION ensure_stream_tables(
    stream_name   text,
    entity_field  text DEFAULT 'entity',
    score_view    text DEFAULT 'unit'
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    partition_name  text := 'scored_' || stream_name;
    scores_name     text := 'bi_' || stream_name || '_scores';
    daily_name      text := 'bi_' || stream_name || '_daily';
    verdict         text;
BEGIN
    IF stream_name !~ '^[a-z][a-z0-9_]{0,30}$' OR stream_name IN ('metrics', 'days') THEN
        RAISE EXCEPTION 'stream name % cannot be used for tables', quote_literal(stream_name);
    END IF;
    IF entity_field !~ '^[a-z][a-z0-9_]{0,30}$' THEN
        RAISE EXCEPTION 'entity field % cannot be used as a column', quote_literal(entity_field);
    END IF;
    IF score_view NOT IN ('unit', 'signed') THEN
        RAISE EXCEPTION 'score view % is neither unit nor signed', quote_literal(score_view);
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

    IF score_view = 'signed' THEN
        verdict := $sql$
            CASE WHEN score < threshold THEN (threshold - score) / threshold
                 ELSE -(score - threshold) / (1 - threshold) END AS anomaly_score,
            CASE WHEN score < threshold THEN (threshold - score) / threshold
                 ELSE (score - threshold) / (1 - threshold) END AS confidence,
            CASE is_anomaly WHEN true THEN -1 WHEN false THEN 1 END AS prediction,
            score AS unit_score,
        $sql$;
    ELSE
        verdict := $sql$
            score AS anomaly_score,
            CASE WHEN score < threshold THEN (threshold - score) / threshold
                 ELSE (score - threshold) / (1 - threshold) END AS confidence,
        $sql$;
    END IF;

    EXECUTE format('DROP VIEW IF EXISTS %I', scores_name);
    EXECUTE format($view$
        CREATE VIEW %I AS SELECT
            event_id, day, entity AS %I, metric AS metric_name, event_time AS "timestamp", value,
            %s
            is_anomaly, threshold, status, p_value, z_score, iqr_score, mad_score, label,
            entity_score, entity_is_anomaly, causes, metadata, detector, bundle_version
        FROM %I$view$, scores_name, entity_field, verdict, partition_name);
    EXECUTE format('COMMENT ON VIEW %I IS %L', scores_name,
        'One row per reading of the stream ' || stream_name || ' with its verdict; filter by day, '
        'by ' || entity_field || ' and timestamp, or by is_anomaly, which are indexed.');
    EXECUTE format('COMMENT ON COLUMN %I.anomaly_score IS %L', scores_name,
        CASE score_view
            WHEN 'signed' THEN '-1 most unusual to 1 ordinary; an anomaly at 0 and below.'
            ELSE '0 ordinary to 1 most unusual; an anomaly from threshold on.' END);
    EXECUTE format('COMMENT ON COLUMN %I.confidence IS %L', scores_name,
        'Distance of the score from the threshold, 0 at it and 1 at the end of the scale.');
    EXECUTE format('COMMENT ON COLUMN %I.is_anomaly IS %L', scores_name,
        'Null where nothing can be said (see status), never false for it.');
    IF score_view = 'signed' THEN
        EXECUTE format('COMMENT ON COLUMN %I.prediction IS %L', scores_name,
            '-1 is an anomaly, 1 is normal, null is unknown.');
        EXECUTE format('COMMENT ON COLUMN %I.unit_score IS %L', scores_name,
            'The same score as 0 ordinary to 1 most unusual.');
    END IF;

    EXECUTE format('DROP VIEW IF EXISTS %I', daily_name);
    EXECUTE format($view$
        CREATE VIEW %I AS SELECT
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

SELECT ensure_stream_tables('iiot', 'device_id', 'signed');
SELECT ensure_stream_tables('ems', 'asset_id', 'unit');
