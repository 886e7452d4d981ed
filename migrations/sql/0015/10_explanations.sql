-- What was expected of a flagged reading, how far off it is, and what made it unusual.

ALTER TABLE scored_metrics
    ADD COLUMN expected_low double precision,
    ADD COLUMN expected_high double precision,
    ADD COLUMN deviation double precision,
    ADD COLUMN direction text,
    ADD COLUMN lasting boolean,
    ADD COLUMN lasted_s double precision,
    ADD COLUMN explanation jsonb;
COMMENT ON COLUMN scored_metrics.expected_low IS
    'Smallest value that would not have reached the threshold; null without an end, and where '
    'nothing is flagged.';
COMMENT ON COLUMN scored_metrics.expected_high IS
    'Largest value that would not have reached the threshold; null like expected_low.';
COMMENT ON COLUMN scored_metrics.deviation IS
    'Distance from the middle of the expected range in halves of its width; 1 is its edge.';
COMMENT ON COLUMN scored_metrics.direction IS
    'above or below the expected range, or none: the value lies within, something else is odd.';
COMMENT ON COLUMN scored_metrics.lasting IS 'Whether more than this one reading is unusual.';
COMMENT ON COLUMN scored_metrics.lasted_s IS
    'Seconds for which it has lasted at least; null where that is not known.';
COMMENT ON COLUMN scored_metrics.explanation IS
    'parts: shares of the evidence, which add up to 1; features: what each model input adds to '
    'the raw score; unavoidable: whether no value would have done.';

-- The views show them at their end, so that no other column changes its place.
DO $views$
BEGIN
    EXECUTE regexp_replace(pg_get_functiondef('ensure_stream_tables'::regproc),
        '(AS decision_score, reason[^\n]*)',
        '\1, expected_low, expected_high, deviation, direction, lasting, lasted_s, explanation');
    -- The entity's column is the third of a view.
    PERFORM ensure_stream_tables(substr(relid::text, length('scored_') + 1), attname)
    FROM pg_partition_tree('scored_metrics') JOIN pg_attribute ON attnum = 3
        AND attrelid = to_regclass('bi_' || substr(relid::text, length('scored_') + 1) || '_scores')
    WHERE isleaf;
END $views$;
