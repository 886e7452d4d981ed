-- An id that is derived of a reading says no more than its series and time, which are unique by an
-- index of their own. A place in a second one is kept for ids of senders only, and the index of what
-- waits for a batch compares no names. Of readings stored so far all ids count as given: that is
-- true, or harmless until they are pruned.
ALTER TABLE online_readings ADD COLUMN id_given boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN online_readings.id_given IS
    'Whether the event id is its sender''s; otherwise it is derived of series and time.';
ALTER TABLE online_readings DROP CONSTRAINT online_readings_event_id_stream_key;
CREATE UNIQUE INDEX online_readings_given_ids ON online_readings (event_id, stream) WHERE id_given;
DROP INDEX online_readings_unclaimed;
CREATE INDEX online_readings_unclaimed ON online_readings (id) WHERE batch_id IS NULL;
