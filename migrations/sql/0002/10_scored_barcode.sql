-- Scans of goods with what every detector and all together say of them.

CREATE TABLE scored_barcode (
    day                     date        NOT NULL,
    epc_code                text        NOT NULL,
    event_time              timestamptz NOT NULL,
    location_id             text,
    business_step           text,
    event_type              text,
    event_id                text        NOT NULL,
    file_id                 text,
    scan_location           text,
    operator_id             text,
    device_id               text,
    product_name            text,
    place                   text,
    location_interpolated   boolean     NOT NULL,
    step                    text,
    business_step_inferred  boolean     NOT NULL,
    event_type_missing      boolean     NOT NULL,
    epc_malformed           boolean     NOT NULL,
    place_name              text,
    latitude                double precision,
    longitude               double precision,
    location_type           text,
    location_hierarchy      integer,
    epc_fake_score          double precision NOT NULL CHECK (epc_fake_score BETWEEN 0 AND 100),
    epc_dup_score           double precision NOT NULL CHECK (epc_dup_score BETWEEN 0 AND 100),
    loc_err_score           double precision NOT NULL CHECK (loc_err_score BETWEEN 0 AND 100),
    evt_order_err_score     double precision NOT NULL CHECK (evt_order_err_score BETWEEN 0 AND 100),
    jump_score              double precision NOT NULL CHECK (jump_score BETWEEN 0 AND 100),
    lstm_score              double precision CHECK (lstm_score BETWEEN 0 AND 100),
    svm_score               double precision CHECK (svm_score BETWEEN 0 AND 100),
    ml_combined_score       double precision CHECK (ml_combined_score BETWEEN 0 AND 100),
    final_confidence        double precision NOT NULL CHECK (final_confidence BETWEEN 0 AND 100),
    is_anomaly              boolean     NOT NULL,
    severity                text        NOT NULL,
    explanation             text,
    label                   boolean,
    anomaly_kind            text,
    detector                text        NOT NULL,
    bundle_version          integer
);
-- The natural key of a scan, of which senders may leave out all but code and time.
CREATE UNIQUE INDEX scored_barcode_key ON scored_barcode
    (epc_code, event_time, location_id, business_step, event_type) NULLS NOT DISTINCT;
CREATE INDEX scored_barcode_day ON scored_barcode (day);
CREATE INDEX scored_barcode_time ON scored_barcode
    USING brin (event_time timestamptz_minmax_multi_ops) WITH (autosummarize = on);
CREATE INDEX scored_barcode_place ON scored_barcode (place, event_time);
CREATE INDEX scored_barcode_flagged ON scored_barcode (event_time) WHERE is_anomaly;
ALTER TABLE scored_barcode SET
    (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE scored_barcode IS
    'Scans of goods as the models in service at the time see them; a day is replaced as a whole.';
COMMENT ON COLUMN scored_barcode.day IS 'UTC date of event_time.';
COMMENT ON COLUMN scored_barcode.location_id IS 'As the sender gave it; see place.';
COMMENT ON COLUMN scored_barcode.place IS
    'Where the scan happened, inferred from the code''s history where the sender left it out.';
COMMENT ON COLUMN scored_barcode.step IS
    'The business step, inferred from the kind of place where the sender left it out.';
COMMENT ON COLUMN scored_barcode.final_confidence IS
    'All detectors together: 0 ordinary, an anomaly from 50 on, 100 certain.';
COMMENT ON COLUMN scored_barcode.lstm_score IS
    'The sequence model alone, 0 to 100; null where it took no part.';
COMMENT ON COLUMN scored_barcode.svm_score IS
    'The one-class SVM alone, 0 to 100; null where it took no part.';
COMMENT ON COLUMN scored_barcode.severity IS 'NONE, LOW from 20, MEDIUM from 50, HIGH from 80.';
COMMENT ON COLUMN scored_barcode.explanation IS 'Why, in words; null where there is nothing to say.';
COMMENT ON COLUMN scored_barcode.bundle_version IS
    'The set of models that scored: the version of the fusion; null when only the rules spoke.';
