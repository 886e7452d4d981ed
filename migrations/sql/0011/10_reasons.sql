-- Why a reading is flagged, in words.

ALTER TABLE scored_metrics ADD COLUMN reason text;
COMMENT ON COLUMN scored_metrics.reason IS
    'Why the reading is flagged, or a cause of its entity''s score; null elsewhere.';

-- The views show it at their end, so that no other column changes its place.
DO $views$
BEGIN
    EXECUTE replace(pg_get_functiondef('ensure_stream_tables'::regproc),
        'AS decision_score', 'AS decision_score, reason');
    -- The entity's column is the third of a view.
    PERFORM ensure_stream_tables(substr(relid::text, length('scored_') + 1), attname)
    FROM pg_partition_tree('scored_metrics') JOIN pg_attribute ON attnum = 3
        AND attrelid = to_regclass('bi_' || substr(relid::text, length('scored_') + 1) || '_scores')
    WHERE isleaf;
END $views$;
