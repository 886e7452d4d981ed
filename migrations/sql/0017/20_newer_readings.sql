-- Readings that are newer than all that is known of their series: thresholds are looked up where
-- there are any, and not for each series while its head is moved.

DROP FUNCTION add_newer_readings;
CREATE FUNCTION add_newer_readings(
    p_stream             text,
    p_source             text,
    p_bundle_version     integer,
    -- An element per series, in the order of the ids.
    p_ids                bigint[],
    p_revisions          bigint[],
    p_last_events        timestamptz[],
    p_own_thresholds     double precision[],
    -- An element per series that gets a new snapshot.
    p_snapshot_ids       bigint[],
    p_snapshots          bytea[],
    -- An element per reading. NaN, or −1, where there is nothing. Without p_given no id is given.
    p_event_ids          uuid[],
    p_given              smallint[],
    p_entities           text[],
    p_metrics            text[],
    p_times              timestamptz[],
    p_values             double precision[],
    p_metadata           text[],
    p_scores             double precision[],
    p_p_values           double precision[],
    p_decisions          smallint[],
    p_thresholds         double precision[],
    p_statuses           text[],
    p_calls              smallint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    changed integer;
    unlike  boolean := false;
BEGIN
    UPDATE series_heads h SET revision = h.revision + 1, last_event = k.last_event
    FROM unnest(p_ids, p_revisions, p_last_events) k(id, revision, last_event)
    WHERE h.id = k.id AND h.revision = k.revision;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF array_remove(p_own_thresholds, 'NaN') <> '{}'
        OR EXISTS (SELECT FROM thresholds t WHERE t.stream = p_stream)
    THEN
        unlike := EXISTS (
            SELECT FROM unnest(p_ids, p_own_thresholds) k(id, own) JOIN series_state s USING (id)
            LEFT JOIN thresholds t
                ON t.stream = p_stream AND t.entity = s.entity AND t.metric = s.metric
            WHERE t.threshold IS DISTINCT FROM nullif(k.own, 'NaN'));
    END IF;
    IF changed < cardinality(p_ids) OR unlike THEN
        RAISE serialization_failure
            USING MESSAGE = 'the series have other revisions or thresholds';
    END IF;
    IF cardinality(p_snapshot_ids) > 0 THEN
        UPDATE series_state s
        SET state = k.state, snapshot_until = h.last_event, snapshot_at = now()
        FROM unnest(p_snapshot_ids, p_snapshots) k(id, state) JOIN series_heads h USING (id)
        WHERE s.id = k.id;
    END IF;
    INSERT INTO online_readings (stream, event_id, id_given, entity, metric, event_time, value,
        metadata, source, score, p_value, is_anomaly, threshold, status, is_call, bundle_version)
    SELECT p_stream, k.event_id, coalesce(k.given, 0) = 1, k.entity, k.metric, k.event_time,
        k.value, k.metadata::json, p_source, nullif(k.score, 'NaN'), nullif(k.p_value, 'NaN'),
        CASE WHEN k.decision >= 0 THEN k.decision = 1 END, k.threshold, k.status,
        CASE WHEN k.call >= 0 THEN k.call = 1 END, p_bundle_version
    FROM unnest(p_event_ids, p_given, p_entities, p_metrics, p_times, p_values, p_metadata,
        p_scores, p_p_values, p_decisions, p_thresholds, p_statuses, p_calls)
        k(event_id, given, entity, metric, event_time, value, metadata, score, p_value, decision,
          threshold, status, call);
END
$$;

COMMENT ON FUNCTION add_newer_readings IS
    'Add readings to online_readings and move the heads of their series on, where the heads have '
    'the revisions and the series the thresholds that the caller knows; otherwise nothing is '
    'changed and serialization_failure is raised.';
