-- Readings that arrive one by one: stored, scored and acknowledged in one transaction.
CREATE TABLE online_readings (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    stream          text             NOT NULL,
    event_id        uuid             NOT NULL,
    entity          text             NOT NULL,
    metric          text             NOT NULL,
    event_time      timestamptz      NOT NULL,
    value           double precision NOT NULL,
    metadata        json,
    source          text             NOT NULL CHECK (source IN ('api', 'mqtt', 'ems')),
    received_at     timestamptz      NOT NULL DEFAULT now(),
    score           double precision CHECK (score BETWEEN 0 AND 1),
    p_value         double precision,
    is_anomaly      boolean,
    threshold       double precision NOT NULL,
    status          text             NOT NULL,
    provisional     boolean          NOT NULL DEFAULT false,
    bundle_version  integer,
    batch_id        text,
    UNIQUE (stream, event_id),
    -- Of contradicting readings the first one is kept; also how the past of a series is found.
    UNIQUE (stream, entity, metric, event_time)
);
CREATE INDEX online_readings_unclaimed ON online_readings (stream, id) WHERE batch_id IS NULL;
-- Every row is inserted once and claimed once; the dead versions are worth clearing early.
ALTER TABLE online_readings SET
    (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

COMMENT ON TABLE online_readings IS
    'Readings taken one by one with the verdict given at once, which is never rewritten; '
    'raw_events claims them in batches (batch_id) for the lake.';
COMMENT ON COLUMN online_readings.provisional IS
    'Whether the reading came out of order, so that only the batch''s score is final.';

CREATE TABLE series_state (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream           text        NOT NULL,
    entity           text        NOT NULL,
    metric           text        NOT NULL,
    feature_version  text        NOT NULL,
    revision         bigint      NOT NULL DEFAULT 0,
    -- A snapshot of several kilobytes, written seldom, and the readings since, a few bytes each.
    state            bytea       NOT NULL,
    tail             bytea       NOT NULL DEFAULT '',
    last_event       timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream, entity, metric)
) WITH (fillfactor = 60);
-- Compressing floating-point numbers costs more than it saves.
ALTER TABLE series_state ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE series_state ALTER COLUMN tail SET STORAGE PLAIN;

COMMENT ON TABLE series_state IS
    'The look-back of each series for scoring single readings; locked in the order of id.';
COMMENT ON COLUMN series_state.tail IS
    'Readings since the snapshot: pairs of microseconds since 1970 and value, little-endian.';
COMMENT ON COLUMN series_state.last_event IS 'Newest event in the state; null of a new series.';
