-- Readings that arrive one by one: stored, scored and acknowledged in one transaction.
CREATE TABLE online_readings (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    UNIQUE (stream, event_id)
);
CREATE INDEX online_readings_unclaimed ON online_readings (stream, id) WHERE batch_id IS NULL;
CREATE INDEX online_readings_series ON online_readings (stream, entity, metric, event_time);

COMMENT ON TABLE online_readings IS
    'Readings taken one by one with the verdict given at once, which is never rewritten; '
    'raw_events claims them in batches (batch_id) for the lake.';
COMMENT ON COLUMN online_readings.provisional IS
    'Whether the reading came out of order, so that only the batch''s score is final.';

CREATE TABLE series_state (
    stream           text        NOT NULL,
    entity           text        NOT NULL,
    metric           text        NOT NULL,
    feature_version  text        NOT NULL,
    state            bytea       NOT NULL,
    last_event       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, entity, metric)
);

COMMENT ON TABLE series_state IS
    'The look-back of each series for scoring single readings; locked in key order.';
