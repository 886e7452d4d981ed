-- Drift of each series on each day against the reference of the model that serves it.
CREATE TABLE series_drift (
    stream          text    NOT NULL,
    day             date    NOT NULL,
    entity          text    NOT NULL,
    metric          text    NOT NULL,
    rows            integer NOT NULL,
    psi             double precision,
    psi_noise       double precision,
    usual_psi       double precision,
    ks              double precision,
    score_psi       double precision,
    volume_ratio    double precision,
    missing_share   double precision,
    anomaly_share   double precision,
    verdict         text    NOT NULL CHECK (verdict IN ('unknown', 'none', 'drifted', 'severe')),
    bundle_version  integer,
    PRIMARY KEY (stream, day, entity, metric)
);
CREATE INDEX series_drift_found ON series_drift (stream, day) WHERE verdict IN ('drifted', 'severe');

COMMENT ON TABLE series_drift IS
    'Per series and day: how far values, scores and volume lie from the training reference.';
COMMENT ON COLUMN series_drift.psi IS
    'Population stability index of the values; null below 50 readings.';
COMMENT ON COLUMN series_drift.psi_noise IS
    'PSI to be expected between samples of these sizes without any drift.';
COMMENT ON COLUMN series_drift.usual_psi IS
    'Largest PSI that a single day of the training data has against all of it.';
COMMENT ON COLUMN series_drift.score_psi IS
    'PSI of the conformal p-values against the even spread that they have by construction.';
COMMENT ON COLUMN series_drift.volume_ratio IS 'Readings of the day over those of a usual day.';
COMMENT ON COLUMN series_drift.verdict IS
    'What the stream''s policy makes of it; unknown where there is no model or too little data.';

CREATE TABLE feature_drift (
    stream          text    NOT NULL,
    day             date    NOT NULL,
    feature         text    NOT NULL,
    psi_median      double precision,
    psi_p90         double precision,
    ks_median       double precision,
    ks_p90          double precision,
    series          integer NOT NULL,
    bundle_version  integer,
    PRIMARY KEY (stream, day, feature)
);

COMMENT ON TABLE feature_drift IS
    'Drift of each feature over the series of a stream, per day; of scans there is one series.';

ALTER TABLE series ADD COLUMN changed_at timestamptz;

COMMENT ON COLUMN series.changed_at IS
    'When its behaviour changed last, as far as a model in service was trained for it: what was '
    'before is no longer trained on.';
