-- What changes with every reading of a series is a few bytes wide now, and apart from its look-back:
-- the readings behind a snapshot stand in online_readings, once.
CREATE TABLE series_heads (
    id          bigint PRIMARY KEY REFERENCES series_state ON DELETE CASCADE,
    revision    bigint NOT NULL DEFAULT 0,
    last_event  timestamptz
) WITH (fillfactor = 50);

COMMENT ON TABLE series_heads IS
    'How far each series has come; locked in the order of id by whoever writes its readings.';
COMMENT ON COLUMN series_heads.last_event IS 'Newest event in the state; null of a new series.';

-- States are made anew with the next reading, from the lake and from online_readings.
DELETE FROM series_state;
ALTER TABLE series_state DROP COLUMN tail;
ALTER TABLE series_state DROP COLUMN revision;
ALTER TABLE series_state RENAME COLUMN last_event TO snapshot_until;
ALTER TABLE series_state RENAME COLUMN updated_at TO snapshot_at;

COMMENT ON TABLE series_state IS
    'The look-back of each series for scoring single readings: a snapshot, and with it the newer '
    'ones of online_readings.';
COMMENT ON COLUMN series_state.snapshot_until IS 'Newest event in the snapshot; null of an empty one.';
