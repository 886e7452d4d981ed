-- A row per search, written when it has ended; trials are few and read together.
CREATE TABLE tunings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text NOT NULL,
    status text NOT NULL CHECK (status IN ('gained', 'nothing_gained', 'interrupted')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    asked_by text NOT NULL,
    seed bigint NOT NULL,
    data jsonb NOT NULL,
    present jsonb NOT NULL,
    proposed jsonb,
    trials jsonb NOT NULL,
    comparison jsonb,
    applied_at timestamptz,
    undone_at timestamptz
);

CREATE INDEX tunings_stream ON tunings (stream, id);

COMMENT ON TABLE tunings IS
    'Searches for better settings of a stream: what was tried, what it was worth, what was gained.';
COMMENT ON COLUMN tunings.stream IS 'Name of the stream.';
COMMENT ON COLUMN tunings.status IS
    'gained, nothing_gained, or interrupted before the comparison.';
COMMENT ON COLUMN tunings.started_at IS 'When it began.';
COMMENT ON COLUMN tunings.finished_at IS 'When it ended.';
COMMENT ON COLUMN tunings.asked_by IS 'Who asked for it.';
COMMENT ON COLUMN tunings.seed IS 'Seed of candidates and injected anomalies.';
COMMENT ON COLUMN tunings.data IS
    'What was searched and compared on: series, rows, times, the limit of false positives, budget.';
COMMENT ON COLUMN tunings.present IS 'The settings that the stream had.';
COMMENT ON COLUMN tunings.proposed IS 'The best settings of the search; null where none were better.';
COMMENT ON COLUMN tunings.trials IS 'Every trial in order: settings, what they were worth, seconds.';
COMMENT ON COLUMN tunings.comparison IS
    'Both settings on the rows that were kept back, the gain and its interval.';
COMMENT ON COLUMN tunings.applied_at IS 'When its settings were put into use.';
COMMENT ON COLUMN tunings.undone_at IS 'When they were taken back, or others took their place.';
