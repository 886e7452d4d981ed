-- The names under which users of an EMS know scores and models.

CREATE VIEW anomaly_scores AS SELECT
    event_id AS id,
    entity::text AS "assetId",
    metric AS "metricName",
    score,
    is_anomaly AS "isAnomaly",
    threshold,
    json_build_object(
        'value', value,
        'status', status,
        'pValue', p_value,
        'entityScore', entity_score,
        'causes', causes,
        'detector', detector,
        'bundleVersion', bundle_version,
        'event', metadata
    ) AS metadata,
    event_time AS "timestamp"
FROM scored_ems;

COMMENT ON VIEW anomaly_scores IS
    'Scored readings of network and host assets; indexed for "assetId" with "timestamp".';
COMMENT ON COLUMN anomaly_scores.score IS
    '0 ordinary to 1 most unusual; null where nothing can be said.';
COMMENT ON COLUMN anomaly_scores."isAnomaly" IS 'Null is unknown, never normal.';

CREATE VIEW model_metadata AS SELECT
    md5(stream || '/' || detector || '/' || version)::uuid AS id,
    detector AS "modelType",
    version::text AS "modelVersion",
    trained_at AS "trainingDate",
    metrics,
    parameters,
    status,
    path AS "filePath",
    jsonb_build_object(
        'stream', stream,
        'digest', digest,
        'parent', parent,
        'windowStart', window_start,
        'windowEnd', window_end,
        'reason', reason
    ) AS metadata,
    created_at AS "createdAt"
FROM bundles;

COMMENT ON VIEW model_metadata IS 'Every trained bundle of models, of every stream.';
