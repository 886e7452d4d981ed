-- A detection that is asked for again makes no second event, whether the EMS honours keys or not.
CREATE TABLE ems_told (
    ems text NOT NULL,
    key text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ems, key)
);

CREATE INDEX ems_told_at ON ems_told (told_at);

COMMENT ON TABLE ems_told IS
    'Events and alerts that detections made in an EMS, so that none is made twice.';
COMMENT ON COLUMN ems_told.ems IS 'Address of the EMS, without its password.';
COMMENT ON COLUMN ems_told.key IS 'Idempotency key of the event or alert.';
COMMENT ON COLUMN ems_told.told_at IS 'When it was made.';
