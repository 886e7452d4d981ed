-- What people say about readings, and what they change.
CREATE TABLE feedback_labels (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    stream        text        NOT NULL,
    entity        text        NOT NULL,
    metric        text        NOT NULL,
    event_time    timestamptz NOT NULL,
    event_id      uuid,
    is_anomaly    boolean     NOT NULL,
    comment       text,
    labelled_by   text        NOT NULL,
    detection_id  uuid,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_labels_series ON feedback_labels (stream, entity, metric, event_time);

CREATE INDEX feedback_labels_time ON feedback_labels (stream, event_time);

COMMENT ON TABLE feedback_labels IS
    'What people know about single readings; the newest label of a reading counts.';
COMMENT ON COLUMN feedback_labels.entity IS 'Device, asset or, for scans, the EPC code.';
COMMENT ON COLUMN feedback_labels.metric IS 'Metric name; for scans ''scan''.';

CREATE VIEW current_labels AS
SELECT DISTINCT ON (stream, entity, metric, event_time)
    id, stream, entity, metric, event_time, event_id, is_anomaly, comment, labelled_by,
    detection_id, created_at
FROM feedback_labels
ORDER BY stream, entity, metric, event_time, created_at DESC, id DESC;

COMMENT ON VIEW current_labels IS 'The label that counts of each labelled reading: the newest.';

CREATE TABLE thresholds (
    stream   text             NOT NULL,
    entity   text             NOT NULL,
    metric   text             NOT NULL,
    threshold double precision NOT NULL CHECK (threshold >= 0 AND threshold <= 1),
    origin   text             NOT NULL CHECK (origin IN ('person', 'labels')),
    set_by   text             NOT NULL,
    set_at   timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, entity, metric)
);

COMMENT ON TABLE thresholds IS
    'Thresholds of single series that differ from the stream''s; they outlive a training, and the '
    'bundle, which is immutable, is not touched. One that a person set wins over one from labels.';

CREATE TABLE audit_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    before  jsonb,
    after   jsonb
);
CREATE INDEX audit_log_subject ON audit_log (subject, at);

COMMENT ON TABLE audit_log IS 'Who changed what, when, from what to what.';
