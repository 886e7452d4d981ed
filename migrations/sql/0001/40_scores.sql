-- Scores per day, and the readings that were found unusual.

CREATE TABLE scored_metrics (
    stream             text             NOT NULL,
    day                date             NOT NULL,
    entity             text             NOT NULL,
    metric             text             NOT NULL,
    event_time         timestamptz      NOT NULL,
    event_id           uuid             NOT NULL,
    value              double precision,
    score              double precision CHECK (score BETWEEN 0 AND 1),
    is_anomaly         boolean,
    threshold          double precision NOT NULL,
    status             text             NOT NULL,
    p_value            double precision,
    raw_score          double precision,
    z_score            double precision,
    iqr_score          double precision,
    mad_score          double precision,
    label              boolean,
    entity_score       double precision,
    entity_is_anomaly  boolean,
    causes             jsonb,
    metadata           json,
    detector           text             NOT NULL,
    bundle_version     integer,
    -- The stream comes last: it is the same in all of a partition.
    PRIMARY KEY (entity, metric, event_time, stream)
) PARTITION BY LIST (stream);

COMMENT ON TABLE scored_metrics IS
    'Readings of the metric streams as the champion of the time sees them; '
    'a day is replaced as a whole. One partition per stream: scored_<stream>.';
COMMENT ON COLUMN scored_metrics.day IS 'UTC date of event_time.';
COMMENT ON COLUMN scored_metrics.value IS 'The reading; null is a missing reading.';
COMMENT ON COLUMN scored_metrics.score IS
    '0 is ordinary, 1 most unusual; null where nothing can be said.';
COMMENT ON COLUMN scored_metrics.is_anomaly IS
    'Whether score reaches threshold; null is unknown, never normal.';
COMMENT ON COLUMN scored_metrics.status IS
    'trained, insufficient_history, failed or missing_value.';
COMMENT ON COLUMN scored_metrics.p_value IS
    'Share of ordinary readings that are at least as unusual, 0 to 1.';
COMMENT ON COLUMN scored_metrics.metadata IS
    'What came with the reading, to the letter (json, since jsonb refuses \u0000).';

CREATE TABLE scored_days (
    stream          text        NOT NULL,
    day             date        NOT NULL,
    watermark       bigint      NOT NULL,
    detector        text        NOT NULL,
    bundle_version  integer,
    rows            bigint      NOT NULL,
    anomalies       bigint      NOT NULL,
    written_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, day)
);

COMMENT ON TABLE scored_days IS 'From what input and by which bundle each scored day was made.';

CREATE TABLE anomaly_detections (
    id              uuid PRIMARY KEY,
    model_id        uuid REFERENCES ml_models,
    stream          text             NOT NULL,
    device_id       text             NOT NULL,
    metric_name     text             NOT NULL,
    value           double precision,
    anomaly_score   double precision,
    is_anomaly      boolean          NOT NULL,
    confidence      double precision CHECK (confidence BETWEEN 0 AND 1),
    "timestamp"     timestamptz      NOT NULL,
    metadata        jsonb            NOT NULL DEFAULT '{}',
    source          text             NOT NULL CHECK (source IN ('batch', 'realtime')),
    event_id        uuid             NOT NULL,
    threshold       double precision NOT NULL,
    bundle_version  integer,
    day             date             NOT NULL,
    created_at      timestamptz      NOT NULL DEFAULT now()
);
CREATE INDEX anomaly_detections_device ON anomaly_detections (device_id, "timestamp");
CREATE INDEX anomaly_detections_model ON anomaly_detections (model_id);
CREATE INDEX anomaly_detections_day ON anomaly_detections (stream, day);

COMMENT ON TABLE anomaly_detections IS
    'Readings that were found unusual. Those of source batch are replaced with their day and have '
    'ids that follow from the reading; those of source realtime are never rewritten.';
COMMENT ON COLUMN anomaly_detections.anomaly_score IS 'The platform''s score, 0 to 1.';
COMMENT ON COLUMN anomaly_detections.confidence IS
    'Distance of the score from the threshold, 0 at it and 1 at the end of the scale.';

CREATE TABLE monitoring_stats (
    stream   text NOT NULL,
    day      date NOT NULL,
    subject  text NOT NULL,
    stat     text NOT NULL,
    value    double precision,
    PRIMARY KEY (stream, day, subject, stat)
);

COMMENT ON TABLE monitoring_stats IS
    'Numbers about a day: subject says of what (a stage, a feature, a metric), stat which number.';
