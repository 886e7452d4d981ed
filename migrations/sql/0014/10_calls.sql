-- The decision to tell somebody, of a reading and of its entity.

ALTER TABLE online_readings ADD COLUMN is_call boolean;
ALTER TABLE scored_metrics ADD COLUMN is_call boolean, ADD COLUMN entity_is_call boolean;

-- The views show them at their end, so that no other column changes its place.
DO $views$
BEGIN
    EXECUTE replace(replace(pg_get_functiondef('ensure_stream_tables'::regproc),
        'AS decision_score, reason', 'AS decision_score, reason, is_call, entity_is_call'),
        'AS max_value', 'AS max_value, count(*) FILTER (WHERE is_call) AS calls');
    -- The entity's column is the third of a view.
    PERFORM ensure_stream_tables(substr(relid::text, length('scored_') + 1), attname)
    FROM pg_partition_tree('scored_metrics') JOIN pg_attribute ON attnum = 3
        AND attrelid = to_regclass('bi_' || substr(relid::text, length('scored_') + 1) || '_scores')
    WHERE isleaf;
END $views$;
