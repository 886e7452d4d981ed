-- Views of scan streams have anomaly_score as well; all else of the function stays as it is.

DO $views$
DECLARE
    defined text := pg_get_functiondef('ensure_scan_stream_tables'::regproc);
    wanted  text := replace(defined, 'final_confidence, is_anomaly,',
        'final_confidence, final_confidence / 100 AS anomaly_score, is_anomaly,');
BEGIN
    ASSERT wanted <> defined, 'the views of scans are not as expected';
    EXECUTE wanted;
    PERFORM ensure_scan_stream_tables(substr(relid::text, length('scored_') + 1))
    FROM pg_partition_tree('scored_scans') WHERE isleaf;
END $views$;
