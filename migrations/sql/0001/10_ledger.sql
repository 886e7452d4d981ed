-- What came in: files, the event days they touched, and what was refused.

CREATE TABLE ingest_ledger (
    seq               bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    stream            text        NOT NULL,
    digest            text        NOT NULL,
    source            text        NOT NULL,
    status            text        NOT NULL CHECK (status IN ('ingested', 'rejected')),
    reason            text,
    rows_in           bigint      NOT NULL DEFAULT 0 CHECK (rows_in >= 0),
    rows_quarantined  bigint      NOT NULL DEFAULT 0 CHECK (rows_quarantined >= 0),
    raw_path          text,
    ingest_date       date        NOT NULL,
    mapping           jsonb       NOT NULL DEFAULT '{}',
    ingested_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, digest),
    CHECK (status = 'ingested' OR reason IS NOT NULL)
);
CREATE INDEX ingest_ledger_date ON ingest_ledger (stream, ingest_date);

COMMENT ON TABLE ingest_ledger IS
    'Every file that was ever taken in or refused, once per digest of content and column mapping.';
COMMENT ON COLUMN ingest_ledger.seq IS
    'Order of commits within a stream; watermarks of later stages are values of this column.';
COMMENT ON COLUMN ingest_ledger.raw_path IS 'File in the lake that holds the raw rows.';

CREATE TABLE raw_days (
    stream  text   NOT NULL,
    day     date   NOT NULL,
    digest  text   NOT NULL,
    seq     bigint NOT NULL,
    rows    bigint NOT NULL CHECK (rows > 0),
    PRIMARY KEY (stream, day, digest),
    FOREIGN KEY (stream, digest) REFERENCES ingest_ledger (stream, digest) ON DELETE CASCADE
);
CREATE INDEX raw_days_digest ON raw_days (stream, digest);

COMMENT ON TABLE raw_days IS 'Which raw file has how many rows of which event date (UTC).';

CREATE TABLE quarantine (
    stream          text        NOT NULL,
    digest          text        NOT NULL,
    row_number      bigint      NOT NULL,
    column_name     text        NOT NULL DEFAULT '',
    stage           text        NOT NULL,
    day             date,
    source          text,
    field           text,
    reason          text        NOT NULL,
    raw             text,
    quarantined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, digest, row_number, column_name)
);
CREATE INDEX quarantine_day ON quarantine (stream, stage, day);
CREATE INDEX quarantine_time ON quarantine (quarantined_at);

COMMENT ON TABLE quarantine IS
    'Rows that were refused, each with its reason; row_number counts the source''s data rows from 1.';
COMMENT ON COLUMN quarantine.column_name IS
    'The source column of a cell of a wide file; empty where the whole row was refused.';
COMMENT ON COLUMN quarantine.raw IS 'The row as it came, as JSON text, cut to 4 KB.';
