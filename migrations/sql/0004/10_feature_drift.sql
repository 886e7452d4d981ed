ALTER TABLE series_drift ADD COLUMN features jsonb;

COMMENT ON COLUMN series_drift.features IS
    'The features that lie clearly further out than on any day of the training, furthest first: '
    'a list of {feature, psi, usual_psi, ks}; null where there is nothing to compare with.';

ALTER TABLE feature_drift ADD COLUMN usual_psi_median double precision;

COMMENT ON COLUMN feature_drift.usual_psi_median IS
    'Median over the series of the largest PSI that a single day of the training has; null where '
    'it is not known, as for scores and scans.';
