-- Two thirds of what a reading costs is finding its place in indexes. Nearly all readings have the
-- same stream, so that comparing it first decides nothing; it comes last now. The same rows are
-- unique, and the same questions find them.
ALTER TABLE online_readings
    DROP CONSTRAINT online_readings_stream_event_id_key,
    DROP CONSTRAINT online_readings_stream_entity_metric_event_time_key,
    ADD UNIQUE (event_id, stream),
    ADD UNIQUE (entity, metric, event_time, stream);
