-- The same file dropped again changes nothing, but whoever dropped it wants to see that it came.
ALTER TABLE ingest_ledger
    ADD COLUMN times_seen integer NOT NULL DEFAULT 1,
    ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now();

COMMENT ON COLUMN ingest_ledger.times_seen IS 'How often the same content came; it is taken in once.';
