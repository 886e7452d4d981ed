-- What the lake shows: a file exists for readers once a row names it.

CREATE TABLE lake_partitions (
    stream      text        NOT NULL,
    stage       text        NOT NULL,
    partition   text        NOT NULL,
    path        text        NOT NULL,
    rows        bigint      NOT NULL CHECK (rows >= 0),
    watermark   bigint      NOT NULL,
    stats       jsonb       NOT NULL DEFAULT '{}',
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, stage, partition)
);

COMMENT ON TABLE lake_partitions IS
    'The current file of each stage and partition; files without a row here are garbage.';
COMMENT ON COLUMN lake_partitions.watermark IS
    'Highest ingest_ledger.seq whose rows the file takes into account.';

-- Series per day, so that a day that is worked through again replaces its own share exactly.
CREATE TABLE series (
    series_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream       text NOT NULL,
    entity       text NOT NULL,
    metric       text NOT NULL,
    first_event  timestamptz,
    last_event   timestamptz,
    rows         bigint NOT NULL DEFAULT 0,
    UNIQUE (stream, entity, metric)
);

COMMENT ON TABLE series IS
    'Every (entity, metric) that was ever valid, with the extent of its valid events.';

CREATE TABLE series_days (
    series_id    bigint      NOT NULL REFERENCES series ON DELETE CASCADE,
    day          date        NOT NULL,
    stream       text        NOT NULL,
    rows         integer     NOT NULL CHECK (rows > 0),
    first_event  timestamptz NOT NULL,
    last_event   timestamptz NOT NULL,
    PRIMARY KEY (series_id, day)
);
CREATE INDEX series_days_day ON series_days (stream, day);

COMMENT ON TABLE series_days IS 'The valid events of one series on one day (UTC), in numbers.';
