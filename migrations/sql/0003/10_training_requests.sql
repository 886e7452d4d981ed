-- Trainings that somebody or something asked for. Many waiting rows become one run.
CREATE TABLE training_requests (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    stream        text        NOT NULL,
    -- Null: every series of the stream; metric null: every metric of the entity.
    entity        text,
    metric        text,
    window_days   integer     CHECK (window_days BETWEEN 1 AND 3650),
    cause         text        NOT NULL CHECK (cause IN
        ('request', 'volume', 'drift', 'age', 'quality', 'labels')),
    reason        text        NOT NULL,
    requested_by  text        NOT NULL,
    status        text        NOT NULL DEFAULT 'waiting' CHECK (status IN
        ('waiting', 'running', 'done', 'failed', 'cancelled')),
    -- The newest event of the stream when it was asked for: until there is newer data, asking
    -- again would train on the same.
    event_watermark timestamptz,
    attempts      integer     NOT NULL DEFAULT 0,
    not_before    timestamptz NOT NULL DEFAULT now(),
    -- The requests that one run serves share it; the run carries it as a tag.
    batch         uuid,
    run_id        text,
    detector      text,
    version       integer,
    outcome       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    CHECK (metric IS NULL OR entity IS NOT NULL),
    CHECK (status <> 'running' OR batch IS NOT NULL)
);
CREATE INDEX training_requests_batch ON training_requests (batch) WHERE batch IS NOT NULL;
CREATE INDEX training_requests_finished ON training_requests (stream, finished_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX training_requests_waiting ON training_requests (stream, created_at)
    WHERE status IN ('waiting', 'running');
-- A sensor that ticks twice, or is restarted, asks once.
CREATE UNIQUE INDEX training_requests_one_waiting
    ON training_requests (stream, cause, coalesce(entity, ''), coalesce(metric, ''))
    WHERE status = 'waiting' AND cause <> 'request';

COMMENT ON TABLE training_requests IS
    'Trainings asked for by people, programs and sensors; one run serves all that wait.';
COMMENT ON COLUMN training_requests.not_before IS
    'Not taken up before then: a training that failed waits longer each time.';
COMMENT ON COLUMN training_requests.outcome IS
    'What became of it in words: promoted and why, rejected and why, or the error.';
