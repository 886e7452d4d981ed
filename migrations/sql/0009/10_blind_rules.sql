-- What the rules could not judge, and sequences whose beginning is not known.

ALTER TABLE scored_scans ADD COLUMN partial_sequence boolean;
ALTER TABLE scored_scans ADD COLUMN blind_rules text;
COMMENT ON COLUMN scored_scans.partial_sequence IS
    'The code''s scans so far do not begin where goods enter the chain; null in older rows.';
COMMENT ON COLUMN scored_scans.blind_rules IS
    'Rules that could not judge this scan, each with the reason; null where every rule could.';

-- A rule that failed is left out: its score is null. The parent first, then its partitions.
DO $nulls$
DECLARE
    relation regclass;
    scores text;
BEGIN
    FOR relation IN
        SELECT relid FROM pg_partition_tree('scored_scans') ORDER BY level
    LOOP
        FOREACH scores IN ARRAY ARRAY['epc_fake_score', 'epc_dup_score', 'loc_err_score',
                                      'evt_order_err_score', 'jump_score']
        LOOP
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', relation, scores);
        END LOOP;
    END LOOP;
END $nulls$;

-- The views show both; all else of the function stays as it is.
DO $views$
BEGIN
    EXECUTE replace(replace(pg_get_functiondef('ensure_scan_stream_tables'::regproc),
        'product_name, epc_malformed,', 'product_name, epc_malformed, partial_sequence,'),
        'explanation AS ml_explanation,', 'explanation AS ml_explanation, blind_rules,');
    PERFORM ensure_scan_stream_tables(substr(relid::text, length('scored_') + 1))
    FROM pg_partition_tree('scored_scans') WHERE isleaf;
END $views$;
